"""Trains in two processes, then counts pixels in both: `two_processes.py RECIPE.yaml OUT`.

The launcher starts this file a second time. Writes `confusion.pt` to OUT: the confusion matrix of a
prediction that any number of processes makes alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.evaluate import DatasetBatches
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.training.run import train

PICTURES = 3


def count(rank: int, world: int, recipe_file: Path) -> Tensor:
    """The confusion matrix over `PICTURES` pictures of all processes together."""
    dataset = open_dataset(load_recipe(recipe_file).data, "test", PICTURES)
    metrics = SegmentationMetrics(dataset.classes.names, dataset.classes.unseen)
    for batch in DatasetBatches(dataset, 2, rank, world):
        predicted = (batch.labels + batch.images.sum(1)) % len(dataset.classes.names)
        metrics.update(predicted, batch.labels)
    with metrics.sync_context():
        return metrics.confusion.clone()


def main() -> None:
    recipe_file, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    train(load_recipe(recipe_file), out, quiet=True)
    confusion = count(dist.get_rank(), dist.get_world_size(), recipe_file)
    if dist.get_rank() == 0:
        torch.save(confusion, out / "confusion.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
