"""Labels pictures on all machines of a Ray cluster, one model per worker.

Pictures and results lie in folders that all machines share.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cascade_clip.errors import UserError
from cascade_clip.labelling.run import BATCH_SIZE, Labeller
from cascade_clip.labelling.task import Job, Task


class LabelWorker:
    """Loads the model once, then labels batch after batch."""

    def __init__(self, task: Task) -> None:
        self.labeller = Labeller(task)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Pictures and names in; how many were labelled and what went wrong out."""
        jobs = [(Path(p), str(n)) for p, n in zip(batch["picture"], batch["name"], strict=True)]
        return {"pictures": [len(jobs)], "errors": ["\n".join(self.labeller.label(jobs))]}


def label_on_ray(
    task: Task, jobs: Sequence[Job], workers: int, advance: Callable[[int], None]
) -> list[str]:
    """Labels all pictures with `workers` models at once; returns a line for each unreadable one.

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
    task = _everywhere(task)
    rows = [{"picture": str(picture.resolve()), "name": name} for picture, name in jobs]
    labelled = ray.data.from_items(rows).map_batches(
        LabelWorker,
        fn_constructor_args=(task,),
        batch_size=BATCH_SIZE,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if torch.cuda.is_available() else 0,
    )
    errors: list[str] = []
    for row in labelled.iter_rows():
        advance(int(row["pictures"]))
        errors += [line for line in str(row["errors"]).split("\n") if line]
    return errors


def _everywhere(task: Task) -> Task:
    """The task with paths that workers in other folders and on other machines understand."""
    model = Path(task.model)
    return replace(
        task,
        model=str(model.resolve()) if model.exists() else task.model,
        out=str(Path(task.out).resolve()),
    )
