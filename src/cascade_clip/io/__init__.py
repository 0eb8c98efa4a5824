"""Pictures and results in files."""
