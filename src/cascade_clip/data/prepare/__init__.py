"""From the archives of VOC, PASCAL Context and COCO-Stuff to index masks and lists."""
