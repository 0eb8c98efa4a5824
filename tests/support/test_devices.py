"""Which device is taken."""

from pathlib import Path

import pytest
import torch

from cascade_clip.export import network
from cascade_clip.export.network import fastest_device


@pytest.mark.parametrize(
    ("model", "gpu", "runs_onnx", "device"),
    [
        ("picturebook", True, False, "cuda"),
        ("picturebook", False, False, "cpu"),
        ("m.onnx", True, False, "cpu"),
        ("m.onnx", True, True, "cuda"),
    ],
)
def test_a_gpu_is_taken_where_the_model_can_use_it(
    monkeypatch: pytest.MonkeyPatch, model: str, gpu: bool, runs_onnx: bool, device: str
) -> None:
    def can_run(path: Path, device: torch.device) -> bool:
        return runs_onnx

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(network, "can_run", can_run)
    assert fastest_device(model).type == device
