"""Sliding-window inference: windows in, scores or labels at any output size out.

The network sees windows; everything after it works on low-resolution mask logits, a few classes at
a time: upsample, sigmoid, average over windows, resize, and for labels a running arg-max. So memory
beyond those logits does not grow with the number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, Required, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.config import InferenceSettings
from cascade_clip.errors import UserError
from cascade_clip.inference.scores import WindowLogits
from cascade_clip.inference.windows import Size, Windows, windows
from cascade_clip.model.protocol import MaskNetwork

Remainder = Literal["pad", "cut", "squeeze"]


class WindowOptions(TypedDict, total=False):
    """Where the windows of a picture lie."""

    crop: Required[int]
    """Side of the windows in pixels."""
    stride: Required[int]
    """Step between windows in pixels, at most `crop`."""
    shifts: int
    """How many times each window is repeated along each side, moved by equal parts of a patch;
    default 1: not at all. The average of shifted windows has finer edges than the patch grid."""


class ScoreOptions(TypedDict, total=False):
    """What becomes of the windows' logits."""

    logit_scale: float | None
    """Factor on the logits before a softmax over the classes, which training-free methods take once
    logits have been averaged over windows and brought to `output_size`. None, the default: scores
    are sigmoids of the logits, averaged over windows."""
    refine: bool
    """Refines logits by PAMR (arXiv 2005.08104) before that softmax; default False."""
    remainder: Remainder
    """What becomes of windows whose sides are no multiples of the patch: `pad`, the default,
    repeats the border; with `cut` the last pixels are not seen, with `squeeze` zeros are added, and
    in both the patch grid is taken to cover the window (as in SCLIP's and MaskCLIP's code)."""
    output_size: Required[Size]
    """(H0, W0) of the result, as a rule the size of the original picture."""
    offsets: Tensor | None
    """(C,), added to the scores of the classes; None, the default: nothing. The released code adds
    -0.1 to those of seen classes in the inductive setting."""
    logit_size: Size | None
    """Size to which logits are upsampled before the sigmoid; the scores are then resized to the
    window. The released code does so with its training size. None, the default: the window's size,
    which is the same for windows of the training size."""
    window_batch: int
    """How many windows go through the network at once; default 8."""


class SlidingOptions(WindowOptions, ScoreOptions):
    """The settings of `sliding_scores` and `sliding_labels`."""


def window_options(inference: InferenceSettings) -> WindowOptions:
    """Those of a recipe."""
    return {"crop": inference.crop, "stride": inference.stride, "shifts": inference.shifts}


