"""Reads a data set by Datumaro, as CVAT imports it: `FORMAT FOLDER OUT.npz`."""

import sys

import datumaro
import numpy as np
from datumaro import AnnotationType
from painting import NONE, painted, pairs

FORMATS = {"voc": "voc_segmentation", "cvat": "cvat", "coco": "coco_instances"}


def labels_of(item, names):
    size = item.media.data.shape[:2]
    shapes = [(names[a.label], a) for a in item.annotations if a.type is not AnnotationType.bbox]
    polygons = [(n, pairs(a.points)) for n, a in shapes if a.type is AnnotationType.polygon]
    if polygons:
        return painted(polygons, size)
    labels = np.full(size, NONE, np.uint8)
    for number, mask in shapes:
        labels[np.asarray(mask.image, bool)] = number
    return labels


kind, folder, out = sys.argv[1:]
dataset = datumaro.Dataset.import_from(folder, FORMATS[kind])
called = [label.name for label in dataset.categories()[AnnotationType.label].items]
classes = [name for name in called if name != "background"]
numbers = {index: NONE if n == "background" else classes.index(n) for index, n in enumerate(called)}
np.savez(out, classes=classes, **{item.id: labels_of(item, numbers) for item in dataset})
