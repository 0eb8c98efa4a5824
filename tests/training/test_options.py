"""Settings that change how a step is computed, not what."""

from __future__ import annotations

import pytest
import torch

from cascade_clip.model.fast.compiling import wants_compile
from tests.training.test_module import batch_of, build, equal, gradients


def test_checkpointing_changes_no_gradient(tiny_overrides: list[str]) -> None:
    plain = build(tiny_overrides, "full")
    other = build([*tiny_overrides, "train.checkpoint_activations=true"], "full")
    assert other.network.encoder.checkpoint_activations
    assert equal(gradients(other, batch_of(other)), gradients(plain, batch_of(plain)))


@pytest.mark.parametrize(("choice", "compiled"), [("auto", False), ("true", True), ("off", False)])
def test_a_run_compiles_where_asked_to(
    choice: str,
    compiled: bool,
    tiny_overrides: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: asked.append(module))
    module = build([*tiny_overrides, f"train.compile={choice}"], "full")
    names = module.state_dict().keys()
    module.on_fit_start()
    assert asked == ([module.network] if compiled else [])
    assert module.state_dict().keys() == names


def test_auto_compiles_on_gpus_alone() -> None:
    assert not wants_compile("auto", torch.device("cpu"))
    assert wants_compile(True, torch.device("cpu")) and not wants_compile(
        False, torch.device("cuda")
    )
