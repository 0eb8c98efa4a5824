"""The result of segmenting one picture: labels, legend, scores; to look at and to save."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cascade_clip.class_names import class_index
from cascade_clip.errors import UserError
from cascade_clip.inference.query import BACKGROUND_LABEL, BACKGROUND_NAME
from cascade_clip.io import coco
from cascade_clip.io.files import write_text, write_whole
from cascade_clip.io.images import RGBArray
from cascade_clip.io.overlay import Chip, add_legend, draw_overlay, enlarge
from cascade_clip.io.palette import BACKGROUND, RGB

if TYPE_CHECKING:
    from supervision import Detections

_OVERLAY_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class LegendEntry:
    """One class of a result."""

    name: str
    names: tuple[str, ...]
    """The class's name and its synonyms; a pixel's score is the highest of theirs."""
    colour: RGB
    share: float
    """Fraction of the picture's pixels, 0..1."""
    seen: tuple[str, ...]
    """Those of `names` that the model was trained on: their scores carry the seen-score offset."""


def make_legend(
    groups: Sequence[tuple[str, ...]],
    colours: Sequence[RGB],
    seen: Sequence[tuple[str, ...]],
    labels: npt.NDArray[np.int16],
) -> tuple[LegendEntry, ...]:
    """The legend of labels (H, W), from the names, colour and trained names of each class."""
    counts = np.bincount(labels.ravel().astype(np.int64) + 1, minlength=len(groups) + 1)[1:]
    return tuple(
        LegendEntry(group[0], group, colour, float(count) / labels.size, trained)
        for group, colour, trained, count in zip(groups, colours, seen, counts, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A picture of H x W pixels, each with one of C classes or none."""

    labels: npt.NDArray[np.int16]
    """(H, W): index into `classes`; -1 is background (no class scored high enough)."""
    legend: tuple[LegendEntry, ...]
    """One entry for each class, in their order."""
    image: RGBArray
    """(H, W, 3)"""
    name: str = "picture"
    file_name: str | None = None
    confidence: npt.NDArray[np.float16] | None = None
    """(H, W): the score, 0..1, of each pixel's best class, without offsets."""
    compute_scores: Callable[[], npt.NDArray[np.float32]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: all but the scores and the model that computes them."""
        state = {name: value for name, value in vars(self).items() if name != "scores"}
        return state | {"compute_scores": None}

    def __repr__(self) -> str:
        """What an interactive session shows: classes and shares instead of arrays."""
        height, width = self.labels.shape
        shares = ", ".join(f"{entry.name} {entry.share:.0%}" for entry in self.legend)
        return f"<Segmentation of '{self.name}', {width} x {height} pixels: {shares}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names; of synonyms the first."""
        return tuple(entry.name for entry in self.legend)

    @property
    def background_share(self) -> float:
        """Fraction of pixels without a class, 0..1."""
        return float((self.labels == BACKGROUND_LABEL).mean())

    @cached_property
    def scores(self) -> npt.NDArray[np.float32]:
        """Scores (C, H, W), offsets included: the arg-max over C gives the labels. Computed when
        first asked for, which runs the model once more; takes 4 * C * H * W bytes.

        Raises `UserError` for a result that was not made by a model in this process, and for a
        copied or pickled one.
        """
        if self.compute_scores is None:
            raise UserError(f"'{self.name}' carries no scores; segment it again to get them")
        return self.compute_scores()

    def mask(self, name: str | int) -> npt.NDArray[np.bool_]:
        """Pixels (H, W) of the class with this name or synonym, or as it was typed (`sofa|couch`);
        of "background"; or of the class with this index into `classes`, -1 for background.

        Raises `UserError` for what is no class of this result.
        """
        return self.labels == self._label(name)

    def overlay(self, opacity: float = 0.55, legend: bool = True) -> Image.Image:
        """Class colours over the picture; with `legend`, a strip of names and shares below, and a
        small picture enlarged by a whole factor so that the strip can be read.

        Raises `UserError` for an opacity outside 0..1.
        """
        if not 0.0 <= opacity <= 1.0:
            raise UserError(f"opacity is between 0 and 1, got {opacity}")
        colours = [entry.colour for entry in self.legend]
        if not legend:
            return draw_overlay(self.image, self.labels, colours, opacity=opacity)
        picture, labels = enlarge(self.image, self.labels)
        return add_legend(draw_overlay(picture, labels, colours, opacity=opacity), self._chips())

    def label_image(self) -> Image.Image:
        """Labels as a palette picture in class colours: pixel values are class indices, 255 is
        background. With more than 255 classes a 16-bit grey picture, 65535 being background."""
        if len(self.legend) > 255:
            return Image.fromarray(self.labels.astype(np.uint16))  # -1 becomes 65535
        image = Image.fromarray(self.labels.astype(np.uint8), mode="P")  # -1 becomes 255
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self.legend)] = [entry.colour for entry in self.legend]
        table[255] = BACKGROUND
        image.putpalette(table.tobytes())
        return image

    def to_coco(self) -> dict[str, Any]:
        """A COCO record: one image, one annotation (compressed run-length code) for each class with
        any pixel, categories numbered from 1 in class order."""
        height, width = self.labels.shape
        masks = ((index, self.labels == index) for index in self._present())
        return {
            "images": [
                {
                    "id": 1,
                    "file_name": self.file_name or f"{self.name}.png",
                    "height": height,
                    "width": width,
                }
            ],
            "annotations": coco.mask_annotations(masks),
            "categories": coco.categories(self.classes),
        }

    def to_polygons(self) -> dict[str, list[npt.NDArray[np.float64]]]:
        """For each class with any pixel its outlines, closed, (K, 2) as x, y in pixels: outer ones
        and those of holes, half-way between the centres of pixels inside and outside."""
        from contourpy import contour_generator

        polygons: dict[str, list[npt.NDArray[np.float64]]] = {}
        for index in self._present():
            padded = np.pad((self.labels == index).astype(np.float64), 1)
            lines = contour_generator(z=padded).lines(0.5)
            # The padding shifts by one pixel; pixel centres lie at + 0.5.
            polygons[self.legend[index].name] = [np.asarray(line) - 0.5 for line in lines]
        return polygons

    def to_supervision(self) -> Detections:
        """For each class with any pixel one detection of the package supervision: mask, box (left,
        top, right, bottom; right and bottom lie outside), index and name (`class_name`) of the
        class, and as confidence the mean score of its pixels, without offsets.

        Raises `UserError` if supervision is not installed.
        """
        try:
            from supervision import Detections
        except ModuleNotFoundError as error:
            raise UserError(
                "to_supervision needs the package supervision, which is missing; install it with: "
                "pip install supervision"
            ) from error
        present = self._present()
        masks = self.labels == np.array(present, dtype=np.int16)[:, None, None]  # (n, H, W)
        boxes = np.array([coco.bounding_box(mask) for mask in masks]).reshape(-1, 4)
        confidence = self.confidence
        return Detections(
            xyxy=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32),
            mask=masks,
            class_id=np.array(present, dtype=int),
            confidence=None
            if confidence is None
            else np.array([confidence[mask].mean(dtype=np.float32) for mask in masks]),
            data={"class_name": np.array([self.legend[index].name for index in present])},
        )

    def save(self, path: str | Path) -> Path:
        """Writes by suffix: .png, .jpg, .webp the overlay with legend, .json the COCO record, .npz
        `labels` (H, W) and `classes` (C).

        Raises `UserError` for other suffixes and for a folder that can't be written to.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix in _OVERLAY_SUFFIXES:
            overlay = self.overlay()
            return write_whole(target, overlay.save)
        if suffix == ".json":
            text = json.dumps(self.to_coco(), ensure_ascii=False)
            return write_text(target, text)
        if suffix == ".npz":
            return write_whole(target, self._save_npz)
        raise UserError(
            f"can't save as '{target.suffix}': use .png, .jpg or .webp (overlay), .json (COCO) or "
            ".npz (labels); save_labels writes the labels as a palette PNG"
        )

    def save_labels(self, path: str | Path) -> Path:
        """Writes `label_image` as PNG.

        Raises `UserError` for another suffix and for a folder that can't be written to.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise UserError(f"labels are saved as .png, not '{target.suffix}'")
        return write_whole(target, self.label_image().save)

    def _save_npz(self, path: Path) -> None:
        np.savez_compressed(path, labels=self.labels, classes=np.array(self.classes))

    def _label(self, name: str | int) -> int:
        if isinstance(name, (int, np.integer)):
            if not BACKGROUND_LABEL <= name < len(self.legend):
                raise UserError(
                    f"no class {name}; this result has {len(self.legend)}, from 0, and "
                    f"{BACKGROUND_LABEL} for background"
                )
            return int(name)
        groups = [entry.names for entry in self.legend]
        own = (known.casefold() for group in groups for known in group)
        if str(name).strip().casefold() == BACKGROUND_NAME not in own:
            return BACKGROUND_LABEL
        return class_index(groups, name)

    def _present(self) -> list[int]:
        return [int(index) for index in np.unique(self.labels) if index >= 0]

    def _chips(self) -> list[Chip]:
        chips = [
            Chip(entry.name, entry.colour, entry.share) for entry in self.legend if entry.share > 0
        ]
        if self.background_share > 0:
            chips.append(Chip(BACKGROUND_NAME, BACKGROUND, self.background_share))
        return chips
