"""Folders and films in, results of many pictures out."""
