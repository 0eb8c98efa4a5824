"""The learning rate against values worked out by hand, and what the optimizer holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cascade_clip.clip.load import load_clip
from cascade_clip.config import ClipSettings, EncoderSettings, ModelSettings, TrainSettings
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.training.schedule import build_optimizer, learning_rate

# (20 000 or 80 000 steps, step, rate) for base 2e-4, least 1e-6, power 0.9, warm-up 1500 from 1e-6.
BY_HAND = [
    (20_000, 0, 2e-10),
    (20_000, 1, 1.33527e-7),
    (20_000, 750, 9.66356e-5),
    (20_000, 1500, 1.865157e-4),
    (20_000, 10_000, 1.076415e-4),
    (20_000, 19_999, 1.02679e-6),
    (80_000, 0, 2e-10),
    (80_000, 1, 1.33532e-7),
    (80_000, 750, 9.91602e-5),
    (80_000, 1500, 1.966387e-4),
    (80_000, 40_000, 1.076415e-4),
    (80_000, 79_999, 1.00769e-6),
]


@pytest.mark.parametrize(("steps", "step", "rate"), BY_HAND)
def test_learning_rate_of_the_released_schedule(steps: int, step: int, rate: float) -> None:
    assert learning_rate(step, TrainSettings(steps=steps)) == pytest.approx(rate, rel=5e-6)


@pytest.mark.parametrize(
    ("step", "rate"), [(1500, 1.871255e-5), (10_000, 1.118185e-5), (20_000, 1e-6)]
)
def test_a_tenth_of_the_rate_comes_down_to_the_same_least_one(step: int, rate: float) -> None:
    settings = TrainSettings(steps=20_000)
    assert learning_rate(step, settings, factor=0.1) == pytest.approx(rate, rel=5e-6)


def test_relationship_prompts_have_their_own_rate_which_a_resumed_run_keeps() -> None:
    settings = TrainSettings(steps=20, warmup_steps=0, relationship_lr_factor=0.1)

    def build() -> tuple[Any, Any]:
        names = ("encoder.relationship_prompts.weights", "head.weight")
        return build_optimizer({n: torch.nn.Parameter(torch.ones(2)) for n in names}, settings)

    def rates(optimizer: Any, scheduler: Any, steps: int) -> list[list[float]]:
        found = []
        for _ in range(steps):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
        return found

    optimizer, scheduler = build()
    before = rates(optimizer, scheduler, 7)
    resumed = build()
    resumed[0].load_state_dict(optimizer.state_dict())
    resumed[1].load_state_dict(scheduler.state_dict())
    for step, found in enumerate([*before, *rates(*resumed, 5)]):
        factors = (1.0, 0.1)
        assert found == pytest.approx([learning_rate(step, settings, f) for f in factors])
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]


def test_a_least_rate_above_the_relationship_prompts_is_an_error() -> None:
    with pytest.raises(ValidationError, match="relationship_lr_factor"):
        TrainSettings(lr=1e-5, min_lr=5e-6, relationship_lr_factor=0.1)


def test_no_warmup_starts_at_the_base_rate() -> None:
    settings = TrainSettings(steps=10, warmup_steps=0, lr=0.5)
    assert learning_rate(0, settings) == pytest.approx(0.5)


def test_after_the_last_step_the_least_rate_stays() -> None:
    settings = TrainSettings(steps=10, warmup_steps=0)
    assert learning_rate(10, settings) == learning_rate(25, settings) == settings.min_lr


@pytest.mark.parametrize(
    "encoder",
    [
        EncoderSettings(prompts=2),
        EncoderSettings(prompts=2, level_projection="clip-trained"),
        EncoderSettings(tuning="frozen"),
        EncoderSettings(tuning="last-blocks", tuned_blocks=2),
        EncoderSettings(tuning="full"),
    ],
    ids=lambda encoder: f"{encoder.tuning}-{encoder.level_projection}",
)
def test_each_trained_parameter_once_and_no_frozen_one(
    encoder: EncoderSettings, tiny_clip_folder: Path
) -> None:
    clip = load_clip(ClipSettings(model=f"local-dir:{tiny_clip_folder}"))
    network = SegmentationNetwork(clip.visual, ModelSettings(encoder=encoder))
    optimizer, _ = build_optimizer(network.trained_parameters(), TrainSettings())
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in network.parameters() if p.requires_grad}
    assert all(group["weight_decay"] == 0.01 for group in optimizer.param_groups)
