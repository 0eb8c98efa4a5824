"""Many pictures and films, segmented into a folder; what is done is not done again."""
