"""Zero-shot semantic segmentation with CLIP: Cascade-CLIP and its relatives."""
