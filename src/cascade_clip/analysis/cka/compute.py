"""Linear CKA between the blocks of image encoders, streamed over batches of pictures.

Linear centred kernel alignment (Kornblith et al., arXiv 1905.00414) compares two sets of features
of the same n pictures by their Gram matrices K = X X^T and L = Y Y^T:

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).

Estimated from a sample by centring alone, HSIC is too high by far when features outnumber pictures.
So each batch gives the unbiased estimate HSIC_1 (Song et al., JMLR 13:1393, 2012, Eq. 5; n >= 4),
and each of the three terms is averaged over batches before the ratio is taken (Nguyen, Raghu and
Kornblith, arXiv 2010.15327, Eqs. 2 and 3). Memory is one batch, and the result is 1 for features
that differ by rotation, reflection, scale and shift, and about 0 for independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from cascade_clip.analysis.bootstrap import MIN_DRAWN, RESAMPLES
from cascade_clip.analysis.subjects import Subject
from cascade_clip.analysis.windows import network_input, patch_side, window_batches, window_side
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.samples import SegmentationDataset
from cascade_clip.errors import UserError

MIN_BATCH = 4
"""Fewest pictures from which HSIC can be estimated without bias."""

Features = Literal["patches", "mean", "class-token"]


@dataclass(frozen=True)
class CKAResult:
    """CKA between L features: all blocks of the first subject, then all of the second."""

    subjects: tuple[str, ...]
    blocks: tuple[int, ...]
    """Block numbers, the same for each subject."""
    hsic: Tensor
    """(batches, L, L): the unbiased estimate of each batch."""

    @property
    def matrix(self) -> Tensor:
        """(L, L), NaN where features don't vary between pictures."""
        return cka_from_hsic(self.hsic)

    def between(self, first: int, second: int) -> Tensor:
        """(blocks, blocks): blocks of one subject (by its place) against those of another."""
        count = len(self.blocks)
        rows, columns = (slice(k * count, (k + 1) * count) for k in (first, second))
        return self.matrix[rows, columns]

    def interval(
        self, number: Callable[[CKAResult], float], resamples: int = RESAMPLES
    ) -> tuple[float, float]:
        """95 % interval of a number computed from the result, from batches drawn anew with
        replacement; NaN with fewer than `MIN_DRAWN` batches."""
        count = len(self.hsic)
        if count < MIN_DRAWN:
            return math.nan, math.nan
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(count, (resamples, count), generator=generator)
        values = [number(replace(self, hsic=self.hsic[rows])) for rows in drawn]
        low, high = torch.tensor(values).nanquantile(torch.tensor([0.025, 0.975])).tolist()
        return low, high

    def last_with_others(self, subject: int) -> float:
        """Mean CKA of a subject's last block with its other blocks; NaN if there are none."""
        return self.between(subject, subject)[-1, :-1].mean().item()

    def neighbours(self, subject: int) -> float:
        """Mean CKA of blocks that follow each other in `blocks`; NaN if there is but one."""
        return self.between(subject, subject).diagonal(1).mean().item()


def batch_hsic(features: Iterable[Tensor]) -> Tensor:
    """HSIC_1 of all pairs among L features (n, p_1), ..., (n, p_L) of the same n pictures: (L, L).

    Song et al.'s Eq. 5 equals the inner product of U-centred Gram matrices over n (n - 3) (Székely
    and Rizzo, arXiv 1310.2926, section 3), which gives all pairs in one matrix product. Features
    are taken one after the other, so that only their Gram matrices are held.

    Raises `UserError` with fewer than four pictures.
    """
    grams = torch.stack([_u_centred(_linear_gram(each)) for each in features])  # (L, n, n)
    count = grams.shape[1]
    flat = grams.flatten(1)  # (L, n * n)
    return flat @ flat.T / (count * (count - 3))


