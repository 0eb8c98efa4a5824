"""Labels from an exported file with fixed classes, by numpy, onnxruntime and Pillow alone.

cascade-clip export picturebook --classes "cat, house|building, grass, sky" --out four.onnx
python examples/onnx_labels.py four.onnx examples/scene.png labels.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def resize(maps, size):  # (..., h, w) to (..., *size), bilinear, without antialiasing
    for axis, new in zip((-2, -1), size, strict=True):
        old = maps.shape[axis]
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        part = np.float32(at % 1).reshape((-1, 1) if axis == -2 else -1)
        low, high = (maps.take(np.minimum(at.astype(int) + k, old - 1), axis) for k in (0, 1))
        maps = low * (1 - part) + high * part
    return maps


def starts(side, patch):  # of the windows along a side, repeated at parts of a patch
    last, moves = max(side - crop, 0), [patch * k // shifts for k in range(shifts)]
    steps = range(0, last + stride, stride)
    return sorted({min(step + move, last) for step in steps for move in moves})


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["cascade_clip"])
how, patch, groups = facts["model"]["recipe"]["inference"], facts["patch_size"], facts["classes"]
mean, std = (np.float32(facts["normalisation"][k])[:, None, None] for k in ("mean", "std"))
crop, stride, shifts = (how[key] for key in ("crop", "stride", "shifts"))

photo = np.asarray(ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB"))  # (H0, W0, 3)
size = photo.shape[:2]
scale = min(how["short_side"] / min(size), (how["long_side"] or np.inf) / max(size))
height, width = (max(1, int(side * scale + 0.5)) for side in size)
image = (resize(photo.transpose(2, 0, 1), (height, width)).round() / 255 - mean) / std

total, count = np.zeros((sum(map(len, groups)), height, width)), np.zeros((height, width))
for top, left in ((y, x) for y in starts(height, patch[0]) for x in starts(width, patch[1])):
    place = np.s_[..., top : top + crop, left : left + crop]
    h, w = image[place].shape[1:]
    window = np.pad(image[place], ((0, 0), (0, -h % patch[0]), (0, -w % patch[1])), mode="edge")
    (logits,) = session.run(["mask_logits"], {"image": window[None]})  # (1, names, rows, columns)
    total[place] += 1 / (1 + np.exp(-resize(logits[0], window.shape[1:])[:, :h, :w]))  # sigmoid
    count[place] += 1
scores = resize(total / count, size) + np.float32(facts["offsets"])[:, None, None]

# A class has the score of its best name, so the arg-max over names gives its label.
class_of_name = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
labels = class_of_name[scores.argmax(axis=0)]  # (H0, W0), of fewer than 256 classes
Image.fromarray(labels.astype(np.uint8)).save(sys.argv[3])
print({group[0]: f"{(labels == index).mean():.1%}" for index, group in enumerate(groups)})
