"""What the page shows of a result, at a size that a screen has room for."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from cascade_clip.inference.query import BACKGROUND_NAME
from cascade_clip.io.images import RGBArray
from cascade_clip.io.overlay import share_text, short_name
from cascade_clip.io.palette import BACKGROUND, to_hex
from cascade_clip.report import html
from cascade_clip.segmentation import Segmentation

SHOWN_SIDE = 1280
"""Longest side of a picture on the page, in pixels."""
STAGE_SIDE = 640
"""The same for each of the pictures of stages side by side."""

Annotated = tuple[RGBArray, list[tuple[npt.NDArray[np.float32], str]]]
"""A picture (H, W, 3) and for each class its mask (H, W) in 0..1 with a label."""


def fit(image: RGBArray, longest: int = SHOWN_SIDE) -> RGBArray:
    """The picture (H, W, 3), shrunk if a side is longer than `longest`."""
    size = _fitting_size(image.shape[0], image.shape[1], longest)
    if size == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))


def fit_result(result: Segmentation, longest: int = SHOWN_SIDE) -> Segmentation:
    """The result with picture and labels shrunk as by `fit`; shares stay those of the original."""
    height, width = result.labels.shape
    size = _fitting_size(height, width, longest)
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(int)
    return replace(
        result, image=fit(result.image, longest), labels=result.labels[np.ix_(rows, columns)]
    )


def annotated(result: Segmentation) -> tuple[Annotated, dict[str, str]]:
    """The value of an `AnnotatedImage`, the largest class first, and each label's colour."""
    shown = fit_result(result)
    order = sorted(range(len(result.legend)), key=lambda index: -result.legend[index].share)
    masks: list[tuple[npt.NDArray[np.float32], str]] = []
    colours: dict[str, str] = {}
    for index in order:
        entry = result.legend[index]
        if entry.share > 0:
            label = f"{short_name(entry.name)}  {share_text(entry.share)}"
            masks.append(((shown.labels == index).astype(np.float32), label))
            colours[label] = to_hex(entry.colour)
    return (shown.image, masks), colours


def by_share(result: Segmentation) -> list[str]:
    """Class names, the largest first."""
    return [entry.name for entry in sorted(result.legend, key=lambda entry: -entry.share)]


def class_table(result: Segmentation) -> str:
    """HTML: every class with its colour, its share and whether the model was trained on it."""
    entries = sorted(result.legend, key=lambda entry: -entry.share)
    rows = [
        _row(
            " | ".join(map(short_name, entry.names)),
            to_hex(entry.colour),
            entry.share,
            bool(entry.seen),
        )
        for entry in entries
    ]
    if result.background_share > 0:
        name = f"no class ({BACKGROUND_NAME})"
        rows.append(_row(name, to_hex(BACKGROUND), result.background_share, None))
    return '<table class="classes">' + "".join(rows) + "</table>"


def score_picture(scores: npt.NDArray[np.float32]) -> RGBArray:
    """Scores (H, W) in 0..1 as colours (H, W, 3), from dark blue to yellow."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.clip(scores, 0.0, 1.0), bytes=True)[..., :3]


def score_legend(name: str, scores: npt.NDArray[np.float32]) -> str:
    """HTML: the colour scale of `score_picture`, and how far the scores of a class reach."""
    low, high = float(scores.min()), float(scores.max())
    return (
        '<div class="scale"><span>0</span><i></i><span>1</span></div>'
        f'<p class="soft">Scores of “{escape(short_name(name))}” reach from {low:.2f} to '
        f"{high:.2f} in this picture.</p>"
    )


def compared(whole: Segmentation, stages: Mapping[str, Segmentation]) -> str:
    """HTML: the masks of all stages together, and of each stage by itself."""
    figures = [_figure(whole, "all stages together", "the result")]
    for position, (blocks, result) in enumerate(stages.items(), start=1):
        same = float((result.labels == whole.labels).mean())
        what = "last layer only" if position == len(stages) else f"stage {position} only"
        figures.append(
            _figure(result, f"{what}: {blocks}", f"{same:.0%} of pixels as in the result")
        )
    shown = [(short_name(e.name), to_hex(e.colour)) for e in whole.legend]
    return f'<div class="stages">{"".join(figures)}</div>{html.colour_legend(shown)}'


def _figure(result: Segmentation, title: str, note: str) -> str:
    overlay = fit_result(result, STAGE_SIDE).overlay(0.7, legend=False)
    buffer = io.BytesIO()
    overlay.save(buffer, "WEBP", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="masks, {escape(title)}" src="data:image/webp;base64,{data}">'
        f"<figcaption><b>{escape(title)}</b><span>{escape(note)}</span></figcaption></figure>"
    )


def _row(name: str, colour: str, share: float, seen: bool | None) -> str:
    kind = ""
    if seen is not None:
        words = "masks in training" if seen else "name only"
        kind = f'<span class="{"seen" if seen else "unseen"}">{words}</span>'
    return (
        f'<tr><td><i style="background:{colour}"></i>{escape(name)}</td>'
        f'<td class="bar"><b style="width:{100 * share:.1f}%;background:{colour}"></b></td>'
        f'<td class="share">{share_text(share)}</td><td>{kind}</td></tr>'
    )


def _fitting_size(height: int, width: int, longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
