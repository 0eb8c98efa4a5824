"""How far our resizing is from OpenCV's: `python -m benchmarks.resize_vs_opencv`.

Needs `pip install opencv-python-headless`, which nothing else here does. Pictures of real sizes are
scaled as in training and for inference: a photograph, drawn ones with the spectrum of photographs,
and noise, the worst case. Written to `benchmarks/results/resize_vs_opencv.json`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import matplotlib.cbook
import numpy as np
import torch
from benchmarks.data_loading import draw_picture, draw_regions
from numpy.typing import NDArray
from PIL import Image

from cascade_clip.config import NearestRule
from cascade_clip.io.files import write_text
from cascade_clip.io.images import read_picture
from cascade_clip.ops.images import resize_bilinear, resize_nearest, scaled_size

RESULT = Path(__file__).parent / "results" / "resize_vs_opencv.json"
SIZES = ((375, 500), (500, 333), (480, 640), (427, 640))
FACTORS = 24
"""Random factors on each picture, from 0.5 to 2, besides the scale of inference."""

Bytes = NDArray[np.uint8]


def main() -> None:
    rng = np.random.default_rng(0)
    kinds = {"photograph": [photograph()], "drawn": [], "noise": []}
    labels: list[Bytes] = []
    for number, size in enumerate(SIZES):
        labels.append(draw_regions(np.random.default_rng(number), size))
        kinds["drawn"].append(draw_picture(np.random.default_rng(number), labels[-1]))
        kinds["noise"].append(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    result: dict[str, Any] = {
        kind: compare([(a, ours_bilinear, cv2.INTER_LINEAR) for a in pictures], rng)
        for kind, pictures in kinds.items()
    }
    for key, rule in (("labels", "exact"), ("labels_by_opencv_rule", "opencv")):
        ours = partial(ours_nearest, rule=rule)
        result[key] = compare([(a, ours, cv2.INTER_NEAREST) for a in labels], rng)
        del result[key]["largest"]  # the difference of two class numbers says nothing
    result["versions"] = {"opencv": cv2.__version__, "torch": torch.__version__}
    result["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    text = json.dumps(result, indent=2) + "\n"
    write_text(RESULT, text)
    print(text)


def compare(cases: list[tuple[Bytes, Any, int]], rng: np.random.Generator) -> dict[str, float]:
    """Largest difference in grey levels, and how many values differ."""
    largest, differing, values = 0, 0, 0
    for array, ours, interpolation in cases:
        sizes = [scaled_size(array.shape[:2], 512)]
        for factor in rng.uniform(0.5, 2, FACTORS):
            sizes.append(scaled_size(array.shape[:2], int(512 * factor), int(2048 * factor)))
        for height, width in sizes:
            theirs = cv2.resize(array, (width, height), interpolation=interpolation)
            difference = np.abs(ours(array, [height, width]).astype(int) - theirs)
            largest = max(largest, int(difference.max()))
            differing += int(np.count_nonzero(difference))
            values += difference.size
    return {"largest": largest, "differing_percent": round(100 * differing / values, 4)}


def ours_bilinear(image: Bytes, size: list[int]) -> Bytes:
    channels_first = torch.from_numpy(image).permute(2, 0, 1)  # (3, H, W)
    return resize_bilinear(channels_first, size).permute(1, 2, 0).numpy()


def ours_nearest(labels: Bytes, size: list[int], rule: NearestRule) -> Bytes:
    return resize_nearest(torch.from_numpy(labels), size, rule).numpy()


def photograph() -> Bytes:
    """The one that comes with matplotlib, 512 x 600."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return read_picture(Image.open(path))


if __name__ == "__main__":
    main()
