"""Pictures and class names in, segmentations out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cascade_clip.checkpoint.native import EMBEDDED, load_bundle
from cascade_clip.class_names import TypedClasses, parse_classes
from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.transforms import normalise, resize_bilinear, short_side_size
from cascade_clip.imageio import Picture, RGBArray, picture_name, read_picture
from cascade_clip.inference.sliding import sliding_best, sliding_scores
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.palette import class_colours
from cascade_clip.query import Query, build_query, read_templates
from cascade_clip.segmentation import BACKGROUND_LABEL, LegendEntry, Segmentation

MAX_WINDOWS = 64


class ShrunkPicture(UserWarning):
    """A very long picture was shrunk before it went into the network."""


class Segmenter:
    """Segments pictures into classes named at run time.

    `network` stands on `clip`; `classes` are those of its training; `recipe` says how pictures are
    prepared. `max_windows` caps the work for very long pictures: they are shrunk, with a warning,
    until they fit.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        clip: FrozenClip,
        classes: ClassSet,
        recipe: Recipe,
        *,
        templates: str | Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        max_windows: int = MAX_WINDOWS,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.clip = clip
        self.trained_classes = classes
        self.recipe = recipe
        self.templates = read_templates(templates or recipe.data.templates)
        self.max_windows = max_windows

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = EMBEDDED,
        *,
        device: str | torch.device = "cpu",
        max_windows: int = MAX_WINDOWS,
    ) -> Segmenter:
        """A trained model: a model or run folder, or "picturebook", which comes with the package
        and knows drawn scenes only.

        Raises `UserError` if there is no model, or it stands on another CLIP.
        """
        bundle = load_bundle(model)
        return cls(
            bundle.network,
            bundle.clip,
            bundle.classes,
            bundle.recipe,
            templates=bundle.templates,
            device=device,
            max_windows=max_windows,
        )

    @overload
    def __call__(
        self,
        images: Picture,
        classes: str | Sequence[str] | TypedClasses | None = None,
        *,
        background: bool | float = ...,
        thresholds: Mapping[str, float] | None = ...,
        class_offsets: Mapping[str, float] | None = ...,
        templates: str | Sequence[str] | None = ...,
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: list[Picture] | tuple[Picture, ...],
        classes: str | Sequence[str] | TypedClasses | None = None,
        *,
        background: bool | float = ...,
        thresholds: Mapping[str, float] | None = ...,
        class_offsets: Mapping[str, float] | None = ...,
        templates: str | Sequence[str] | None = ...,
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        images: Picture | list[Picture] | tuple[Picture, ...],
        classes: str | Sequence[str] | TypedClasses | None = None,
        *,
        background: bool | float = False,
        thresholds: Mapping[str, float] | None = None,
        class_offsets: Mapping[str, float] | None = None,
        templates: str | Sequence[str] | None = None,
    ) -> Segmentation | list[Segmentation]:
        """Segments one picture, or a list of them, at original size.

        Args:
            images: a path, a PIL image, an array (H,W,3) of uint8 or a tensor (3,H,W) of uint8 or
                of floats in [0, 1]; or a list of these.
            classes: names, as a list or one string with commas; `sofa|couch` is one class with two
                names. None: the classes of the model's training.
            background: True leaves pixels whose best score is under 0.5 without a class; a number
                sets another threshold, 0..1.
            thresholds: such thresholds for single classes, by name.
            class_offsets: added to the scores of single classes before the arg-max, by name:
                positive values widen a class, negative ones narrow it.
            templates: "single", "many", or texts with `{}` in the place of the name. None: as in
                training.

        The seen-score offset of the recipe is subtracted from names the model was trained on (apart
        from case, spaces and plural); `legend` of the result says which. Thresholds look at scores
        without offsets.

        Raises `UserError` for unreadable pictures and unusable names, thresholds or templates.
        """
        query = self.query(
            classes,
            background=background,
            thresholds=thresholds,
            class_offsets=class_offsets,
            templates=templates,
        )
        if isinstance(images, (list, tuple)):
            return [self.segment(picture, query, index) for index, picture in enumerate(images)]
        return self.segment(images, query)

    def query(
        self,
        classes: str | Sequence[str] | TypedClasses | None = None,
        *,
        background: bool | float = False,
        thresholds: Mapping[str, float] | None = None,
        class_offsets: Mapping[str, float] | None = None,
        templates: str | Sequence[str] | None = None,
    ) -> Query:
        """What a call asks of its pictures, checked and encoded once: for many calls of `segment`.

        Arguments and errors as in a call.
        """
        return build_query(
            self.clip,
            parse_classes(self.trained_classes.names if classes is None else classes),
            trained=self.trained_classes.seen,
            seen_score_offset=self.recipe.seen_score_offset,
            templates=self.templates if templates is None else templates,
            background=background,
            thresholds=thresholds,
            class_offsets=class_offsets,
            device=self.device,
        )

    def segment(self, picture: Picture, query: Query, index: int = 0) -> Segmentation:
        """Segments one picture; without a file name it is called `picture-INDEX`.

        Raises `UserError` for an unreadable picture.
        """
        image = read_picture(picture)  # (H, W, 3)
        labels = self._labels(image, query)
        shares = _shares(labels, len(query.typed.groups))
        colours = class_colours([group[0] for group in query.typed.groups])
        legend = tuple(
            LegendEntry(group[0], group, colour, share, seen)
            for group, colour, share, seen in zip(
                query.typed.groups, colours, shares, query.seen_by_class, strict=True
            )
        )
        return Segmentation(
            labels=labels,
            legend=legend,
            image=image,
            name=picture_name(picture, index),
            file_name=Path(picture).name if isinstance(picture, (str, Path)) else None,
            compute_scores=partial(self._scores, image, query),
        )

    @torch.inference_mode()
    def _labels(self, image: RGBArray, query: Query) -> npt.NDArray[np.int16]:
        names, best = sliding_best(
            self.network,
            self._prepare(image),
            query.embeddings,
            crop=self.recipe.data.crop,
            stride=self.recipe.data.stride,
            output_size=image.shape[:2],
            seen=torch.arange(len(query.embeddings), device=self.device),
            seen_score_offset=query.reduction,
        )  # (1, H, W) each; the arg-max over names is that over the maxima of synonyms
        labels = query.class_of_name[names[0]]  # (H, W)
        if query.thresholds is not None:
            score = best[0] + query.reduction[names[0]]
            low = score < query.thresholds[labels]
            labels = labels.masked_fill(low, BACKGROUND_LABEL)
        return labels.cpu().numpy().astype(np.int16)

    @torch.inference_mode()
    def _scores(self, image: RGBArray, query: Query) -> npt.NDArray[np.float32]:
        by_name = sliding_scores(
            self.network,
            self._prepare(image),
            query.embeddings,
            crop=self.recipe.data.crop,
            stride=self.recipe.data.stride,
            output_size=image.shape[:2],
            seen=torch.arange(len(query.embeddings), device=self.device),
            seen_score_offset=query.reduction,
        )[0]  # (K, H, W)
        groups = by_name.split([len(group) for group in query.typed.groups])
        by_class = torch.stack([group.amax(dim=0) for group in groups])  # (C, H, W)
        return by_class.cpu().numpy()

    def _prepare(self, image: RGBArray) -> Tensor:
        """The picture as the network takes it: (1, 3, h, w)."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(self.device)  # (1, 3, H, W)
        size = self._network_size(image.shape[0], image.shape[1])
        data = self.recipe.data
        return normalise(resize_bilinear(pixels, size), data.mean, data.std)

    def _network_size(self, height: int, width: int) -> list[int]:
        data = self.recipe.data
        size = short_side_size((height, width), data.short_side)
        allowed = capped_size(size, data.crop, data.stride, self.max_windows)
        if allowed != size:
            warnings.warn(
                f"a picture of {width} x {height} pixels would take more than {self.max_windows} "
                f"windows; it is shrunk to {allowed[1]} x {allowed[0]} instead of "
                f"{size[1]} x {size[0]} for the network",
                ShrunkPicture,
                stacklevel=2,
            )
        return allowed


def capped_size(size: Sequence[int], crop: int, stride: int, max_windows: int) -> list[int]:
    """(height, width), shrunk in proportion if it would take more than `max_windows` windows."""
    counts = [max(side - crop + stride - 1, 0) // stride + 1 for side in size]
    if counts[0] * counts[1] <= max_windows:
        return list(size)
    along = max(1, max_windows // min(counts))
    scale = (crop + stride * (along - 1)) / max(size)
    return [max(1, int(side * scale)) for side in size]


def _shares(labels: npt.NDArray[np.int16], classes: int) -> list[float]:
    counts = np.bincount(labels.ravel().astype(np.int64) + 1, minlength=classes + 1)[1:]
    return [float(count) / labels.size for count in counts]
