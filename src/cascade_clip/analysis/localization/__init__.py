"""`analyze localization`: how well the patches of each block separate objects."""
