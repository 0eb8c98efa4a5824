"""Reads a data set as Ultralytics reads it to train a segmentation: `FORMAT FOLDER OUT.npz`."""

import sys
from pathlib import Path

import numpy as np
from painting import painted
from ultralytics.data import utils
from ultralytics.data.dataset import YOLODataset


def labels_of(found):
    height, width = found["shape"]
    corners = [(segment * (width, height)).tolist() for segment in found["segments"]]
    return painted(
        list(zip(found["cls"][:, 0].astype(int).tolist(), corners, strict=True)), (height, width)
    )


_, folder, out = sys.argv[1:]
utils.check_font = lambda font: None  # for drawing results; it would be loaded from elsewhere
data = utils.check_det_dataset(str(Path(folder, "data.yaml")))
parts = [YOLODataset(img_path=data[p], data=data, task="segment") for p in ("train", "val")]
masks = {Path(found["im_file"]).stem: labels_of(found) for part in parts for found in part.labels}
np.savez(out, classes=[data["names"][index] for index in sorted(data["names"])], **masks)
