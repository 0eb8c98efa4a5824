"""Labels whole data sets with a model, in the formats of annotation tools and trainers."""
