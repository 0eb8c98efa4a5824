"""Reads the tensors of a TorchScript archive, OpenAI's form of CLIP, without running any of it.

`torch.jit.load` compiles the code in an archive. Here only its pickled module tree is read, by an
unpickler that knows tensors and plain containers and refuses all else.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade_clip.errors import UserError

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive; False for anything else, damaged ones included."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """All tensors in the module tree of an archive, by their dotted names.

    Raises `UserError` if it is damaged or holds anything but modules, tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next(name for name in names if name.endswith("/data.pkl"))[: -len("data.pkl")]
            with archive.open(f"{root}data.pkl") as file:
                module = _Reader(file, lambda key: archive.read(f"{root}data/{key}")).load()
    except UserError:
        raise
    except (
        OSError, zipfile.BadZipFile, pickle.UnpicklingError, StopIteration, EOFError, KeyError,
        ValueError, TypeError, IndexError, AttributeError, RuntimeError,
    ) as error:  # fmt: skip
        raise UserError(f"{path} is no readable TorchScript archive: {error}") from error
    return _tensors(module, "")


class _Module:
    """Stands for any module or other object of the archive: attributes and nothing else."""

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    """Unpickles without ever looking up a name that the archive gives."""

    def __init__(self, file: Any, read_storage: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type(name, (_Module,), {})
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":  # lists of one type, values with the name of their type
            return _first
        raise UserError(f"the archive holds {module}.{name}, which is no part of a CLIP")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        return torch.frombuffer(bytearray(self._read_storage(str(key))), dtype=dtype)


def _tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensors(module: Any, prefix: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in getattr(module, "attributes", {}).items():
        if isinstance(value, Tensor):
            found[prefix + name] = value
        elif isinstance(value, _Module):
            found |= _tensors(value, f"{prefix}{name}.")
    return found
