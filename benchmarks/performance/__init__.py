"""Time and memory of inference and training, against a plain reference and the hardware."""
