"""Pictures, classes and masks."""
