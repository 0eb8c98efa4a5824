"""How right the labels of a picture may be, judged by their scores alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def expected_iou(labels: npt.NDArray[np.int16], scores: npt.NDArray[np.floating]) -> float:
    """The least that the mean IoU of a picture's labels (H, W), -1 for none, may be expected to be,
    0..1, if the score (H, W) of a pixel is the probability that its label is right; 0 without any.

    Of a class with A pixels, whose scores sum up to S, S pixels are right. Any other pixel, if its
    label is wrong, counts as one that the class should have: IoU = S / (A + others that are wrong).
    So the same doubt weighs more where classes are small, as wrong pixels do in the mIoU.
    """
    labelled = labels >= 0
    if not labelled.any():
        return 0.0
    _, places = np.unique(labels[labelled], return_inverse=True)  # of the C classes that are there
    pixels = np.bincount(places)  # (C,)
    right = np.bincount(places, weights=scores[labelled])  # (C,)
    wrong = pixels - right
    return float((right / (pixels + wrong.sum() - wrong)).mean())
