"""`analyze localization`: how well the patches of each block tell objects apart."""
