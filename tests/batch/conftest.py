"""Four scenes and their labels, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_clip.batch.labels import Labels
from cascade_clip.picturebook.export import export_voc
from tests.batch.labelled import COUNT, labelled


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scenes")
    export_voc(folder, COUNT, seed=2, size=64)
    return sorted((folder / "JPEGImages").iterdir())


@pytest.fixture(scope="session")
def labels(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Labels:
    return labelled(pictures, tmp_path_factory.mktemp("labels"))
