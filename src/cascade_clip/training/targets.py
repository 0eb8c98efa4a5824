"""From ground truth to the labels that the loss sees, in the three settings of zero-shot training.

All functions are pure: labels in, new labels out. The fully supervised setting needs no more than
`data.labels.full_targets`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.ops.argmax import RunningArgmax
from cascade_clip.ops.bilinear import BilinearResize, maps_per_chunk
from cascade_clip.support.devices import without_autocast


def inductive_targets(labels: Tensor, seen: Tensor) -> Tensor:
    """Labels over the seen classes only; every other pixel is ignored.

    Args:
        labels: (B, H, W) integers over all classes, or UNLABELLED, or IGNORE.
        seen: (S,) indices of the seen classes, in the order of the loss's class maps.

    Returns:
        (B, H, W) int64 in 0..S-1, or IGNORE.
    """
    _check_classes(seen)
    labels, seen = labels.long(), seen.to(labels.device)
    ordered, position = seen.sort()
    place = torch.searchsorted(ordered, labels).clamp_(max=len(seen) - 1)
    return torch.where(ordered[place] == labels, position[place], IGNORE)


def transductive_targets(
    labels: Tensor, mask_logits: Tensor, seen: Tensor, unseen: Tensor, *, by_sigmoid: bool = False
) -> Tensor:
    """Labels over all classes, in which pixels of unknown class carry pseudo-labels.

    Self-training as ZegCLIP (arXiv 2212.03588) does it: a pixel whose ground truth is an unseen
    class (so where it lies is known, but not what it is) takes the unseen class with the highest
    current prediction. An UNLABELLED pixel does too, since a pixel of a seen class would have been
    labelled. Seen labels stay, and IGNORE stays.

    Args:
        labels: (B, H, W) integers over all classes, or UNLABELLED, or IGNORE.
        mask_logits: (B, C, h, w) of the current training-mode prediction over all classes; no
            gradient flows back through the pseudo-labels.
        seen: (S,) indices of the seen classes.
        unseen: (U,) indices of the unseen classes; S + U = C.
        by_sigmoid: compare float32 sigmoids instead of logits, as in the released code. They round
            differences between high logits away, and of equal ones the first class wins.

    Returns:
        (B, H, W) int64 in 0..C-1, or IGNORE.

    Raises:
        ValueError: if the classes of the logits are not the seen and unseen ones together.
    """
    _check_classes(torch.cat([seen, unseen]))
    if mask_logits.shape[1] != len(seen) + len(unseen):
        raise ValueError(
            f"mask_logits hold {mask_logits.shape[1]} classes, but there are {len(seen)} seen and "
            f"{len(unseen)} unseen ones; predict with the text embeddings of all classes"
        )
    unseen = unseen.to(labels.device).sort().values
    pseudo = torch.isin(labels, unseen) | (labels == UNLABELLED)  # (B, H, W)
    targets = labels.long().clone()
    for index in pseudo.flatten(1).any(dim=1).nonzero().flatten().tolist():
        logits = mask_logits[index].detach()[unseen]
        best = _upsampled_argmax(logits, _size(labels), by_sigmoid)  # (H, W)
        targets[index] = torch.where(pseudo[index], unseen[best], targets[index])
    return targets


def _upsampled_argmax(logits: Tensor, size: tuple[int, int], by_sigmoid: bool) -> Tensor:
    """Arg-max over K of logits (K, h, w) upsampled to `size`, a few maps at a time: (H, W)."""
    with without_autocast(logits.device):
        wider = torch.promote_types(logits.dtype, torch.float32)
        logits = logits.to(torch.float32 if by_sigmoid else wider)
        dtype, device = logits.dtype, logits.device
        grid = (logits.shape[1], logits.shape[2])
        resize = BilinearResize.between(grid, size, dtype=dtype, device=device)
        best = RunningArgmax(size, dtype=dtype, device=device)
        length = maps_per_chunk(size[0] * size[1], device)
        for first in range(0, len(logits), length):
            maps = logits[first : first + length]
            if by_sigmoid:
                # PyTorch's own resizing: where rounding decides, it has to be the same one.
                maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
                best.update(maps.sigmoid(), first)
            else:
                best.update(resize(maps), first)
        return best.labels


def _size(labels: Tensor) -> tuple[int, int]:
    return labels.shape[-2], labels.shape[-1]


def _check_classes(classes: Tensor) -> None:
    if len(classes) == 0 or len(classes) > UNLABELLED:
        raise ValueError(
            f"training needs 1 to {UNLABELLED} classes ({UNLABELLED} means unlabelled and "
            f"{IGNORE} ignore), got {len(classes)}"
        )
