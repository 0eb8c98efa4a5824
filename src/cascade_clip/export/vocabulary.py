"""The names that an exported file knows, where it knows no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cascade_clip.class_names import TypedClasses
from cascade_clip.config import Normalisation
from cascade_clip.errors import UserError
from cascade_clip.support.messages import some_of


@dataclass(frozen=True)
class FixedVocabulary:
    """In the place of a CLIP, of which it tells `name` and `fingerprint`: text embeddings are unit
    vectors (all names,), each pointing at the channel that the file gives a name."""

    name: str
    fingerprint: str | None
    normalisation: Normalisation
    """That of the file's pictures."""
    classes: TypedClasses
    """Those of the file; its channels are their names, in order."""
    templates: tuple[str, ...]
    """Those that the names were encoded in."""
    path: Path
    """The file, for messages."""

    def text_encoder(
        self, names: Sequence[str], templates: Sequence[str], *, average: bool = True
    ) -> Tensor:
        """(C, all names), whatever `average` is. Raises `UserError` for other names and
        templates."""
        channels = {name: channel for channel, name in enumerate(self.classes.names)}
        if tuple(templates) != self.templates or not channels.keys() >= set(names):
            raise UserError(
                f"{self.path} knows the classes {some_of(self.classes.names)} in the templates of "
                "its training, and no others; export the model without --classes for any names"
            )
        return torch.eye(len(channels))[[channels[name] for name in names]]
