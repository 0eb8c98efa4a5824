"""Results of an evaluation as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.io.files import write_text
from cascade_clip.model.fast.precision import Precision


def write_metrics(
    path: Path,
    rows: Mapping[str, Metrics],
    recipe: Recipe,
    part: str,
    classes: ClassSet,
    precision: Precision = "fp32",
) -> Path:
    """Writes the metrics of several methods, on which data and classes and with what settings of
    inference; undefined values become null.

    Raises `UserError` if the file can't be written.
    """
    content = {
        "data": recipe.data.model_dump(mode="json"),
        "part": part,
        "seen": classes.seen,
        "unseen": classes.unseen,
        "inference": recipe.inference.model_dump(mode="json"),
        "precision": precision,
        "metrics": {name: _plain(metrics.to_dict()) for name, metrics in rows.items()},
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return write_text(path, text)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
