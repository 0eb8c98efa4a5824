"""Tensor operations that several parts repeat."""
