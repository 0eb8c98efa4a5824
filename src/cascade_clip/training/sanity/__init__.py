"""What is checked before the first training step."""
