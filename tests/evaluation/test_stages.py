from __future__ import annotations

import pytest

from cascade_clip.clip.load import load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.evaluation.stages import stage_names
from cascade_clip.model.network import SegmentationNetwork


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("nga", ["blocks 6-8", "blocks 9-11", "block 12"]),
        ("last", ["block 8", "block 11", "block 12"]),
    ],
)
def test_stages_are_named_by_the_blocks_that_are_read(
    tiny_overrides: list[str], aggregation: str, expected: list[str]
) -> None:
    settings = [*tiny_overrides, f"model.head.aggregation={aggregation}"]
    recipe = load_recipe("cascade-clip/picturebook/inductive", settings)
    clip = load_clip(recipe.model.clip)
    assert stage_names(SegmentationNetwork(clip.visual, recipe.model)) == expected
