"""Reads CLIP weights from a file in any of the formats they come in, without running any of it."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_clip.clip.source import CONFIG_FILE
from cascade_clip.clip.torchscript import is_torchscript, read_torchscript
from cascade_clip.clip.transformers_format import from_transformers, is_transformers
from cascade_clip.config import ClipSettings
from cascade_clip.errors import UserError, first_line
from cascade_clip.support.messages import notice, some_of
from cascade_clip.support.plain_values import read_json

DERIVED = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
"""Entries of OpenAI's archives and old checkpoints that follow from the architecture."""


@dataclass(frozen=True)
class Weights:
    """Weights of a CLIP in open_clip's names, float32."""

    state: dict[str, Tensor]
    quick_gelu: bool | None
    """Whether they were trained with QuickGELU; None: the file doesn't show it."""
    preprocess: Mapping[str, Any] | None = None
    """`mean` and `std`, where open_clip's configuration in the same folder gives them."""


def read_weights(path: Path) -> Weights:
    """The weights in a file: OpenAI's TorchScript archive, safetensors, or a state dict that
    `torch.save` wrote (alone, or as `state_dict` of a training checkpoint).

    Names may be those of open_clip, of OpenAI or of transformers.

    Raises `UserError` if the file is missing, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"there is no weights file {path}")
    torchscript = is_torchscript(path)
    found = read_torchscript(path) if torchscript else _read_state(path)
    if any(not isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} holds no weights, expected a file of named tensors")
    state = {name.removeprefix("module."): value.float() for name, value in found.items()}
    if is_transformers(state):
        state = from_transformers(state)
    state = {name: value for name, value in state.items() if name not in DERIVED}
    return Weights(state, True if torchscript else _activation_beside(path), _preprocess(path))


def is_random(state: Mapping[str, Tensor]) -> bool:
    """Whether no step of training has changed the weights: layer normalisation still multiplies by
    1 and adds 0 everywhere."""
    return all(
        bool((value == float(name.endswith(".weight"))).all())
        for name, value in state.items()
        if re.search(r"\bln_\w+\.(weight|bias)$", name)
    )


def describe_differences(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], model: str
) -> str:
    """How weights differ in names and sizes from those that `model` has; empty if they don't."""
    kinds = {
        "of another size": [
            f"{name} is {_size(state[name])}, {model} has {_size(expected[name])}"
            for name in expected
            if name in state and state[name].shape != expected[name].shape
        ],
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
    }
    return "; ".join(
        f"{len(names)} {kind}: {some_of(names, 4)}" for kind, names in kinds.items() if names
    )


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, independent of the order of the entries."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.numpy().data)
    return digest.hexdigest()


def choose_activation(
    settings: ClipSettings, architecture: Mapping[str, Any], known: bool | None
) -> bool:
    """Whether to build with QuickGELU: as the weights were trained, as far as that is `known`.

    Where it isn't, `settings` decide, or else the architecture; then a line on stderr says so.

    Raises `UserError` if what is known contradicts the settings or the architecture.
    """
    wanted = settings.quick_gelu
    by_name = bool(architecture.get("quick_gelu", False))
    if known is not None and wanted not in (None, known):
        raise UserError(
            f"'{settings.pretrained}' was trained with {activation_name(known)}, but "
            f"model.clip.quick_gelu={str(wanted).lower()} asks for {activation_name(not known)}; "
            "leave the setting out"
        )
    chosen = known if known is not None else wanted
    if by_name and chosen is False:
        raise UserError(
            f"'{settings.pretrained}' goes with GELU, but the architecture '{settings.model}' has "
            "QuickGELU; take the architecture without it in its name"
        )
    if chosen is None and not by_name:
        notice(
            f"{settings.pretrained}: weights don't show their activation; GELU is assumed, as "
            f"'{settings.model}' has it. For weights of OpenAI, DFN or MetaCLIP take "
            f"{settings.model}-quickgelu, or set model.clip.quick_gelu=true"
        )
    return by_name if chosen is None else chosen


def activation_name(quick_gelu: bool) -> str:
    """What an activation is called in messages."""
    return "QuickGELU" if quick_gelu else "GELU"


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:9] == b"{":  # eight bytes of length, then a JSON header
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged or holds more than weights, and only weights are read: take a "
            "safetensors file, or save its state dict alone"
        ) from error
    except Exception as error:  # rubbish makes the unpickler raise almost anything
        raise UserError(f"{path} can't be read: {first_line(error)}") from error
    inner = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(inner, dict) or not inner:
        raise UserError(f"{path} holds no weights, expected a file of named tensors")
    return inner


def _activation_beside(path: Path) -> bool | None:
    """What open_clip's or transformers' configuration in the same folder says."""
    for name in (CONFIG_FILE, "config.json"):
        config = _config_beside(path, name)
        if isinstance(config.get("model_cfg"), dict):
            return bool(config["model_cfg"].get("quick_gelu", False))
        if isinstance(config.get("vision_config"), dict):
            return config["vision_config"].get("hidden_act", "quick_gelu") == "quick_gelu"
    return None


def _preprocess(path: Path) -> Mapping[str, Any] | None:
    found = _config_beside(path, CONFIG_FILE).get("preprocess_cfg")
    return found if isinstance(found, dict) and {"mean", "std"} <= found.keys() else None


def _config_beside(path: Path, name: str) -> dict[str, Any]:
    try:
        config = read_json(path.parent / name)
    except UserError:
        return {}
    return config if isinstance(config, dict) else {}


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