def cka_from_hsic(hsic: Tensor) -> Tensor:
    """CKA (L, L) from HSIC (batches, L, L); NaN where a feature doesn't vary."""
    mean = hsic.mean(dim=0)
    scale = mean.diagonal().sqrt()
    matrix = mean / (scale[:, None] * scale)
    return matrix.masked_fill(~torch.isfinite(matrix), torch.nan).clamp(-1, 1)


def block_cka(
    subjects: Sequence[Subject],
    dataset: SegmentationDataset,
    blocks: Sequence[int],
    *,
    features: Features = "patches",
    batch_size: int = 32,
    advance: Callable[[int], None] = lambda pictures: None,
) -> CKAResult:
    """CKA between all chosen blocks of all subjects.

    Each picture gives one window (`windows.py`), and each block its output tokens there, before
    any LayerNorm: `patches` strings the N patch tokens to one vector of N * D numbers (as Nguyen
    et al. do with the positions of a feature map), `mean` averages them (D numbers), `class-token`
    takes that token alone (D numbers). Prompt tokens never count.

    Pictures are mixed (always in the same order) and dealt into batches of at most `batch_size`,
    equal up to one; all of them are used.

    Raises `UserError` for fewer than four pictures and features that are not finite.
    """
    parts = deal(len(dataset), batch_size)
    settings = subjects[0].recipe.inference
    side = window_side(settings, map(patch_side, subjects))
    estimates = []
    for batch in window_batches(dataset, parts, settings.short_side, side):
        with torch.inference_mode():
            found = _features(subjects, batch.images, dataset.classes, blocks, features)
            estimates.append(batch_hsic(found))
        advance(len(batch.images))
    return CKAResult(
        tuple(subject.name for subject in subjects), tuple(blocks), torch.stack(estimates)
    )


def deal(pictures: int, batch_size: int) -> list[list[int]]:
    """All pictures in mixed order in batches of at most `batch_size`, of four or more each.

    Raises `UserError` if there are fewer than four pictures or the batches are smaller than that.
    """
    if min(pictures, batch_size) < MIN_BATCH:
        raise UserError(
            f"the unbiased estimate of HSIC needs {MIN_BATCH} pictures a batch, got {pictures} "
            f"pictures in batches of {batch_size}; take more pictures or larger batches"
        )
    count = min(-(-pictures // batch_size), pictures // MIN_BATCH)
    order = torch.randperm(pictures, generator=torch.Generator().manual_seed(0))
    return [part.tolist() for part in order.tensor_split(count)]


def _features(
    subjects: Sequence[Subject],
    images: Tensor,
    classes: ClassSet,
    blocks: Sequence[int],
    kind: Features,
) -> Iterator[Tensor]:
    """Features (B, p) of the chosen blocks, subject by subject."""
    for subject in subjects:
        for number, tokens in subject.tokens(network_input(images, subject), classes):
            if number in blocks:
                yield _as_vectors(tokens, kind)


def _as_vectors(tokens: Tensor, kind: Features) -> Tensor:
    if kind == "class-token":
        return tokens[:, 0]  # (B, D)
    patches = tokens[:, 1:]  # (B, N, D)
    return patches.mean(dim=1) if kind == "mean" else patches.flatten(1)


def _linear_gram(features: Tensor) -> Tensor:
    """X X^T (n, n) in float64. HSIC doesn't change when features are shifted, so their mean is
    taken off first, which keeps the digits of float32 for what differs."""
    if len(features) < MIN_BATCH:
        raise UserError(
            f"the unbiased estimate of HSIC needs {MIN_BATCH} pictures a batch, got {len(features)}"
        )
    centred = features - features.mean(dim=0)
    return (centred @ centred.T).double().cpu()


def _u_centred(gram: Tensor) -> Tensor:
    """The Gram matrix (n, n) without its diagonal, of which rows and columns sum to zero."""
    count = len(gram)
    gram = gram.clone().fill_diagonal_(0.0)
    rows = gram.sum(dim=1) / (count - 2)
    centred = gram - rows[:, None] - rows + rows.sum() / (count - 1)
    return centred.fill_diagonal_(0.0)
