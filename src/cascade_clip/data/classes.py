"""Class names and which of them are unseen."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_clip.errors import UserError


@dataclass(frozen=True)
class ClassSet:
    """All classes of a data set, in label order, and the names withheld from training.

    Raises `UserError` if a name is empty or repeated, or if an unseen name is not among `names`.
    """

    names: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("a data set needs at least one class name, got none")
        if any(not name.strip() for name in self.names):
            raise UserError(f"class names must not be empty, got {list(self.names)}")
        for what, names in (("class names", self.names), ("unseen names", self.unseen)):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise UserError(f"{what} must not repeat, got {', '.join(repeated)} more than once")
        missing = [name for name in self.unseen if name not in self.names]
        if missing:
            raise UserError(
                f"unseen {', '.join(missing)}: not among the classes {', '.join(self.names)}"
            )
        if len(self.unseen) == len(self.names):
            raise UserError("every class is unseen; leave at least one class to train on")

    @property
    def seen(self) -> tuple[str, ...]:
        """Names with masks in training, in label order."""
        return tuple(name for name in self.names if name not in self.unseen)

    @property
    def seen_indices(self) -> tuple[int, ...]:
        """Labels of the seen classes, ascending."""
        return tuple(i for i, name in enumerate(self.names) if name not in self.unseen)

    @property
    def unseen_indices(self) -> tuple[int, ...]:
        """Labels of the unseen classes, ascending."""
        return tuple(i for i, name in enumerate(self.names) if name in self.unseen)
