"""Segmentation by a CLIP as it is, without any training: a module for each method."""
