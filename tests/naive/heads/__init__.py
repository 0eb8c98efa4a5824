"""Twins of heads: the module of a kind is named after it, and has `stage_logits`."""