def sliding_scores(
    network: MaskNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> Tensor:
    """Scores of all classes at `output_size`.

    Args:
        network: in evaluation mode; image and text embeddings are on its device.
        image: (B, 3, H, W), normalised, of any size.
        text_embeddings: (C, d) or, of K prompts a class, (C, K, d), L2-normalised.
        options: see `SlidingOptions`.

    Returns:
        (B, C, H0, W0) float32 (float64 for a network in float64): scores in [0, 1] plus the
        offsets.

    Raises `UserError` for wrong shapes and sizes.
    """
    pictures = sliding_score_chunks(network, image, text_embeddings, **options)
    scores = [torch.cat([chunk for _, chunk in chunks]) for chunks in pictures]
    return torch.stack(scores)  # (B, C, H0, W0)


def sliding_score_chunks(
    network: MaskNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> Iterator[Iterator[tuple[int, Tensor]]]:
    """`sliding_scores` picture by picture, and of each picture a few classes at a time, so that the
    scores of all classes are never held: (first class, scores (k, H0, W0))."""
    predicted = _predict(network, image, text_embeddings, **options)
    return (predicted.scores(index) for index in range(len(image)))


def sliding_labels(
    network: MaskNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> Tensor:
    """The arg-max over classes of `sliding_scores`, without holding the scores of all classes.

    Arguments as in `sliding_scores`. Of equal scores the first class wins.

    Returns:
        (B, H0, W0) int64 in 0..C-1.
    """
    return sliding_best(network, image, text_embeddings, **options)[0]


def sliding_best(
    network: MaskNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> tuple[Tensor, Tensor]:
    """`sliding_labels` and the scores of these labels, both (B, H0, W0)."""
    predicted = _predict(network, image, text_embeddings, **options)
    results = [predicted.best(index) for index in range(len(image))]
    labels = torch.stack([best.labels for best in results])  # (B, H0, W0)
    return labels, torch.stack([best.scores for best in results])


def _predict(
    network: MaskNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    *,
    crop: int,
    stride: int,
    shifts: int = 1,
    **options: Unpack[ScoreOptions],
) -> WindowLogits:
    _check(image, text_embeddings, options["output_size"])
    picture = (image.shape[2], image.shape[3])
    places = windows(picture, crop, stride, shifts, network.patch_size)
    return predict_windows(network, image, text_embeddings, places, **options)


@torch.no_grad()
def predict_windows(
    network: MaskNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    places: Windows,
    *,
    output_size: Size,
    offsets: Tensor | None = None,
    logit_scale: float | None = None,
    refine: bool = False,
    remainder: Remainder = "pad",
    logit_size: Size | None = None,
    window_batch: int = 8,
) -> WindowLogits:
    """The network's mask logits in all windows of the pictures (B, 3, H, W); see `sliding_scores`,
    which chooses the windows itself."""
    height, width = places.size
    fit, covered = _fit_to_patches(places.size, network.patch_size, remainder)
    per_pass = max(1, window_batch // len(image))
    passes = []
    for first in range(0, len(places.origins), per_pass):
        crops = torch.cat(
            [
                image[:, :, top : top + height, left : left + width]
                for top, left in places.origins[first : first + per_pass]
            ]
        )  # (windows of this pass * B, 3, height, width)
        part = network(fit(crops), text_embeddings).mask_logits
        passes.append(part.unflatten(0, (-1, len(image))))  # (windows of this pass, B, C, h, w)
    logits = torch.cat(passes)
    return WindowLogits(
        logits=logits,
        windows=places,
        picture=(image.shape[2], image.shape[3]),
        padded=covered,
        logit_size=logit_size,
        output_size=output_size,
        offsets=logits.new_zeros(logits.shape[2]) if offsets is None else offsets.to(logits.device),
        logit_scale=logit_scale,
        guides=image if refine else None,
    )


def _fit_to_patches(
    size: Size, patch: Size, remainder: Remainder
) -> tuple[Callable[[Tensor], Tensor], Size]:
    """What makes windows (B, 3, *size) fit the patches, and the size that their grid covers."""
    missing = [-side % length for side, length in zip(size, patch, strict=True)]
    padding = (0, missing[1], 0, missing[0])
    if not any(missing):
        return lambda crops: crops, size
    if remainder == "pad":
        covered = (size[0] + missing[0], size[1] + missing[1])
        return partial(F.pad, pad=padding, mode="replicate"), covered
    if remainder == "squeeze":
        return partial(F.pad, pad=padding), size
    seen = [max(side - side % length, length) for side, length in zip(size, patch, strict=True)]
    short = (0, max(0, seen[1] - size[1]), 0, max(0, seen[0] - size[0]))  # not even one patch
    return lambda crops: F.pad(crops[..., : seen[0], : seen[1]], short, mode="replicate"), size


def _check(image: Tensor, text_embeddings: Tensor, output_size: Size) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise UserError(f"images must be (B, 3, H, W), none of them 0, got {tuple(image.shape)}")
    if text_embeddings.ndim not in (2, 3) or 0 in text_embeddings.shape:
        raise UserError(
            f"text embeddings must be (C, d) or (C, K, d) of at least one class, got "
            f"{tuple(text_embeddings.shape)}"
        )
    if min(output_size) < 1:
        raise UserError(f"output_size must be (height, width) from 1 on, got {output_size}")
