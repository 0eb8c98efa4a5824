"""Parts of a segmented picture: classes, connected pieces; and how right its labels may be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade_clip.io import coco
from cascade_clip.io.polygons import Ring, outlines
from cascade_clip.segmentation import Segmentation


@dataclass(frozen=True)
class Segment:
    """A class of a picture, or one connected piece of it."""

    label: int
    """Index of its class."""
    confidence: float
    """Mean score of its pixels, 0..1."""
    area: int
    """Pixels."""
    bbox: tuple[int, int, int, int]
    """left, top, width, height in pixels."""
    rle: coco.RLE
    """Its mask, exact."""

    def annotation(self) -> dict[str, Any]:
        """It as a COCO annotation without ids, with its `score`."""
        found = coco.annotation(self.label, self.rle, self.area, self.bbox)
        return found | {"score": round(self.confidence, 4)}

    @cached_property
    def rings(self) -> tuple[Ring, ...]:
        """Of a connected piece the outline, then the outlines of its holes, half-way between the
        centres of pixels inside and outside."""
        return outlines(coco.decode_mask(self.rle))


def class_segments(result: Segmentation) -> list[Segment]:
    """One segment for each class with any pixel. `result` must carry its confidence."""
    assert result.confidence is not None
    segments = []
    for label in (int(label) for label in np.unique(result.labels) if label >= 0):
        mask = result.labels == label
        score = float(result.confidence[mask].astype(np.float32).mean())
        left, top, width, height = coco.bounding_box(mask)
        box = (left, top, width, height)
        segments.append(Segment(label, score, int(mask.sum()), box, coco.encode_mask(mask)))
    return segments


def find_segments(result: Segmentation, min_area: int) -> list[Segment]:
    """The pieces of at least `min_area` pixels, of all classes; background is none.

    `result` must carry its confidence.
    """
    from scipy import ndimage  # late: most results are written without it

    confidence = result.confidence
    assert confidence is not None
    segments = []
    for index in range(len(result.legend)):
        numbered, _ = ndimage.label(result.labels == index)
        areas = np.bincount(numbered.ravel())
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
            if areas[number] < min_area:
                continue
            piece = numbered[rows, columns] == number
            top, left = rows.start, columns.start
            scores = confidence[rows, columns][piece].astype(np.float32)
            segments.append(
                Segment(
                    label=index,
                    confidence=float(scores.mean()),
                    area=int(areas[number]),
                    bbox=(left, top, piece.shape[1], piece.shape[0]),
                    rle=_encode(piece, top, left, result.labels.shape),
                )
            )
    return segments


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


def _encode(piece: coco.Mask, top: int, left: int, picture: tuple[int, ...]) -> coco.RLE:
    """The run-length code of a piece that lies at (top, left) in a picture (H, W), from its own
    columns alone."""
    height, width = picture
    columns = np.zeros((height, piece.shape[1]), dtype=bool)
    columns[top : top + piece.shape[0]] = piece
    counts = coco.run_lengths(columns)
    counts[0] += left * height
    if behind := (width - left - columns.shape[1]) * height:
        if len(counts) % 2:  # ends outside the piece
            counts[-1] += behind
        else:
            counts.append(behind)
    return {"size": [height, width], "counts": coco.compress(counts)}
