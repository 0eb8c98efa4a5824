"""Random scale, crop and padding of training pictures with their labels, for torchvision v2."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from cascade_clip.config import RGB, CropRule, NearestRule, Setting
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.ops.images import resize_bilinear, resize_nearest, scaled_size

REDRAWS = 10
LARGEST_SHARE = 0.75
LABEL_VALUES = 256


class RandomScale(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Scales picture and labels, keeping their ratio, by one random factor.

    With u drawn evenly from `factors`, the short side becomes `int(u * short_side)`, or less so
    that the long one stays within `int(u * long_side)`; sides are rounded to the nearest pixel.
    Bilinear without antialiasing for pictures, nearest by `nearest_rule` for labels.
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask)

    def __init__(
        self,
        short_side: int,
        long_side: int,
        factors: tuple[float, float],
        nearest_rule: NearestRule = "exact",
    ) -> None:
        super().__init__()
        self.nearest_rule = nearest_rule
        self.short_side = short_side
        self.long_side = long_side
        self.factors = factors

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high = self.factors
        factor = low + (high - low) * torch.rand(()).item()
        size = v2.query_size(flat_inputs)
        return {
            "size": scaled_size(size, int(self.short_side * factor), int(self.long_side * factor))
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        plain, size = inpt.as_subclass(Tensor), params["size"]
        if isinstance(inpt, tv_tensors.Image):
            return tv_tensors.wrap(resize_bilinear(plain, size), like=inpt)
        return tv_tensors.wrap(resize_nearest(plain, size, self.nearest_rule), like=inpt)


class RandomClassCrop(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Crops picture and labels to at most `size` x `size`, preferring crops with several classes.

    A crop is drawn, and drawn again up to `REDRAWS` times until `holds_several_classes`; the last
    one is kept. `visible` (256,) says as which class each label value counts; without it the first
    crop is taken.
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask)

    def __init__(self, size: int, visible: Tensor | None) -> None:
        super().__init__()
        self.size = size
        self.visible = visible

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        labels = next(inpt for inpt in flat_inputs if isinstance(inpt, tv_tensors.Mask))
        top, left = self._draw(height, width)
        for redraw in range(REDRAWS):
            if self._accepts(self._crop(labels, top, left)):
                break
            if redraw == 0 and self._is_hopeless(labels):
                break
            top, left = self._draw(height, width)
        return {"top": top, "left": left}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        return tv_tensors.wrap(self._crop(inpt, **params), like=inpt)

    def _draw(self, height: int, width: int) -> tuple[int, int]:
        margins = (max(0, height - self.size), max(0, width - self.size))
        top, left = (int(torch.randint(margin + 1, ())) for margin in margins)
        return top, left

    def _accepts(self, labels: Tensor) -> bool:
        return self.visible is None or holds_several_classes(self._count(labels))

    def _is_hopeless(self, labels: Tensor) -> bool:
        """Whether all crops are refused, so that the last one is as random as the first."""
        return max(labels.shape) <= self.size or int((self._count(labels) > 0).sum()) < 2

    def _count(self, labels: Tensor) -> Tensor:
        """Pixels per visible class (256,); ignored ones are not counted."""
        assert self.visible is not None
        counts = torch.zeros(LABEL_VALUES, dtype=torch.int64)
        counts.index_add_(0, self.visible, count_labels(labels))
        counts[IGNORE] = 0
        return counts

    def _crop(self, inpt: Tensor, top: int, left: int) -> Tensor:
        return inpt.as_subclass(Tensor)[..., top : top + self.size, left : left + self.size]


class PadTo(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Pads picture and labels at the right and at the bottom to `size` x `size`.

    Labels are padded with `IGNORE`, pictures with the grey level nearest to `mean`, RGB in [0, 1]:
    the released code pads with 0 after normalisation, which is the mean.
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask)

    def __init__(self, size: int, mean: RGB) -> None:
        super().__init__()
        self.size = size
        self.fill = [round(255 * value) for value in mean]

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        height, width = inpt.shape[-2:]
        padding = [0, 0, max(0, self.size - width), max(0, self.size - height)]
        if not any(padding):
            return inpt
        return F.pad(inpt, padding, IGNORE if isinstance(inpt, tv_tensors.Mask) else self.fill)


def visible_classes(rule: CropRule, classes: ClassSet, setting: Setting) -> Tensor | None:
    """As which class each label value (256,) counts when crops are chosen; None: none is looked at.

    With the rule `visible`, unseen classes and unlabelled pixels are ignored in the inductive
    setting; in the transductive one they are one class, as training knows where they lie but not
    what they are.
    """
    if rule == "off":
        return None
    visible = torch.arange(LABEL_VALUES)
    if rule == "visible":
        hidden = [*classes.unseen_indices, UNLABELLED]
        if setting == "full":
            hidden = [UNLABELLED]
        visible[hidden] = UNLABELLED if setting == "transductive" else IGNORE
    return visible


def count_labels(labels: Tensor) -> Tensor:
    """Pixels per label value (256,) of labels (H, W), run by run: masks have far fewer runs."""
    values = labels.numpy().ravel()
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)
    counts = np.bincount(values[ends], np.diff(ends, prepend=-1), LABEL_VALUES)
    return torch.from_numpy(counts.astype(np.int64))


def holds_several_classes(counts: Tensor) -> bool:
    """Whether of pixels per class (K,) two or more are positive and none is 75% of all or more."""
    return int((counts > 0).sum()) > 1 and bool(counts.max() < LARGEST_SHARE * counts.sum())
