"""Checkpoints: our own folders and the formats of released code."""
