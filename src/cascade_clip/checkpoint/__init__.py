"""Checkpoints: our own folders and the formats of released code.

Here: the names of the files in a model folder.
"""

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
