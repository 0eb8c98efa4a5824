"""Several processes that evaluate together: each its share of the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist

from cascade_clip.data.classes import ClassSet
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.errors import UserError

Value = TypeVar("Value")


@contextmanager
def group_of_torchrun() -> Iterator[int]:
    """Joins the processes that torchrun started, each with a GPU of its own if there are any.

    Gives the number of this process; 0 if it is alone. Raises `UserError` for too few GPUs.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield 0
        return
    gpus = torch.cuda.device_count()
    local, started = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if 0 < gpus < started:
        raise UserError(
            f"torchrun started {started} processes, but there are {gpus} GPUs; make "
            f"them agree: --nproc-per-node {gpus}"
        )
    if gpus:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if gpus else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


class Share:
    """Every `world`-th picture of a data set, from number `rank` on."""

    def __init__(self, dataset: SegmentationDataset, rank: int, world: int) -> None:
        self.dataset = dataset
        self.world = world
        self.indices = range(rank, len(dataset), world)

    @classmethod
    def of_this_process(cls, dataset: SegmentationDataset) -> Share:
        """The share of this one among the processes that work together; alone, all of it."""
        together = dist.is_available() and dist.is_initialized()
        return cls(dataset, *((dist.get_rank(), dist.get_world_size()) if together else (0, 1)))

    @property
    def classes(self) -> ClassSet:
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """What each process found for its pictures, one value each, in the data set's order."""
        if self.world == 1:
            return list(values)
        shares: list[list[Value]] = [[]] * self.world
        dist.all_gather_object(shares, list(values))
        return [shares[i % self.world][i // self.world] for i in range(len(self.dataset))]
