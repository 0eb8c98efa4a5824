"""What follows from weights alone, computed once and kept until the weights change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")

MOST_ENTRIES = 8


@dataclass(frozen=True, eq=False)
class _Source:
    """A tensor as it was; `alias` keeps its memory from being given to another one."""

    alias: Tensor
    version: int

    @classmethod
    def of(cls, tensor: Tensor) -> _Source:
        return cls(tensor.detach(), tensor._version)

    def is_still(self, tensor: Tensor) -> bool:
        return (
            self.version == tensor._version
            and self.alias.data_ptr() == tensor.data_ptr()
            and self.alias.dtype == tensor.dtype
            and self.alias.device == tensor.device
            and self.alias.shape == tensor.shape
            and self.alias.stride() == tensor.stride()
        )


class WeightCache(nn.Module):
    """Results of functions, each kept as long as the tensors it was computed from stay as they are.

    A change in place is noticed by the tensor's version counter, a move to another device or dtype
    by its address. Fused optimizers (and writing through `.data`) leave the version as it is; so
    nothing is kept of trained weights in training mode, and a forward pass that wants gradients
    empties the cache and keeps it empty until the next `eval()`. Nothing is kept while a graph is
    being captured, nor for inference tensors, which have no version. It is a module without
    parameters, so that `train()` and `to()` of its owner reach it: both empty it. Copies and
    pickles of it are empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[Hashable, tuple[tuple[_Source, ...], object]] = {}
        self.learning = False

    def get(self, compute: Callable[..., Value], *arguments: Any) -> Value:
        """`compute(*arguments)`, which depends on nothing else: on tensors, the weights of modules
        (it may be one itself) and other, hashable values."""
        sources = tuple(_tensors(compute, *arguments))
        trained = any(source.requires_grad for source in sources)
        if trained and (self.training or torch.is_grad_enabled()):
            self.entries.clear()
            self.learning = True
        if self.learning or not sources or torch.compiler.is_compiling():
            return compute(*arguments)
        if any(source.is_inference() or source.grad is not None for source in sources):
            return compute(*arguments)
        device = sources[0].device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        others = (None if isinstance(argument, Tensor) else argument for argument in arguments)
        key = (compute, autocast, len(sources), *others)
        entry = self.entries.get(key)
        if entry is not None and all(map(_Source.is_still, entry[0], sources)):
            return entry[1]  # type: ignore[return-value]  # one type of value to a key
        with torch.inference_mode(False), torch.no_grad():
            value = compute(*arguments)
        if len(self.entries) >= MOST_ENTRIES:
            self.entries.pop(next(iter(self.entries)), None)
        self.entries[key] = (tuple(map(_Source.of, sources)), value)
        return value

    def train(self, mode: bool = True) -> WeightCache:
        if mode or self.learning:
            self.entries.clear()
        self.learning = False
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WeightCache:
        self.entries.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"entries": {}}


def _tensors(*values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, nn.Module):
            yield from (*value.parameters(), *value.buffers())
