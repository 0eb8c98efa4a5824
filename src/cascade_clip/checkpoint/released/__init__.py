"""Checkpoints of the released implementations."""
