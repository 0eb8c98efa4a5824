"""What a released method has to say about its checkpoints.

Each method is a module here with a `Family` of its own; `load.py` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.config import Config, text_file
from cascade_clip.checkpoint.released.names import (
    DEEP_PROMPTS,
    FIRST_PROMPTS,
    PROMPTS,
    both,
    count,
    refuse,
    shape,
    text_renames,
    visual_renames,
)
from cascade_clip.config import EncoderSettings, Templates
from cascade_clip.config.heads import BaseHeadSettings
from cascade_clip.errors import UserError

State = Mapping[str, Tensor]


class Origin(NamedTuple):
    """Name of a method, and where it is described."""

    method: str
    paper: str


@dataclass(frozen=True)
class Family(ABC):
    """A released method at the sizes of one checkpoint."""

    depth: int
    """Blocks of the image encoder."""
    embed_dim: int
    """Width of the joint embedding space."""
    text_depth: int
    """Blocks of the text encoder."""

    prefixes: ClassVar[tuple[str, ...]] = ("backbone.", "decode_head.")
    """With which names of weights begin, besides the text encoder's."""
    prompts: ClassVar[tuple[str, ...]] = (FIRST_PROMPTS, DEEP_PROMPTS)
    """Released names of the prompt tokens, block after block; one tensor here."""

    @property
    @abstractmethod
    def origin(self) -> Origin:
        """Whose checkpoints they are."""

    @classmethod
    @abstractmethod
    def recognises(cls, state: State, config: Config) -> bool:
        """Whether a checkpoint is of this family."""

    @classmethod
    @abstractmethod
    def of(cls, state: State, config: Config) -> Self:
        """The family at a checkpoint's sizes. Raises `UserError` if weights are missing."""

    def renames(self) -> dict[str, str]:
        """Released name -> ours, for all live weights of the network but the prompt tokens."""
        return {
            **visual_renames(self.depth),
            **both("backbone.prompt_proj", "encoder.prompts.projection"),
            **both("backbone.prompt_norm", "encoder.prompt_norm"),
            **self.own_renames(),
        }

    @abstractmethod
    def own_renames(self) -> dict[str, str]:
        """Those of the head, and of what the method adds to the encoder."""

    @abstractmethod
    def dead_weights(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the released weights that never reach an output or a loss."""

    def encoder(self, state: State, stored_grid: int) -> EncoderSettings:
        """Settings of the encoder; positions are stored for `stored_grid` x `stored_grid`."""
        return EncoderSettings(
            prompts=self.prompts_per_block(state),
            class_embedding_twice=True,
            stored_grid=stored_grid,
        )

    @abstractmethod
    def head(self, state: State, config: Config, overrides: Overrides) -> BaseHeadSettings:
        """Settings of the head."""

    def templates(self, config: Config) -> Templates:
        """Prompt templates of the class names: here by the file of text embeddings,
        `..._single.npy` or `..._multi.npy`; without one, a single template."""
        return "many" if text_file(config).endswith("multi") else "single"

    def recipe(self, config: Config) -> dict[str, Any]:
        """Other settings, over those that all families share."""
        return {}

    def to_native(self, released: State) -> dict[str, Tensor]:
        """A released state dict to that of our `SegmentationNetwork`.

        Raises `UserError` that names weights that are missing, or neither mapped nor known dead.
        """
        live, prompts = self.renames(), set(self.prompts)
        known = live.keys() | self.dead_weights().keys() | text_renames(self.text_depth).keys()
        refuse("unknown weights", released.keys() - known - prompts)
        refuse("missing weights", (live.keys() | prompts) - released.keys())
        native = {ours: released[theirs] for theirs, ours in live.items()}
        native[PROMPTS] = torch.cat([released[name] for name in self.prompts])
        return native

    def to_native_text(self, released: State) -> dict[str, Tensor]:
        """The text encoder's part of a released state dict, under open_clip's names.

        Raises `UserError` that names missing weights.
        """
        names = text_renames(self.text_depth)
        refuse("missing weights of the text encoder", names.keys() - released.keys())
        return {ours: released[theirs] for theirs, ours in names.items()}

    def to_released(self, native: State) -> dict[str, Tensor]:
        """Our network's tensors under the released names: live weights only.

        Takes any part of a state dict, for instance a dict of gradients. Raises `UserError` for
        names that the released code has no place for.
        """
        names = {ours: theirs for theirs, ours in self.renames().items()}
        refuse("weights unknown to the released code", native.keys() - names.keys() - {PROMPTS})
        released = {names[ours]: value for ours, value in native.items() if ours != PROMPTS}
        if PROMPTS in native:
            first = len(self.prompts) - 1  # blocks whose prompts have a name of their own
            parts = native[PROMPTS].split([1] * first + [len(native[PROMPTS]) - first])
            released |= dict(zip(self.prompts, parts, strict=True))
        return released

    def prompts_per_block(self, state: State) -> int:
        """How many prompt tokens a block has. Raises `UserError` unless all have equally many."""
        shapes = [shape(state, name, 3) for name in self.prompts]
        width = shape(state, "backbone.proj", 2)[0]
        number = shapes[0][1]
        if (
            sum(one[0] for one in shapes) != self.depth
            or not number
            or any(one[1:] != (number, width) for one in shapes)
        ):
            raise UserError(
                f"the checkpoint has prompts of shapes {', '.join(map(str, shapes))} for "
                f"{self.depth} blocks; only deep prompts, equally many in all blocks, can be read"
            )
        return number


def shared_sizes(state: State) -> dict[str, int]:
    """The fields of every `Family`. Raises `UserError` for a checkpoint without blocks."""
    blocks = "transformer.resblocks."
    sizes = {
        "depth": count(state, f"backbone.{blocks}"),
        "embed_dim": shape(state, "backbone.proj", 2)[1],
        "text_depth": count(state, f"text_encoder.{blocks}"),
    }
    if not sizes["depth"]:
        raise UserError("the checkpoint has no transformer blocks: it is none of this family")
    return sizes
