"""From a released checkpoint to a model trained on from it, with the documented commands alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.data.class_lists import load_class_list
from tests.cli.test_train import CommandLine
from tests.data.trees import write_prepared
from tests.golden.synthetic import Sizes, synthetic

SMALL = [
    "data.root=data", "inference.crop=32", "inference.stride=32", "inference.short_side=32",
    "train.steps=2", "train.batch_size=2", "train.workers=0", "train.warmup_steps=0",
    "train.validate_every=0", "train.accelerator=cpu", "-q", "--no-report",
]  # fmt: skip


def write_released(path: Path, cascade: bool) -> None:
    """A checkpoint of VOC with the released settings, but narrow, at 64 px pictures; its text
    encoder has CLIP's vocabulary."""
    voc = load_class_list("voc20")
    unseen = tuple(voc.names.index(name) for name in voc.splits["standard"])
    sizes = Sizes(
        cascade=cascade, prompts=10, positions=32, decoder_heads=8, classes=20, unseen=unseen,
        pictures=1, picture=(64, 64), original=(64, 64),
    )  # fmt: skip
    _, state, meta = synthetic(sizes)
    state["text_encoder.token_embedding.weight"] = torch.randn(49408, 16)
    torch.save({"state_dict": state, "meta": {**meta, "CLASSES": voc.names}}, path)


@pytest.mark.parametrize("method", ["cascade-clip", "zegclip"])
def test_training_goes_on_from_a_converted_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    here = CommandLine(tmp_path, monkeypatch)
    write_prepared(tmp_path / "data", "voc20")
    write_released(tmp_path / "released.pth", cascade=method == "cascade-clip")
    here.works("convert", "released.pth", "converted")
    start = "train.start_from=converted"
    command = ("train", f"{method}/voc20/transductive", *SMALL, start, "--out", "run")
    here.works(*command)
    monkeypatch.chdir(tmp_path)
    before, after = load_bundle("converted"), load_bundle("run")
    assert after.clip_fingerprint == before.clip_fingerprint
    assert after.recipe.train.setting == "transductive"
    old, new = before.network.state_dict(), after.network.state_dict()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert "encoder.prompts.embeddings" in moved
    assert not any(name.startswith("encoder.visual.") for name in moved)
    assert (new["encoder.prompts.embeddings"] - old["encoder.prompts.embeddings"]).abs().max() < 0.1
    # The new model holds its CLIP too, and needs the one it came from no more.
    recipe = json.loads((tmp_path / "run/model/config.json").read_text())["recipe"]
    assert recipe["model"]["clip"]["model"] == "local-dir:clip"
    assert here.works(*command, "--resume").startswith("run is finished")
    assert here.works("train", "run/recipe.yaml", "--out", "run", "--resume")
    (tmp_path / "converted").rename(tmp_path / "moved")
    here.works("evaluate", "run", "-q")
