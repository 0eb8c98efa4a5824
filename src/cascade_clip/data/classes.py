"""Class names and which of them are unseen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_clip.class_names import check_characters, find_repeated, is_blank
from cascade_clip.errors import UserError


@dataclass(frozen=True)
class ClassSet:
    """All classes of a data set, in label order, and the names withheld from training.

    Raises `UserError` if a name is empty, very long, repeated (apart from case and spaces) or holds
    characters that can't be seen, or if an unseen name is not among `names`. Only names of
    `vocabulary` may be those of several classes, as in published lists.
    """

    names: tuple[str, ...]
    unseen: tuple[str, ...] = ()
    in_prompts: tuple[str, ...] = ()
    """What prompts say for each class; empty: its name."""
    vocabulary: tuple[tuple[str, ...], ...] = ()
    """The names that methods without training ask for, one or more a class; empty: what prompts
    say."""
    background: bool = False
    """Whether class 0 is all that belongs to no other class."""

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("a data set needs at least one class name, got none")
        if len(self.prompts) != len(self.names):
            raise UserError(f"{len(self.prompts)} prompt names for {len(self.names)} classes")
        if any(map(is_blank, (*self.names, *self.prompts))):
            raise UserError(f"class names must not be empty, got {list(self.names)}")
        if len(self.groups) != len(self.names) or not all(self.groups):
            raise UserError(
                f"the vocabulary must hold a name or more for each of {len(self.names)} classes"
            )
        asked = tuple(name for group in self.groups for name in group)
        if any(map(is_blank, asked)):
            raise UserError("names of the vocabulary must not be empty")
        check_characters((*self.names, *self.prompts, *asked))
        _check_apart("class names", self.names)
        _check_apart("names in prompts", self.prompts)
        _check_apart("unseen names", self.unseen)
        for group in self.groups:
            _check_apart("names of one class", group)
        missing = [name for name in self.unseen if name not in self.names]
        if missing:
            raise UserError(
                f"unseen {', '.join(missing)}: not among the classes {', '.join(self.names)}"
            )

    @property
    def prompts(self) -> tuple[str, ...]:
        """What prompts say for each class, in label order."""
        return self.in_prompts or self.names

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """For each class, in label order, the names that methods without training ask for."""
        return self.vocabulary or tuple((name,) for name in self.prompts)

    @property
    def class_of_name(self) -> tuple[int, ...]:
        """For each of the K names of `groups`, class by class, the label of its class."""
        return tuple(index for index, group in enumerate(self.groups) for _ in group)

    @property
    def trained_names(self) -> tuple[str, ...]:
        """The seen classes' names, and what prompts said for them."""
        said = (self.prompts[index] for index in self.seen_indices)
        return tuple(dict.fromkeys((*self.seen, *said)))

    @property
    def seen(self) -> tuple[str, ...]:
        """Names with masks in training, in label order."""
        return tuple(name for name in self.names if name not in self.unseen)

    @property
    def seen_indices(self) -> tuple[int, ...]:
        """Labels of the seen classes, ascending."""
        return tuple(i for i, name in enumerate(self.names) if name not in self.unseen)

    def score_offsets(self, seen_score_offset: float) -> Tensor:
        """(C,), what inference adds to the scores: `seen_score_offset` less for seen classes."""
        offsets = torch.zeros(len(self.names))
        offsets[list(self.seen_indices)] = -seen_score_offset
        return offsets

    @property
    def unseen_indices(self) -> tuple[int, ...]:
        """Labels of the unseen classes, ascending."""
        return tuple(i for i, name in enumerate(self.names) if name in self.unseen)


def _check_apart(what: str, names: tuple[str, ...]) -> None:
    """Training on a seen name would train an unseen one that has the same text embedding."""
    if repeated := find_repeated(names):
        raise UserError(f"{what} must not repeat, got '{repeated[0]}' and '{repeated[1]}'")
