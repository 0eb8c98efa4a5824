"""Several versions of one network over a picture in a single pass, best classes only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cascade_clip.analysis.subjects import Subject
from cascade_clip.data.transforms import prepare
from cascade_clip.errors import UserError
from cascade_clip.evaluation.raw_clip import RawClip
from cascade_clip.inference.sliding import sliding_score_chunks, window_options
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import Output
from cascade_clip.ops.argmax import RunningArgmax

View = tuple[int, ...]
"""The stages (0-based) whose mask logits are summed."""


class StackedViews(nn.Module):
    """A network whose `mask_logits` (B, V * C, h, w) hold V versions of it, one after the other,
    each the sum of some of its stages."""

    def __init__(self, network: SegmentationNetwork | RawClip, views: Sequence[View]) -> None:
        super().__init__()
        self.network = network
        self.views = tuple(views)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.network.patch_size

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Output:
        output: Output = self.network(image, text_embeddings)
        stages = torch.stack(output.stage_logits)  # (stages, B, C, h, w)
        if not bool(torch.isfinite(stages).all()):
            raise UserError(
                "the network's mask logits are not finite; its weights are damaged or the training "
                "diverged, use another checkpoint"
            )
        versions = [stages[list(view)].sum(dim=0) for view in self.views]
        return Output(torch.cat(versions, dim=1), output.stage_logits, output.levels)


@dataclass(frozen=True)
class PixelBest:
    """The best seen and the best unseen class of every pixel, with scores before any offset; all
    (H, W). Where there is no such class its score is -inf."""

    seen_scores: Tensor
    seen_labels: Tensor
    unseen_scores: Tensor
    unseen_labels: Tensor

    @property
    def lead(self) -> Tensor:
        """By how much the seen class leads: (H, W) float64, so that no rounding decides."""
        return self.seen_scores.double() - self.unseen_scores.double()

    @property
    def seen_first(self) -> Tensor:
        """Where the seen class wins a tie, as the class of the lower index does: (H, W) bool."""
        return self.seen_labels < self.unseen_labels

    def seen_wins(self, offset: float) -> Tensor:
        """Where the seen class is chosen with `offset` subtracted from seen scores: (H, W) bool."""
        limit, lead = as_float32(offset), self.lead
        return (lead > limit) | ((lead == limit) & self.seen_first)

    def labels(self, offset: float) -> Tensor:
        """(H, W): what `sliding_labels` gives with this seen-score offset, up to rounding."""
        return torch.where(self.seen_wins(offset), self.seen_labels, self.unseen_labels)

    def confidence(self, offset: float) -> Tensor:
        """(H, W): the score, without offset, of the class chosen with it; 0..1."""
        return torch.where(self.seen_wins(offset), self.seen_scores, self.unseen_scores)


def as_float32(value: float) -> float:
    """The number as inference subtracts it from scores."""
    return torch.tensor(value, dtype=torch.float32).item()


@torch.inference_mode()
def best_pixels(
    subject: Subject, images: Tensor, text: Tensor, seen: Tensor, views: Sequence[View]
) -> Iterator[list[PixelBest]]:
    """For each picture of (B, 3, H, W) uint8, what each view of the network holds for best.

    `text` (C, d) are the text embeddings of all classes, `seen` (C,) says which of them are seen.
    Memory doesn't grow with the number of classes, beyond the logits on the patch grid.

    Raises `UserError` for scores that are not finite.
    """
    inference = subject.recipe.inference
    pictures = sliding_score_chunks(
        StackedViews(subject.network, views),
        prepare(images.to(subject.device), inference, subject.normalisation),
        text,
        **window_options(inference),
        output_size=(images.shape[-2], images.shape[-1]),
    )
    for chunks in pictures:
        yield _collect(chunks, seen, len(views))


def _collect(chunks: Iterator[tuple[int, Tensor]], seen: Tensor, views: int) -> list[PixelBest]:
    """One picture's scores (k, H, W), which come a few at a time over V * C classes."""
    classes = len(seen)
    best: list[tuple[RunningArgmax, RunningArgmax]] = []
    for first, scores in chunks:
        size, dtype, device = (scores.shape[1], scores.shape[2]), scores.dtype, scores.device
        while len(best) < views:
            known, new = (RunningArgmax(size, dtype=dtype, device=device) for _ in range(2))
            best.append((known, new))
        for view in range(first // classes, (first + len(scores) - 1) // classes + 1):
            start = view * classes
            part = scores[max(start - first, 0) : start + classes - first]  # (k', H, W)
            lowest = max(first - start, 0)
            is_seen = seen[lowest : lowest + len(part), None, None]
            best[view][0].update(part.masked_fill(~is_seen, -torch.inf), lowest)
            best[view][1].update(part.masked_fill(is_seen, -torch.inf), lowest)
    return [PixelBest(s.scores, s.labels, u.scores, u.labels) for s, u in best]
