"""The networks that an analysis looks at: a trained model, and what it is held against."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config import DataSettings, Normalisation, Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.model.encoder import ImageEncoder
from cascade_clip.model.fast.precision import Precision, at_precision, choose_precision
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.support.devices import choose_device

RAW_CLIP = "raw-clip"
"""What is typed for the CLIP of the model without any training."""
RAW_NAME = "raw CLIP"


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode."""

    name: str
    network: SegmentationNetwork | RawClip
    recipe: Recipe
    """Its data settings are those of the analysis, but for `normalise` and `average_templates`."""
    clip: FrozenClip
    templates: tuple[str, ...]

    @property
    def encoder(self) -> ImageEncoder:
        """The image encoder below the network."""
        return self.network.encoder

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def normalisation(self) -> Normalisation:
        """That of its pictures."""
        return self.recipe.data.normalisation(self.clip.normalisation)

    def text(self, classes: ClassSet) -> Tensor:
        """Text embeddings of the classes as the network takes them, (C, d) or (C, K, d), on its
        device."""
        average = self.recipe.data.average_templates
        text = self.clip.text_encoder(classes.prompts, self.templates, average=average)
        return text.to(self.device)

    def tokens(self, images: Tensor, classes: ClassSet) -> Iterator[tuple[int, Tensor]]:
        """(number, tokens (B, 1 + N, D)) of each block, for normalised images (B, 3, H, W). They
        depend on the classes that are asked for if the encoder has relationship prompts.

        Raises `UserError` as soon as a block's tokens are not finite.
        """
        encoder = self.encoder
        text = None if encoder.relationship_prompts is None else self.text(classes)
        embedded, grid = encoder.embed(images.to(self.device))
        for number, tokens in enumerate(encoder.run_blocks(embedded, grid, text), start=1):
            if not bool(torch.isfinite(tokens).all()):
                raise UserError(
                    f"{self.name}: the tokens of block {number} hold values that are not finite; "
                    "the weights are damaged or the training diverged, use another checkpoint"
                )
            yield number, tokens[:, : embedded.shape[1]]  # regions left out

    def projected(self, block: int, tokens: Tensor) -> Tensor | None:
        """The block's patches (B, N, d) in the joint embedding space, unit vectors; None for a
        block that has no projection there."""
        encoder = self.encoder
        if block == encoder.depth:
            return encoder.project(tokens[:, 1:])
        if block not in encoder.inner_blocks:
            return None
        level = encoder.inner_blocks.index(block)
        return encoder.project_level(level, encoder.prompt_norm(tokens[:, 1:]))


def open_subjects(
    bundle: Bundle, data: DataSettings, against: str | None, run: RunOptions | None = None
) -> list[Subject]:
    """The model and what it is held against (`raw-clip`, a run or model folder, or None); the
    second with its own normalisation of pictures. In lower precision, trained models are copies;
    raw CLIP stays in fp32.

    Raises `UserError` if `against` can't be loaded, and for a device or precision that is not to be
    had.
    """
    run = run or RunOptions()
    device = choose_device(run.device)
    precision = choose_precision(run.precision, device)
    subjects = [_subject(bundle, data)]
    if against == RAW_CLIP:
        own = load_clip(bundle.recipe.model.clip)  # a copy: the model may have tuned its own
        recipe = _on(raw_clip_recipe(bundle.recipe), data)
        raw = RawClip(own.visual)
        subjects.append(Subject(RAW_NAME, raw, recipe, bundle.clip, bundle.templates))
    elif against is not None:
        other = _subject(load_bundle(against), data)
        same = other.name == subjects[0].name
        name = f"{other.name} ({Path(against).name})" if same else other.name
        subjects.append(Subject(name, other.network, other.recipe, other.clip, other.templates))
    return [_at(subject, device, precision) for subject in subjects]


def clip_subject(clip: FrozenClip, recipe: Recipe, run: RunOptions) -> Subject:
    """A CLIP without any training, in fp32, as `recipe` prepares pictures and names."""
    network = RawClip(clip.visual).to(choose_device(run.device)).eval()
    return Subject(RAW_NAME, network, recipe, clip, TEMPLATES[recipe.data.templates])


def _at(subject: Subject, device: torch.device, precision: Precision) -> Subject:
    network = subject.network.to(device).eval()
    if isinstance(network, SegmentationNetwork):
        network = at_precision(network, precision)
    return replace(subject, network=network)


def parse_blocks(text: str | None, depth: int) -> tuple[int, ...]:
    """Block numbers (1-based, ascending) from `6-9,12`; all `depth` blocks for None.

    Raises `UserError` for other text and for blocks that don't exist.
    """
    if text is None:
        return tuple(range(1, depth + 1))
    blocks: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UserError(f"blocks are numbers with commas and ranges, e.g. 6-9,12; got '{text}'")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise UserError(f"blocks '{part.strip()}': a range goes from the smaller to the larger")
        blocks.update({first, last} if last > depth else range(first, last + 1))
    missing = sorted(block for block in blocks if not 1 <= block <= depth)
    if missing:
        raise UserError(
            f"block {', '.join(map(str, missing))} doesn't exist; the image encoder has blocks 1 "
            f"to {depth}"
        )
    return tuple(sorted(blocks))


def common_blocks(subjects: Sequence[Subject], text: str | None) -> tuple[int, ...]:
    """The blocks that `text` names, in every one of the subjects. Raises `UserError`."""
    return parse_blocks(text, min(subject.encoder.depth for subject in subjects))


def _subject(bundle: Bundle, data: DataSettings) -> Subject:
    recipe = _on(bundle.recipe, data)
    return Subject(recipe.name, bundle.network, recipe, bundle.clip, bundle.templates)


def _on(recipe: Recipe, data: DataSettings) -> Recipe:
    """`recipe` on other data, whose pictures and names become the network's input as before."""
    kept = {key: getattr(recipe.data, key) for key in ("normalise", "average_templates")}
    own = data.model_copy(update=kept)
    return recipe.model_copy(update={"data": own})
