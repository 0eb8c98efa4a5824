"""The sanity report finds what it is there to find, and nothing where nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.training import module as module_file
from cascade_clip.training.module import TrainingModule
from cascade_clip.training.run import train
from cascade_clip.training.sanity.checks import inspect_run
from cascade_clip.training.sanity.findings import Finding
from cascade_clip.training.targets import inductive_targets

LARGE_SCENES = ["data.picturebook.size=96", "inference.short_side=96"]
"""Scenes of three times the crop's side, so that crops differ."""


class Changed:
    """A data set whose labels come out changed, or can't be read where `change` fails."""

    def __init__(self, dataset: SegmentationDataset, change: Callable[[Tensor], Tensor]) -> None:
        self.dataset = dataset
        self.change = change

    @property
    def classes(self) -> ClassSet:
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, labels=self.change(sample.labels))


class Bench:
    """A run that could begin."""

    def __init__(self, overrides: list[str], *more: str) -> None:
        self.recipe = load_recipe("cascade-clip/picturebook/inductive", [*overrides, *more])
        self.dataset = open_dataset(self.recipe.data, "train")
        self.clip: FrozenClip = load_clip(self.recipe.model.clip)
        torch.manual_seed(0)
        network = SegmentationNetwork(self.clip.visual, self.recipe.model)
        text = self.clip.text_encoder(self.dataset.classes.names)
        self.module = TrainingModule(
            network, self.recipe, self.dataset.classes, text, self.clip.normalisation
        )

    def findings(self, dataset: SegmentationDataset | None = None) -> dict[str, Finding]:
        found = inspect_run(self.module, self.clip, dataset or self.dataset)
        return {finding.check: finding for finding in found}


@pytest.mark.parametrize(
    ("setting", "leaks"), [("inductive", "ok"), ("transductive", "ok"), ("full", "skipped")]
)
def test_a_sound_run_passes(tiny_overrides: list[str], setting: str, leaks: str) -> None:
    bench = Bench(tiny_overrides, f"train.setting={setting}")
    before = {name: value.clone() for name, value in bench.module.network.state_dict().items()}
    found = bench.findings()
    outcomes = {check: finding.outcome for check, finding in found.items()}
    assert outcomes.pop("leaks of unseen labels") == leaks
    assert set(outcomes.values()) == {"ok"}, found
    after = bench.module.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(p.grad is None for p in bench.module.network.parameters())


@pytest.mark.parametrize(("rule", "outcome"), [("visible", "ok"), ("released", "note")])
def test_the_released_crop_rule_is_told_to_leak(
    tiny_overrides: list[str], rule: str, outcome: str
) -> None:
    bench = Bench(tiny_overrides, *LARGE_SCENES, f"data.augment.crop_rule={rule}")
    finding = bench.findings()["leaks of unseen labels"]
    assert finding.outcome == outcome
    assert ("of 32 crops change" in finding.detail) == (rule == "released"), finding


def test_an_unseen_label_in_the_loss_fails(
    tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(labels: Tensor, seen: Tensor) -> Tensor:
        targets = inductive_targets(labels, seen)
        return torch.where(targets == IGNORE, labels.long() % len(seen), targets)

    monkeypatch.setattr(module_file, "inductive_targets", leaky)
    found = Bench(tiny_overrides).findings()
    assert found["labels of the loss"].outcome == "failed"
    assert found["leaks of unseen labels"].outcome == "failed"
    assert "loss, gradients change" in found["leaks of unseen labels"].detail


def test_labels_shifted_by_one_are_seen_in_the_text_embeddings(tiny_overrides: list[str]) -> None:
    bench = Bench(tiny_overrides)
    bench.module.text_embeddings = bench.module.text_embeddings.roll(1, dims=0)
    finding = bench.findings()["text embeddings"]
    assert finding.outcome == "failed"
    first, second = bench.dataset.classes.names[:2]
    assert finding.detail == (f"row 0 is not '{first}'; nearest to that name is row 1 ('{second}')")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda labels: labels + 100, "label values"),
        (lambda labels: torch.full_like(labels, IGNORE), "pixels of crops"),
    ],
)
def test_labels_that_cannot_be_meant_fail(
    tiny_overrides: list[str], change: Callable[[Tensor], Tensor], check: str
) -> None:
    bench = Bench(tiny_overrides)
    assert bench.findings(Changed(bench.dataset, change))[check].outcome == "failed"


def test_a_last_class_that_never_occurs_is_noted(tiny_overrides: list[str]) -> None:
    bench = Bench(tiny_overrides)
    first, *_, last = bench.dataset.classes.names
    number = len(bench.dataset.classes.names) - 1
    dataset = Changed(bench.dataset, lambda labels: labels.masked_fill(labels == number, IGNORE))
    finding = bench.findings(dataset)["label values"]
    assert finding.outcome == "note"
    assert (
        f"holds the last, {last}: " in finding.detail and f"0 is read as {first}" in finding.detail
    )


@pytest.mark.parametrize(
    ("setting", "outcome"), [("inductive", "failed"), ("transductive", "ok"), ("full", "failed")]
)
def test_unlabelled_pixels_teach_self_training_alone(
    tiny_overrides: list[str], setting: str, outcome: str
) -> None:
    bench = Bench(tiny_overrides, f"train.setting={setting}")
    dataset = Changed(bench.dataset, lambda labels: torch.full_like(labels, UNLABELLED))
    assert bench.findings(dataset)["pixels of crops"].outcome == outcome


@pytest.mark.parametrize(("broken", "outcome"), [(1, "note"), (32, "failed")])
def test_unreadable_files_are_named(tiny_overrides: list[str], broken: int, outcome: str) -> None:
    count = 0

    def change(labels: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count <= broken:
            raise UserError("mask 7.png can't be read")
        return labels

    bench = Bench(tiny_overrides)
    finding = bench.findings(Changed(bench.dataset, change))["files"]
    assert finding.outcome == outcome
    assert "mask 7.png" in finding.detail


def test_a_failure_stops_the_run_before_it_leaves_anything(
    tmp_path: Path, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, "train.steps=1"])
    monkeypatch.setattr(
        module_file, "inductive_targets", lambda labels, seen: labels.long() % len(seen)
    )
    with pytest.raises(UserError, match=r"seen and unseen classes mix.*train\.sanity=false"):
        train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_report_is_kept_and_changes_nothing(tmp_path: Path, tiny_overrides: list[str]) -> None:
    for folder in ("true", "false"):
        settings = [*tiny_overrides, "train.steps=2", f"train.sanity={folder}"]
        train(
            load_recipe("cascade-clip/picturebook/inductive", settings),
            tmp_path / folder,
            quiet=True,
        )
    report = json.loads((tmp_path / "true" / "sanity.json").read_text())
    assert {entry["outcome"] for entry in report} == {"ok"}
    assert not (tmp_path / "false" / "sanity.json").exists()
    checked, unchecked = (
        load_file(tmp_path / folder / "model" / "model.safetensors") for folder in ("true", "false")
    )
    assert all(torch.equal(value, unchecked[name]) for name, value in checked.items())
