"""Labels pictures on all machines of a Ray cluster, one model per worker.

Pictures and results lie in folders that all machines share.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cascade_clip.batch.label import Labelled, Labeller
from cascade_clip.batch.records import Store
from cascade_clip.batch.task import Job, Task
from cascade_clip.errors import UserError
from cascade_clip.inference.predictor import BATCH


class LabelWorker:
    """Loads the model once, then labels batch after batch."""

    def __init__(self, task: Task, store: Store) -> None:
        self.labeller = Labeller(task, store)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Pictures and names in; the fields of `Labelled` out, empty for None."""
        jobs = [(Path(p), str(n)) for p, n in zip(batch["picture"], batch["name"], strict=True)]
        labelled = list(self.labeller.label(jobs))
        return {
            "error": [result.error or "" for result in labelled],
            "note": [result.note or "" for result in labelled],
        }


def label_on_ray(task: Task, store: Store, jobs: Sequence[Job], workers: int) -> Iterator[Labelled]:
    """Labels all pictures with `workers` models at once.

    Uses the cluster that RAY_ADDRESS names, or starts Ray on this machine.

    Raises `UserError` without Ray.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install 'cascade-clip[ray]'") from error
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
    rows = [{"picture": os.path.abspath(picture), "name": name} for picture, name in jobs]
    labelled = ray.data.from_items(rows).map_batches(
        LabelWorker,
        fn_constructor_args=(_everywhere(task), replace(store, out=store.out.resolve())),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if torch.cuda.is_available() else 0,
    )
    for row in labelled.iter_rows():
        yield Labelled(error=str(row["error"]) or None, note=str(row["note"]) or None)


def _everywhere(task: Task) -> Task:
    """The task with a model that workers in other folders and on other machines understand."""
    model = Path(task.model)
    return replace(task, model=str(model.resolve()) if model.exists() else task.model)
