"""What papers report for the recipes of the package."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from cascade_clip.config.base import Settings
from cascade_clip.config.components import RECIPE_FOLDER
from cascade_clip.support.plain_values import read_yaml

Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class Published(Settings):
    """mIoU over a data set's validation pictures: over seen and unseen classes, or over all."""

    seen: Percent | None = None
    """Over the seen classes."""
    unseen: Percent | None = None
    """Over the unseen classes."""
    miou: Percent | None = None
    """Over all classes, for methods without training."""
    source: str
    """Who reports it."""

    @model_validator(mode="after")
    def _check(self) -> Published:
        given = [value is not None for value in (self.seen, self.unseen, self.miou)]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError("give seen and unseen, or miou alone")
        return self

    @property
    def hiou(self) -> float | None:
        """Harmonic mean of `seen` and `unseen`, if they are given."""
        if self.seen is None or self.unseen is None:
            return None
        total = self.seen + self.unseen
        return 2 * self.seen * self.unseen / total if total else 0.0


def published_results() -> dict[str, Published]:
    """By the names of recipes."""
    table = read_yaml(RECIPE_FOLDER / "published.yaml")
    return {name: Published.model_validate(figures) for name, figures in table.items()}
