"""What a command was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade_clip.checkpoint.source import ModelSource


@pytest.mark.parametrize(("clip", "drawn"), [("picturebook", True), ("local-dir:x", False)])
def test_a_model_on_the_embedded_clip_knows_drawn_scenes_only(
    tmp_path: Path, clip: str, drawn: bool
) -> None:
    recipe = {"name": "mine", "model": {"clip": {"model": clip}}}
    (tmp_path / "config.json").write_text(json.dumps({"recipe": recipe}))
    assert ModelSource(str(tmp_path)).is_drawn == drawn
    assert ModelSource(clip=clip).is_drawn == drawn
    assert ModelSource().is_drawn
