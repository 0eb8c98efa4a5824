"""Reads a data set by FiftyOne's importer, without its database: `FORMAT FOLDER OUT.npz`."""

import sys
from pathlib import Path

import numpy as np
from fiftyone.utils.coco import COCODetectionDatasetImporter
from painting import NONE

_, folder, out = sys.argv[1:]
pictures = Path(folder, "images")
importer = COCODetectionDatasetImporter(
    data_path=str(pictures),
    labels_path=str(Path(folder, "annotations", "instances_default.json")),
    label_types="segmentations",
)
masks = {}
with importer:
    classes = importer.get_dataset_info()["classes"]
    for path, metadata, found in importer:
        labels = np.full((metadata.height, metadata.width), NONE, np.uint8)
        for one in found.detections:
            height, width = one.mask.shape
            left = round(one.bounding_box[0] * metadata.width)
            top = round(one.bounding_box[1] * metadata.height)
            labels[top : top + height, left : left + width][one.mask] = classes.index(one.label)
        masks[Path(path).relative_to(pictures).with_suffix("").as_posix()] = labels
np.savez(out, classes=classes, **masks)
