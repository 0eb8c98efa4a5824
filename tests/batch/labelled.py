"""Drawn scenes, labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cascade_clip.batch.items import items_of
from cascade_clip.batch.labels import Labels, labelling_journal, labels_of
from cascade_clip.batch.pipeline import Done, Pipeline, run_batch
from cascade_clip.batch.task import Background, Task
from cascade_clip.checkpoint.source import ModelSource

CLASSES = (("cat",), ("house", "home"), ("grass",), ("sky",))
COUNT = 4


def labelled(pictures: list[Path], out: Path) -> Labels:
    task = Task(ModelSource(), CLASSES, Background(0.3), out, ("masks",), min_area=1)
    journal = labelling_journal(task)
    items = items_of(pictures, None, journal.names())
    outcomes = list(run_batch(Pipeline(task).run, journal, items, task.formats))
    assert len(outcomes) == len(pictures)
    assert all(isinstance(one, Done) and one.note is None for one in outcomes)
    return labels_of(journal)


def masks(labels: Labels) -> list[np.ndarray]:
    return [np.asarray(Image.open(labels.mask(entry.name))) for entry in labels.entries]
