"""Segments pictures on all machines of a Ray cluster, one model per worker.

Pictures and results lie in folders that all machines share.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cascade_clip.batch.items import Item
from cascade_clip.batch.pipeline import Outcome, Pipeline
from cascade_clip.batch.task import Task
from cascade_clip.errors import UserError
from cascade_clip.inference.predictor import BATCH
from cascade_clip.io.images import read_picture
from cascade_clip.support.devices import choose_device
from cascade_clip.support.messages import install_line


class RayWorker:
    """Loads the model once, then segments batch after batch."""

    def __init__(self, task: Task) -> None:
        self.pipeline = Pipeline(task)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Sources, names and stamps of pictures in; pickled outcomes out."""
        rows = zip(batch["name"], batch["source"], batch["stamp"], strict=True)
        items = [
            Item(str(name), str(source), str(stamp), partial(read_picture, Path(str(source))))
            for name, source, stamp in rows
        ]
        return {"outcome": [pickle.dumps(outcome) for outcome in self.pipeline.run(items)]}


def run_on_ray(task: Task, workers: int, items: Iterable[Item | Outcome]) -> Iterator[Outcome]:
    """As `Pipeline.run`, for picture files, with `workers` models at once.

    Uses the cluster that RAY_ADDRESS names, or starts Ray on this machine.

    Raises `UserError` without Ray.
    """
    rows = []
    for item in items:
        if isinstance(item, Item):
            rows.append({"source": item.source, "name": item.name, "stamp": item.stamp})
        else:
            yield item
    if not rows:
        return
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(f"--engine ray needs Ray: {install_line('ray')}") from error
    if not ray.is_initialized():
        # On this machine alone there have to be as many slots as workers, or they wait for ever.
        slots = None if "RAY_ADDRESS" in os.environ else max(workers, os.cpu_count() or 1)
        ray.init(
            num_cpus=slots,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False,
        )
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    outcomes = ray.data.from_items(rows).map_batches(
        RayWorker,
        fn_constructor_args=(_everywhere(task),),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if choose_device(task.run.device).type == "cuda" else 0,
    )
    for row in outcomes.iter_rows():
        yield pickle.loads(row["outcome"])


def _everywhere(task: Task) -> Task:
    """The task with paths that workers in other folders and on other machines understand."""
    return replace(task, model=task.model.absolute(), out=task.out.resolve())
