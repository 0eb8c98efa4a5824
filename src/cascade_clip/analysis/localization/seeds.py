"""Ground-truth objects, and the patch in each from which its similarity map is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.data.labels import IGNORE, UNLABELLED

SMALLEST, LARGEST = 0.01, 0.8
"""Share of the labelled pixels that an object fills, at least and at most: below, its outline is
finer than the patch grid; above, everything is nearly right."""


@dataclass(frozen=True)
class Objects:
    """All pixels of one class in one picture are one object; there are O of them in a batch."""

    picture: Tensor
    """(O,) place of the picture in the batch."""
    label: Tensor
    """(O,) class index."""
    masks: Tensor
    """(O, S, S) bool: the object's pixels."""
    counted: Tensor
    """(O, S, S) bool: labelled pixels of the object's picture."""

    def __len__(self) -> int:
        return len(self.label)


def find_objects(labels: Tensor) -> Objects:
    """The objects in labels (B, S, S), of a size that can be judged."""
    counted = (labels != IGNORE) & (labels != UNLABELLED)  # (B, S, S)
    pictures, classes = [], []
    for index, picture in enumerate(labels):
        present, pixels = picture[counted[index]].unique(return_counts=True)
        share = pixels / pixels.sum().clamp(min=1)
        fits = present[(share >= SMALLEST) & (share <= LARGEST)].tolist()
        pictures += [index] * len(fits)
        classes += fits
    picture = torch.tensor(pictures, dtype=torch.int64)
    label = torch.tensor(classes, dtype=torch.int64)
    masks = labels[picture] == label[:, None, None]
    return Objects(picture, label, masks, counted[picture])


def choose_seeds(masks: Tensor, patch: int) -> Tensor:
    """The patch deepest inside each mask (O, S, S): (O,) index in the row-major patch grid.

    Deepest is the patch farthest from patches that the mask doesn't fill (the picture's border
    counts as such); of equals the one filled most, then the one nearest to the mask's centre, then
    the first. So it depends on the truth alone.
    """
    filled = F.avg_pool2d(masks[:, None].float(), patch)[:, 0]  # (O, h, w), share of each patch
    depth = torch.zeros_like(filled)
    inside = (filled == 1).float()
    while bool(inside.any()):
        depth += inside
        padded = F.pad(inside[:, None], (1, 1, 1, 1))
        inside = -F.max_pool2d(-padded, 3, stride=1)[:, 0]  # shrinks by one patch on each side
    distance = _squared_distance_from_centre(filled)
    rank = 2 * depth + filled  # whole numbers of depth first
    best = rank == rank.amax(dim=(1, 2), keepdim=True)
    return distance.masked_fill(~best, torch.inf).flatten(1).argmin(dim=1)


def _squared_distance_from_centre(filled: Tensor) -> Tensor:
    """Squared distance (O, h, w), in patches, of each patch from the mask's centre of mass."""
    rows = torch.arange(filled.shape[1], dtype=filled.dtype)[:, None]
    columns = torch.arange(filled.shape[2], dtype=filled.dtype)
    mass = filled.sum(dim=(1, 2)).clamp(min=1e-12)
    row = ((filled * rows).sum(dim=(1, 2)) / mass)[:, None, None]
    column = ((filled * columns).sum(dim=(1, 2)) / mass)[:, None, None]
    return (rows - row) ** 2 + (columns - column) ** 2
