"""On what and in which precision a network is run, as a `Segmenter` is asked for it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, TypedDict

import torch

from cascade_clip.config.base import PrecisionChoice
from cascade_clip.errors import UserError
from cascade_clip.inference.predictor import MAX_WINDOWS, check_max_windows
from cascade_clip.model.fast.compiling import CompileChoice, wants_compile
from cascade_clip.model.fast.precision import Precision, at_precision, choose_precision
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.model.training_free.network import TrainingFreeNetwork
from cascade_clip.support.devices import usable_device


class ExecutionOptions(TypedDict, total=False):
    """How a model is run."""

    device: str | torch.device
    """As torch names it; default "cpu"."""
    max_windows: int
    """Caps the work for very long pictures: they are shrunk, with a warning, until they fit."""
    precision: PrecisionChoice
    """"fp32", the default, "bf16", "int8" (CPU only) or "auto": bf16 where the device multiplies
    it, else fp32. What is slower than fp32 here is refused; exported files have their own."""
    compile: CompileChoice
    """True passes the network through `torch.compile` with the first picture, which takes a minute
    or more; "auto": on GPUs. False is the default."""
    inference: Mapping[str, Any]
    """Settings of the recipe's group `inference` in place of its own, e.g. {"short_side": 560}."""


def check_execution(
    *,
    device: str | torch.device = "cpu",
    max_windows: int = MAX_WINDOWS,
    precision: PrecisionChoice = "fp32",
    compile: CompileChoice = False,
    inference: Mapping[str, Any] | None = None,
    exported: bool = False,
) -> torch.device:
    """The device. Raises `UserError` for options that can't be met, before anything is loaded; the
    precision of an `exported` file is its own, as is its crop. Values of `inference` are checked
    with the model's recipe."""
    if inference is not None and not isinstance(inference, Mapping):
        raise UserError(
            "inference is settings by name, e.g. {'refine': 'pamr'}; got "
            f"{reprlib.repr(inference)}"
        )
    place = usable_device(device)
    if not exported:
        choose_precision(precision, place)
    elif inference and "crop" in inference:
        raise UserError("an exported file keeps the crop that it was exported with")
    elif inference and inference.get("token_merging"):
        raise UserError("an exported file can't merge tokens; use the model it came from")
    wants_compile(compile, place)
    check_max_windows(max_windows)
    return place


def prepare_network(
    network: MaskNetwork, device: torch.device, precision: PrecisionChoice
) -> tuple[MaskNetwork, Precision]:
    """The network as it is run, and its precision; exported files are "fp32". Lower precisions work
    on a copy. Raises `UserError` as `check_execution`."""
    chosen: Precision = "fp32"
    network = network.to(device).eval()
    if isinstance(network, (SegmentationNetwork, TrainingFreeNetwork)):
        chosen = choose_precision(precision, device)
        network = at_precision(network, chosen)
    return network, chosen
