"""Training losses on low-resolution mask logits."""
