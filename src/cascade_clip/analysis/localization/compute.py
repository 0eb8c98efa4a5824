"""How well the patches of each block separate an object from its surroundings.

The paper (Cascade-CLIP, arXiv 2406.00670, Figs. 1 and 6) shows maps of the cosine similarity
between one patch and all others, block by block. Here such maps are measured against the truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.analysis.bootstrap import interval, resampled_means
from cascade_clip.analysis.localization.seeds import Objects, choose_seeds, find_objects
from cascade_clip.analysis.localization.similarity import score_maps
from cascade_clip.analysis.subjects import Subject
from cascade_clip.analysis.windows import (
    central_window,
    network_input,
    patch_side,
    window_batches,
    window_side,
)
from cascade_clip.clip.text import mean_prompt
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.samples import Sample, SegmentationDataset, collate
from cascade_clip.errors import UserError
from cascade_clip.io.images import RGBArray

Probe = Literal["seed patch", "seed patch, projected", "class name"]
"""What patches are compared with: a patch inside the object, by their tokens or by their
projections to the joint embedding space; or the text embedding of the object's class there."""

BATCH = 8
SHOWN_SHARE = 0.12
"""Share of the picture that an object should fill to be shown."""


@dataclass(frozen=True)
class Curve:
    """One subject's maps for one kind of query."""

    subject: str
    query: Probe
    blocks: tuple[int, ...]
    scores: Tensor
    """(blocks, O, 3): average precision, best IoU and boundary F (`similarity.MapScores`)."""

    def means(self) -> Tensor:
        """(blocks, 3): means over objects."""
        return self.scores.mean(dim=1)

    def intervals(self, pictures: Tensor) -> Tensor:
        """(2, blocks, 3): 95 % interval of the means; `pictures` (O,) says where objects lie."""
        return interval(resampled_means(self.scores.transpose(0, 1), pictures))

    def difference(self, first: int, second: int, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """By how much block `first` lies above block `second`, pair by pair: the mean (3,) and its
        95 % interval (2, 3)."""
        places = self.blocks.index(first), self.blocks.index(second)
        gap = self.scores[places[0]] - self.scores[places[1]]  # (O, 3)
        return gap.mean(dim=0), interval(resampled_means(gap, pictures))


@dataclass(frozen=True)
class Localization:
    """Scores of O objects, in the same order everywhere."""

    curves: tuple[Curve, ...]
    pictures: Tensor
    """(O,) index of each object's picture in the data set."""
    labels: Tensor
    """(O,) class index."""
    shares: Tensor
    """(O,) share of the window's labelled pixels: the average precision of a map by chance."""
    classes: ClassSet


@dataclass(frozen=True)
class MapExample:
    """Similarity maps of one chosen patch."""

    name: str
    image: RGBArray
    """(S, S, 3), the window."""
    mask: Tensor
    """(S, S) bool: the object."""
    seed: tuple[float, float]
    """(x, y) of the patch's middle, in pixels."""
    maps: dict[str, dict[int, Tensor]]
    """(h, w) cosine similarities by subject and block."""


def localize(
    subjects: Sequence[Subject],
    dataset: SegmentationDataset,
    blocks: Sequence[int],
    advance: Callable[[int], None] = lambda pictures: None,
) -> Localization:
    """Scores of the similarity maps of all chosen blocks, for every object in every picture.

    Pictures are seen through one window each (`windows.py`), at whose resolution maps are judged.

    Raises `UserError` if no picture holds an object of a size that can be judged.
    """
    settings = subjects[0].recipe.inference
    side = window_side(settings, map(patch_side, subjects))
    order = range(len(dataset))
    parts = [order[first : first + BATCH] for first in order[::BATCH]]
    found: dict[tuple[str, Probe, int], list[Tensor]] = defaultdict(list)
    pictures, labels, shares = [], [], []
    batches = window_batches(dataset, parts, settings.short_side, side)
    for part, batch in zip(parts, batches, strict=True):
        objects = find_objects(batch.labels)
        if len(objects):
            pictures.append(torch.tensor(part)[objects.picture])
            labels.append(objects.label)
            shares.append(_share(objects))
            for subject in subjects:
                for query, block, maps in _maps(
                    subject, batch.images, objects, dataset.classes, blocks
                ):
                    masks, counted = (t.to(maps.device) for t in (objects.masks, objects.counted))
                    scores = torch.stack(score_maps(maps, masks, counted), dim=1)  # (O, 3)
                    found[subject.name, query, block].append(scores.cpu())
        advance(len(batch.images))
    if not pictures:
        raise UserError(
            "no picture holds a class that fills between 1 % and 80 % of its labelled pixels; "
            "localization needs masks with objects, give other data or more pictures"
        )
    return Localization(
        tuple(_curves(found)),
        torch.cat(pictures),
        torch.cat(labels),
        torch.cat(shares),
        dataset.classes,
    )


def map_examples(
    subjects: Sequence[Subject],
    samples: Sequence[Sample],
    classes: ClassSet,
    blocks: Sequence[int],
) -> list[MapExample]:
    """Maps of one object in each of some pictures: of a class not shown before, if there is one,
    and of a size that is seen well. Pictures without an object are left out."""
    settings = subjects[0].recipe.inference
    side = window_side(settings, map(patch_side, subjects))
    patch = patch_side(subjects[0])
    shown: set[int] = set()
    examples = []
    for sample in samples:
        batch = collate([central_window(sample, settings.short_side, side)])
        objects = find_objects(batch.labels)
        if not len(objects):
            continue
        chosen = _of_good_size(objects, shown)
        shown.add(int(chosen.label))
        maps: dict[str, dict[int, Tensor]] = {}
        for subject in subjects:
            found = _maps(subject, batch.images, chosen, classes, blocks)
            maps[subject.name] = {
                block: each[0].cpu() for query, block, each in found if query == "seed patch"
            }
        row, column = divmod(int(choose_seeds(chosen.masks, patch)), side // patch)
        examples.append(
            MapExample(
                name=classes.names[int(chosen.label)],
                image=batch.images[0].permute(1, 2, 0).numpy(),
                mask=chosen.masks[0],
                seed=((column + 0.5) * patch, (row + 0.5) * patch),
                maps=maps,
            )
        )
    return examples


@torch.inference_mode()
def _maps(
    subject: Subject, images: Tensor, objects: Objects, classes: ClassSet, blocks: Sequence[int]
) -> Iterator[tuple[Probe, int, Tensor]]:
    """(query, block, cosine similarities (O, h, w)) of the objects, block by block."""
    device = subject.device
    seeds = choose_seeds(objects.masks, patch_side(subject)).to(device)
    picture = objects.picture.to(device)
    text = mean_prompt(subject.text(classes))[objects.label.to(device)]  # (O, d)
    side = images.shape[-1] // patch_side(subject)
    for block, tokens in subject.tokens(network_input(images, subject), classes):
        if block not in blocks:
            continue
        patches = F.normalize(tokens[:, 1:], dim=-1)  # (B, N, D)
        yield "seed patch", block, _cosines(patches, picture, patches[picture, seeds], side)
        projected = subject.projected(block, tokens)  # (B, N, d)
        if projected is not None:
            own = projected[picture, seeds]  # (O, d)
            yield "seed patch, projected", block, _cosines(projected, picture, own, side)
            yield "class name", block, _cosines(projected, picture, text, side)


def _cosines(patches: Tensor, picture: Tensor, queries: Tensor, side: int) -> Tensor:
    """Unit patches (B, N, D) of each object's picture against its query (O, D): (O, h, w)."""
    similarity = torch.einsum("bnd,od->bon", patches, queries)  # (B, O, N)
    own = similarity[picture, torch.arange(len(picture), device=picture.device)]  # (O, N)
    return own.unflatten(1, (side, side))


def _curves(found: dict[tuple[str, Probe, int], list[Tensor]]) -> Iterator[Curve]:
    grouped: dict[tuple[str, Probe], dict[int, Tensor]] = defaultdict(dict)
    for (subject, query, block), parts in found.items():
        grouped[subject, query][block] = torch.cat(parts)  # (O, 3)
    for (subject, query), by_block in grouped.items():
        blocks = tuple(sorted(by_block))
        yield Curve(subject, query, blocks, torch.stack([by_block[block] for block in blocks]))


def _share(objects: Objects) -> Tensor:
    pixels = objects.masks.flatten(1).sum(dim=1)
    return pixels / objects.counted.flatten(1).sum(dim=1)


def _of_good_size(objects: Objects, shown: set[int]) -> Objects:
    """One of the objects of a single picture."""
    off = (_share(objects) - SHOWN_SHARE).abs().tolist()
    ranked = sorted(range(len(objects)), key=lambda k: (int(objects.label[k]) in shown, off[k]))
    best = ranked[:1]
    return Objects(
        objects.picture[best], objects.label[best], objects.masks[best], objects.counted[best]
    )
