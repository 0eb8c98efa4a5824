"""The embedded model in lower precision."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cascade_clip.data.factory import open_dataset
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.support.processor import cpu_features, why_slower

PICTURES = 6


@cache
def segmented(precision: str) -> list[Segmentation]:
    segmenter = Segmenter.from_pretrained(precision=precision)  # type: ignore[arg-type]
    data = open_dataset(segmenter.recipe.data, "test", PICTURES)
    pictures = [data[index].image.permute(1, 2, 0).numpy() for index in range(PICTURES)]
    return segmenter(pictures)


@pytest.mark.parametrize("precision", ["auto", "bf16", "int8"])
def test_nearly_all_pixels_keep_their_class(precision: str) -> None:
    if reason := why_slower(precision, cpu_features()):
        pytest.skip(reason)
    shares = [
        np.mean(low.labels == full.labels)
        for low, full in zip(segmented(precision), segmented("fp32"), strict=True)
    ]
    assert np.mean(shares) > (0.98 if precision == "int8" else 0.995)
