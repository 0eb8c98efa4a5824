"""The embedded model in lower precision."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cascade_clip.data.factory import open_dataset
from cascade_clip.errors import UserError
from cascade_clip.model.fast import precision
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.support.processor import cpu_features, why_slower

PICTURES = 6


@cache
def segmented(choice: str) -> list[Segmentation]:
    segmenter = Segmenter.from_pretrained(precision=choice)  # type: ignore[arg-type]
    data = open_dataset(segmenter.recipe.data, "test", PICTURES)
    pictures = [data[index].image.permute(1, 2, 0).numpy() for index in range(PICTURES)]
    return segmenter(pictures)


@pytest.mark.parametrize("choice", ["auto", "bf16", "int8"])
def test_nearly_all_pixels_keep_their_class(choice: str) -> None:
    if reason := why_slower(choice, cpu_features()):
        pytest.skip(reason)
    shares = [
        np.mean(low.labels == full.labels)
        for low, full in zip(segmented(choice), segmented("fp32"), strict=True)
    ]
    assert np.mean(shares) > (0.98 if choice == "int8" else 0.995)


@pytest.mark.parametrize("name", ["bf16", "int8"])
def test_what_is_slower_here_is_refused_before_anything_is_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_features", frozenset)
    with pytest.raises(UserError, match=f"precision '{name}'.*use fp32 or auto"):
        Segmenter.from_pretrained("no/such/model", precision=name)  # type: ignore[arg-type]
