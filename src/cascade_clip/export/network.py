"""Exported files in the place of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cascade_clip.checkpoint.locate import ONNX_SUFFIX, is_exported
from cascade_clip.errors import UserError
from cascade_clip.export.graph import IMAGE, MASK_LOGITS, OFFSETS, SCORES, TEXT
from cascade_clip.export.metadata import METADATA_KEY, ExportedConfig, from_json
from cascade_clip.support.devices import choose_device
from cascade_clip.support.messages import errors_alone, install_line

Run = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
"""The graph's inputs by name and in order, to mask logits and scores (B, C, h, w)."""


@dataclass(frozen=True)
class ExportedOutput:
    """What a file's graph gives."""

    mask_logits: Tensor
    """(B, C, h, w)"""


class ExportedNetwork(nn.Module):
    """A graph in a file, as a `MaskNetwork`.

    With fixed classes, text embeddings are those of a `FixedVocabulary`: (C, all names), each a
    unit vector that points at the channel of its name.
    """

    def __init__(self, run: Run, config: ExportedConfig) -> None:
        super().__init__()
        self.run = run
        self.config = config

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.config.patch_size

    def forward(self, image: Tensor, text_embeddings: Tensor) -> ExportedOutput:
        """Normalised pictures (B, 3, H, W) and text embeddings (C, d), or (C, K, d), to mask
        logits. Raises `UserError` for another size of windows or number of prompts a class."""
        size = self.config.image_size
        if size is not None and tuple(image.shape[2:]) != size:
            raise UserError(
                f"this file takes windows of {size[1]} x {size[0]} pixels, got {image.shape[3]} x "
                f"{image.shape[2]}, of a picture too small or too long; use the model it came from"
            )
        if self.config.classes is not None:
            mask_logits, _ = self.run({IMAGE: image})  # (B, all names, h, w)
            return ExportedOutput(mask_logits[:, text_embeddings.argmax(dim=1)])
        self._check_prompts(text_embeddings)
        offsets = torch.zeros(len(text_embeddings), device=image.device)
        inputs = {IMAGE: image, TEXT: text_embeddings, OFFSETS: offsets}
        return ExportedOutput(self.run(inputs)[0])

    def _check_prompts(self, text_embeddings: Tensor) -> None:
        """The graph has the number of prompts a class that the model was trained with."""
        wanted, given = len(self.config.model.templates), text_embeddings.shape[1:-1]
        if given and given[0] != wanted:
            raise UserError(
                f"this file takes {wanted} prompts a class, got {given[0]}; use the templates of "
                "its training, or the model it came from"
            )


def can_run(path: Path, device: torch.device) -> bool:
    """Whether what runs a file can compute on `device`; ONNX files need an onnxruntime for it."""
    if path.suffix != ONNX_SUFFIX:
        return True
    onnxruntime = _require_onnxruntime()
    return _provider_name(device) in onnxruntime.get_available_providers()


def device_for(model: str | Path, wanted: str = "auto") -> torch.device:
    """The device `wanted`; `auto` is the GPU if there is one and what runs `model` can use it, else
    the CPU. Raises `UserError` for one that isn't there."""
    device = choose_device(wanted)
    chosen = wanted == "auto" and device.type != "cpu"
    if chosen and is_exported(model) and not can_run(Path(model), device):
        return torch.device("cpu")
    return device


def open_exported(path: Path, device: torch.device) -> ExportedNetwork:
    """The network in an .onnx or .pt2 file.

    torch.export unpickles its files: open only those from people you trust.

    Raises `UserError` if there is no such file, it can't be read, or what runs it is missing.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    run, text = (_open_onnx if path.suffix == ONNX_SUFFIX else _open_torch_export)(path, device)
    return ExportedNetwork(run, from_json(text, path))


def _open_onnx(path: Path, device: torch.device) -> tuple[Run, str | None]:
    onnxruntime = _require_onnxruntime()
    if not can_run(path, device):
        available = ", ".join(onnxruntime.get_available_providers())
        raise UserError(
            f"this onnxruntime can't compute on '{device}' (it has {available}); use device 'cpu', "
            "or install the onnxruntime built for your device, e.g. onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    providers = dict.fromkeys([_provider_name(device), "CPUExecutionProvider"])
    try:
        session = onnxruntime.InferenceSession(path, options, list(providers))
    except Exception as error:  # its own exceptions have no common base
        raise UserError(f"{path} can't be loaded by onnxruntime: {error}") from error

    def run(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        arrays = {name: value.detach().cpu().numpy() for name, value in inputs.items()}
        mask_logits, scores = session.run([MASK_LOGITS, SCORES], arrays)
        return torch.from_numpy(mask_logits).to(device), torch.from_numpy(scores).to(device)

    return run, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)


def _require_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(
            "ONNX files need onnxruntime, which is missing; install it with: "
            + install_line("export")
        ) from error
    return onnxruntime


def _provider_name(device: torch.device) -> str:
    """onnxruntime's name for what computes on `device`."""
    return f"{device.type.upper()}ExecutionProvider"


def _open_torch_export(path: Path, device: torch.device) -> tuple[Run, str | None]:
    described: dict[str, Any] = {METADATA_KEY: ""}
    try:
        with errors_alone("torch.export"):  # which warns of damaged files with tracebacks
            program = torch.export.load(path, extra_files=described)
    except Exception as error:  # anything that its archive and its pickles can raise
        raise UserError(f"{path} can't be loaded by torch.export: {error}") from error
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    # Its guards refuse grids of a single row or column; the graph itself serves them.
    module = program.module(check_guards=False)

    def run(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        mask_logits, scores = module(*inputs.values())
        return mask_logits, scores

    return run, described[METADATA_KEY]
