"""The segmentation network, in pure PyTorch."""
