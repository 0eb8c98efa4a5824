"""Connected pieces as the definition reads: each one a mask of the whole picture."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cascade_clip.batch.segments import Segment
from cascade_clip.io import coco
from cascade_clip.segmentation import Segmentation


def find_segments(result: Segmentation, min_area: int) -> list[Segment]:
    """The pieces of at least `min_area` pixels, of all classes; background is none."""
    assert result.confidence is not None
    segments = []
    for index in range(len(result.legend)):
        numbered, count = ndimage.label(result.labels == index)
        for number in range(1, count + 1):
            piece = numbered == number
            area = int(piece.sum())
            if area >= min_area:
                confidence = float(result.confidence[piece].astype(np.float32).mean())
                left, top, width, height = coco.bounding_box(piece)
                box = (left, top, width, height)
                segments.append(Segment(index, confidence, area, box, coco.encode_mask(piece)))
    return segments
