"""The `cascade-clip` command: one file a group of commands."""
