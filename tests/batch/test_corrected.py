"""Corrected pictures are taken as they are, and the others are labelled."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.batch.corrected import find_corrections, with_corrections
from cascade_clip.batch.formats import WRITERS
from cascade_clip.batch.items import Failure, items_of
from cascade_clip.batch.labels import labelling_journal, labels_of
from cascade_clip.batch.pipeline import Done, Pipeline, run_batch
from cascade_clip.batch.task import Background, Task
from cascade_clip.checkpoint.source import ModelSource
from cascade_clip.errors import UserError
from tests.batch.labelled import CLASSES

TRUTH = np.repeat(np.array([[0] * 32 + [1] * 31 + [255]], np.uint8), 64, axis=0)


@pytest.fixture
def corrected(pictures: list[Path], tmp_path: Path) -> Path:
    """The second picture, under another ending: half sky, half cat, and a column of nothing."""
    root = tmp_path / "corrected"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    shutil.copy(pictures[1], root / "images" / f"{pictures[1].stem.upper()}.JPEG")
    Image.fromarray(TRUTH).save(root / "masks" / f"{pictures[1].stem.upper()}.png")
    (root / "classes.txt").write_text("sky\ncat\n")
    return root


def test_corrected_pictures_keep_their_masks(
    pictures: list[Path], corrected: Path, tmp_path: Path
) -> None:
    task = Task(ModelSource(), CLASSES, Background(0.3), tmp_path / "out", ("masks",), min_area=1)
    corrections = find_corrections(corrected, pictures, CLASSES)
    assert [Path(source).name for source in corrections.masks] == [pictures[1].name]
    for _ in range(2):
        journal = labelling_journal(task)
        items = with_corrections(items_of(pictures[:2], None, journal.names()), corrections, task)
        outcomes = list(run_batch(Pipeline(task).run, journal, items, task.formats))
        assert all(isinstance(outcome, Done) for outcome in outcomes)
    labels = labels_of(journal)
    first, second = labels.entries
    assert first.confidence < 1.0 == second.confidence
    expected = np.select([TRUTH == 0, TRUTH == 1], [3, 0], 255)
    assert (np.asarray(Image.open(labels.mask(second.name))) == expected).all()
    WRITERS["coco"](labels, tmp_path / "coco", "copy")
    (segments,) = (s for entry, s in labels.with_segments() if entry == second)
    assert {segment.label: segment.area for segment in segments} == {3: 64 * 32, 0: 64 * 31}


def test_corrections_that_do_not_fit(pictures: list[Path], corrected: Path, tmp_path: Path) -> None:
    twice = [pictures[1], Path(shutil.copy(pictures[1], tmp_path))]
    with pytest.raises(UserError, match=r"may be .* or .*; label one of them"):
        find_corrections(corrected, twice, CLASSES)
    with pytest.raises(UserError, match="other classes than those asked for: 'sky' is none of"):
        find_corrections(corrected, pictures, CLASSES[:2])
    corrections = find_corrections(corrected, pictures, CLASSES)
    for mask in (corrected / "masks").iterdir():
        Image.fromarray(TRUTH[:9]).save(mask)
    task = Task(ModelSource(), CLASSES, Background(), tmp_path / "out", ("masks",), min_area=1)
    (outcome,) = with_corrections(items_of(pictures[1:2], None, {}), corrections, task)
    assert isinstance(outcome, Failure) and "is 64 x 9 pixels, its picture" in outcome.message
