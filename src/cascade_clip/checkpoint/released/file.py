"""Files of released checkpoints: weights and `meta`, as mmcv or mmengine wrote them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from cascade_clip.checkpoint.locate import check_checkpoint
from cascade_clip.errors import UserError, first_line
from cascade_clip.support.messages import some_of


class _Curve:
    """In place of mmengine's `HistoryBuffer`, a training curve in arrays."""


_NUMPY_ARRAY, _NUMPY_SCALAR = (value.__reduce__()[0] for value in (np.empty(0), np.float64(0)))
_HARMLESS: list[Any] = [
    _NUMPY_ARRAY,
    _NUMPY_SCALAR,
    (_NUMPY_ARRAY, "numpy.core.multiarray._reconstruct"),
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
    (_Curve, "mmengine.logging.history_buffer.HistoryBuffer"),
]
"""What mmcv and mmengine leave beside the weights: palettes, best scores and curves of NumPy, by
old or new names of NumPy's modules. They are plain numbers; nothing else than tensors and these may
be in a file."""


def read_released_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name, and `meta`; empty if the file holds a state dict alone.

    Where mmengine kept a moving average of the weights, it is what `state_dict` holds and what
    mmengine evaluates; what it was made from (`ema_state_dict`) is passed over.

    Raises `UserError` if the file is no such checkpoint, damaged, or holds code.
    """
    content = _load(path)
    state, meta = content.get("state_dict"), content.get("meta", {})
    if content and "state_dict" not in content and _is_state(content):
        state, meta = content, {}
    if not _is_state(state):
        keys = f"the keys {some_of(sorted(map(str, content)), 3)}" if content else "none"
        raise UserError(
            f"{path} is not a released checkpoint: expected names with tensors, or a dict that has "
            f"them under 'state_dict'; got {keys}"
        )
    if not isinstance(meta, dict):
        raise UserError(f"{path} is not a released checkpoint: its 'meta' must be a dict")
    return state, meta


def unwrap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix `module.`, where a model for several GPUs gave it to every name."""
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: v for name, v in state.items()}


def moving_averages(state: Mapping[str, Tensor]) -> set[str]:
    """Names of the buffers that mmcv's EMA hook keeps beside the weights, one for each.

    mmcv evaluates the weights under the plain names, whether it has exchanged the two (as its
    runner by epochs does before it saves) or not.
    """
    return {f"ema_{name.replace('.', '_')}" for name in state} & state.keys()


def _load(path: Path) -> dict[Any, Any]:
    check_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or first_line(error)}") from error
    except Exception as error:  # rubbish makes the unpickler raise almost anything
        raise UserError(f"{path} is damaged, or no checkpoint that torch.save wrote") from error
    return content if isinstance(content, dict) else {}


def _is_state(value: Any) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def _refused(path: Path, reason: str) -> UserError:
    """What PyTorch said, without its advice to run the file's code."""
    code = re.search(r"[Uu]nsupported (?:global|class)\W+(?:GLOBAL )?([\w.]+)", reason)
    if code:
        return UserError(f"{path} holds code, which is never run: {code[1]}")
    return UserError(f"{path} is damaged, or no weights file of PyTorch's")
