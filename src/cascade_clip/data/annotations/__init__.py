"""Annotations of other programs, as masks: a module for each format reads it."""
