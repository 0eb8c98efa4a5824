"""`analyze cka`: how alike the blocks of image encoders see."""
