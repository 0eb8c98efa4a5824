"""Which device is taken."""

from pathlib import Path

import onnxruntime
import pytest
import torch

from cascade_clip.errors import UserError
from cascade_clip.export.network import can_run, device_for
from cascade_clip.support.devices import usable_device


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(UserError, match="no device"):
        usable_device(name)


def test_files_run_where_their_engine_can() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert can_run(Path("m.onnx"), cpu) and can_run(Path("m.pt2"), gpu)
    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    assert can_run(Path("m.onnx"), gpu) == there


@pytest.mark.parametrize("model", ["picturebook", "m.onnx", "m.pt2"])
def test_the_fastest_device_is_one_that_is_there(model: str) -> None:
    found = device_for(model)
    assert usable_device(found) == found
    assert found.type == "cuda" or not torch.cuda.is_available() or model == "m.onnx"
    assert device_for(model, "cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no device 'cuda:99'"):
        device_for(model, "cuda:99")
