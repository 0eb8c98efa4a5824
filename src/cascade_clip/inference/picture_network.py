"""Pictures of 8 bits and a query in, labels and scores at original size out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cascade_clip.config import DataSettings
from cascade_clip.data.transforms import normalise
from cascade_clip.inference.picture_sizes import WINDOW_BATCH, PictureSizes
from cascade_clip.inference.query import BACKGROUND_LABEL, Query
from cascade_clip.inference.sliding import (
    ScoreOptions,
    sliding_best,
    sliding_scores,
    window_options,
)
from cascade_clip.io.images import RGBArray
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.ops.resize import resize_bilinear


class PictureNetwork:
    """A network on `device`, with the preparation of pictures that `data` describes."""

    def __init__(
        self,
        network: SegmentationNetwork,
        data: DataSettings,
        sizes: PictureSizes,
        device: torch.device,
    ) -> None:
        self.network = network
        self.data = data
        self.sizes = sizes
        self.device = device

    @torch.inference_mode()
    def labels(
        self, images: Sequence[RGBArray], query: Query
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float16]]:
        """Labels (B, H, W) of pictures of equal size, -1 for background, and the scores that won,
        without offsets."""
        names, best = sliding_best(
            self.network,
            self._prepare(images),
            query.embeddings,
            **window_options(self.data),
            **self._options(images, query),
        )  # (B, H, W) each; the arg-max over names is that over the maxima of synonyms
        labels = query.class_of_name[names]  # (B, H, W)
        score = best + query.reduction[names]
        if query.thresholds is not None:
            low = score < query.thresholds[labels]
            labels = labels.masked_fill(low, BACKGROUND_LABEL)
        return labels.cpu().numpy().astype(np.int16), score.half().cpu().numpy()

    @torch.inference_mode()
    def scores(self, image: RGBArray, query: Query) -> npt.NDArray[np.float32]:
        """Scores (C, H, W) of one picture, offsets included."""
        by_name = sliding_scores(
            self.network,
            self._prepare([image]),
            query.embeddings,
            **window_options(self.data),
            **self._options([image], query),
        )[0]  # (K, H, W)
        groups = by_name.split([len(group) for group in query.typed.groups])
        by_class = torch.stack([group.amax(dim=0) for group in groups])  # (C, H, W)
        return by_class.cpu().numpy()

    def _options(self, images: Sequence[RGBArray], query: Query) -> ScoreOptions:
        return {
            "output_size": (images[0].shape[0], images[0].shape[1]),
            "seen": torch.arange(len(query.embeddings), device=self.device),
            "seen_score_offset": query.reduction,
            "window_batch": WINDOW_BATCH,
        }

    def _prepare(self, images: Sequence[RGBArray]) -> Tensor:
        """Pictures of equal size as the network takes them: (B, 3, h, w)."""
        stacked = torch.from_numpy(np.stack(images)).to(self.device)  # (B, H, W, 3)
        size = list(self.sizes.in_network((stacked.shape[1], stacked.shape[2])))
        pixels = resize_bilinear(stacked.permute(0, 3, 1, 2), size)  # (B, 3, h, w)
        return normalise(pixels, self.data.mean, self.data.std)
