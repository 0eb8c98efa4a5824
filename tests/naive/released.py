"""What `fidelity: released` changes, as the released code does it, on whole arrays."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def resize_nearest(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) -> `size`, by OpenCV's rule for INTER_NEAREST, in Python's float64."""
    places = [
        [min(math.floor(x * (1 / (new / old))), old - 1) for x in range(new)]
        for new, old in zip(size, labels.shape, strict=True)
    ]
    return np.array([[labels[y, x] for x in places[1]] for y in places[0]], dtype=np.uint8)


def accepts_crop(labels: NDArray[np.uint8]) -> bool:
    """Whether a crop (H, W) of raw labels is taken: `cat_max_ratio=0.75`."""
    values, counts = np.unique(labels, return_counts=True)
    counts = counts[values != 255]
    return len(counts) > 1 and bool(counts.max() / counts.sum() < 0.75)


def pseudo_labels(labels: Tensor, mask_logits: Tensor, unseen: list[int]) -> Tensor:
    """Labels (B, H, W), logits (B, C, h, w) -> labels with the unseen ones predicted."""
    scores = F.interpolate(
        mask_logits, size=labels.shape[1:], mode="bilinear", align_corners=False
    ).sigmoid()
    seen = [index for index in range(scores.shape[1]) if index not in unseen]
    scores[:, seen] = -1
    best = scores.argmax(dim=1)
    result = labels.clone()
    for index in unseen:
        result[labels == index] = best[labels == index]
    return result
