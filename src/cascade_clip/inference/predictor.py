"""Decoded pictures and a query in, labels and scores at original size out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cascade_clip.config import InferenceSettings, Normalisation
from cascade_clip.errors import UserError
from cascade_clip.inference.query import BACKGROUND_LABEL, Query
from cascade_clip.inference.scores import WindowLogits
from cascade_clip.inference.sliding import predict_windows
from cascade_clip.inference.token_merging import merging_tokens
from cascade_clip.inference.windows import InferencePlan, Size, plan_picture
from cascade_clip.io.images import RGBArray
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.ops.argmax import RunningArgmax
from cascade_clip.ops.images import normalise, resize_bilinear

LabelledPixels = tuple[npt.NDArray[np.int16], npt.NDArray[np.float16]]
"""Labels, -1 for background, and the scores that won, without offsets."""

MAX_WINDOWS = 64
WINDOW_BATCH = 8
"""Windows that go through the network at once."""
BATCH = 8
"""Pictures that may be read before they go through the network together."""
BATCH_PIXELS = 16_000_000
"""And how many pixels they have at most, if there is more than one."""
LEFT_OUT = -1e4
"""Offset of names that win nowhere: finite, since scores are interpolated."""


def check_max_windows(max_windows: object) -> None:
    """Raises `UserError` unless it is a whole number from 1."""
    if not isinstance(max_windows, (int, np.integer)) or max_windows < 1:
        raise UserError(f"max_windows is a whole number, at least 1; got {max_windows!r}")


class Predictor:
    """A network on `device`; pictures are normalised with `normalisation`, and scaled and cut into
    windows, and their patches merged, as `settings` say.

    Pictures that would take more than `max_windows` windows are shrunk until they fit.

    Raises `UserError` if `max_windows` is not positive.
    """

    def __init__(
        self,
        network: MaskNetwork,
        settings: InferenceSettings,
        normalisation: Normalisation,
        device: torch.device,
        max_windows: int = MAX_WINDOWS,
    ) -> None:
        check_max_windows(max_windows)
        self.network = merging_tokens(network, settings.token_merging)
        self.settings = settings
        self.normalisation = normalisation
        self.device = device
        self.max_windows = max_windows

    def plan(self, picture: Size) -> InferencePlan:
        """The plan for pictures of a size (height, width)."""
        return plan_picture(picture, self.settings, self.network.patch_size, self.max_windows)

    def passes(self, pictures: Sequence[Size]) -> Iterator[list[int]]:
        """Indices of the pictures that go through the network together: those of equal size, as
        many as fit into one pass of windows."""
        by_size: dict[Size, list[int]] = {}
        for index, picture in enumerate(pictures):
            by_size.setdefault(picture, []).append(index)
        for picture, members in by_size.items():
            together = max(1, WINDOW_BATCH // len(self.plan(picture).windows.origins))
            for start in range(0, len(members), together):
                yield members[start : start + together]

    def labels_of_each(self, images: Sequence[RGBArray], query: Query) -> list[LabelledPixels]:
        """`labels` of pictures of any sizes, (H, W) each; those of equal size go together."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        found: dict[int, LabelledPixels] = {}
        for members in self.passes(sizes):
            labels, scores = self.labels([images[index] for index in members], query)  # (B, H, W)
            found.update(zip(members, zip(labels, scores, strict=True), strict=True))
        return [found[index] for index in range(len(images))]

    def labels(self, images: Sequence[RGBArray], query: Query) -> LabelledPixels:
        """(B, H, W) each, of pictures of equal size."""
        labels, scores = self.best(self._stack(images), query)
        return labels.cpu().numpy().astype(np.int16), scores.half().cpu().numpy()

    @torch.inference_mode()
    def best(self, images: Tensor, query: Query) -> tuple[Tensor, Tensor]:
        """Labels, -1 for background, and the scores that won, without offsets: (B, H, W) each, of
        pictures (B, 3, H, W) of uint8 on the network's device."""
        logits = self._logits(images, query)
        best = [self._best(logits, index, query) for index in range(len(images))]
        names = torch.stack([one.labels for one in best])  # (B, H, W)
        # The arg-max over names is that over the maxima of synonyms.
        labels = query.class_of_name[names]  # (B, H, W)
        scores = torch.stack([one.scores for one in best]) - query.offsets[names]  # (B, H, W)
        if query.thresholds is not None:
            low = scores < query.thresholds[labels.clamp(min=0)]
            labels = labels.masked_fill(low, BACKGROUND_LABEL)
        return labels, scores

    @torch.inference_mode()
    def scores(self, image: RGBArray, query: Query) -> npt.NDArray[np.float32]:
        """Scores (C, H, W) of one picture, offsets included."""
        chunks = self._logits(self._stack([image]), query).scores(0)
        by_name = torch.cat([scores for _, scores in chunks])[query.behind :]  # (K, H, W)
        groups = by_name.split([len(group) for group in query.typed.groups])
        by_class = torch.stack([group.amax(dim=0) for group in groups])  # (C, H, W)
        return by_class.cpu().numpy()

    def _stack(self, images: Sequence[RGBArray]) -> Tensor:
        """Pictures of equal size as one tensor on the network's device: (B, 3, H, W) of uint8."""
        stacked = torch.from_numpy(np.stack(images)).to(self.device)  # (B, H, W, 3)
        return stacked.permute(0, 3, 1, 2)

    def _logits(self, images: Tensor, query: Query) -> WindowLogits:
        size = (images.shape[2], images.shape[3])
        plan = self.plan(size)
        pixels = resize_bilinear(images, list(plan.size))  # (B, 3, h, w)
        return predict_windows(
            self.network,
            normalise(pixels, self.normalisation.mean, self.normalisation.std),
            query.embeddings,
            plan.windows,
            output_size=size,
            offsets=query.offsets,
            window_batch=WINDOW_BATCH,
            logit_scale=self.settings.softmax_scale,
            refine=self.settings.refine == "pamr",
            remainder=self.settings.remainder,
        )

    def _best(self, logits: WindowLogits, index: int, query: Query) -> RunningArgmax:
        """The best name of every pixel, those of too small classes left out."""
        best = logits.best(index)
        if not self.settings.min_area:
            return best
        labels = query.class_of_name[best.labels]  # (H, W)
        small = small_classes(labels, len(query.typed.groups), self.settings.min_area)
        left_out = torch.isin(query.class_of_name, small)
        if not left_out.any():
            return best
        offsets = query.offsets.masked_fill(left_out, LEFT_OUT)
        return replace(logits, offsets=offsets).best(index)


def small_classes(labels: Tensor, classes: int, share: float) -> Tensor:
    """Those of `classes` classes (k,) that hold at most `share` of the pixels of `labels` (H, W)
    that have a class, -1 being none."""
    counts = labels[labels >= 0].bincount(minlength=classes)
    return (counts <= share * counts.sum()).nonzero().squeeze(1)
