"""Folders and videos in, results of many pictures out."""
