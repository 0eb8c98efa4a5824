"""Pretrains the tiny CLIP on pictures of the picture book and the words for what is in them."""
