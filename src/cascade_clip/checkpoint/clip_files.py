"""Files of this machine that a model names: where it finds its CLIP again, and what others see."""

from __future__ import annotations

import os
from pathlib import Path

from cascade_clip.clip.source import is_weights_name, parse_clip
from cascade_clip.config import ClipSettings, Recipe
from cascade_clip.config.model import FROM_WEIGHTS, LOCAL_DIR
from cascade_clip.errors import UserError


def standing_on(recipe: Recipe, clip: ClipSettings) -> Recipe:
    """The recipe with another CLIP."""
    model = recipe.model.model_copy(update={"clip": clip})
    return recipe.model_copy(update={"model": model})


def clip_path(clip: ClipSettings) -> Path | None:
    """The weights file or folder of a CLIP, there or not; None for the embedded one and published
    weights."""
    if clip.model.startswith(LOCAL_DIR):
        return Path(clip.model.removeprefix(LOCAL_DIR)).expanduser()
    path = Path(clip.pretrained or "").expanduser()
    known = path.is_file() or path.is_absolute() or is_weights_name(path)
    return path if clip.pretrained is not None and known else None


def with_absolute_clip(recipe: Recipe) -> Recipe:
    """The recipe with the whole path of a CLIP that lies in a file or folder."""
    clip = recipe.model.clip
    path = clip_path(clip)
    return recipe if path is None else standing_on(recipe, _at(clip, path))


def without_places(recipe: Recipe) -> Recipe:
    """The recipe for others: of the folders with its data and the model that it started from the
    names alone. Paths of a machine are of no use elsewhere, and tell about it."""
    data, train = recipe.data, recipe.train
    root = data.root and Path(data.root.name)
    start = train.start_from and Path(train.start_from.name)
    return recipe.model_copy(
        update={
            "data": data.model_copy(update={"root": root}),
            "train": train.model_copy(update={"start_from": start}),
        }
    )


def find_again(clip: ClipSettings, beside: Path, relative: str | None) -> ClipSettings:
    """A CLIP where it lay when its model was written, or else where it lies `relative` to the
    folder `beside`, if both were moved together.

    Raises `UserError` if it is in neither place.
    """
    path = clip_path(clip)
    if path is None or path.exists():
        return clip
    if relative is not None and (beside / relative).exists():
        return _at(clip, beside / relative)
    raise UserError(
        f"the CLIP that the model was trained on is not at {path} any more; say where it lies with "
        "--pretrained FILE (in Python: pretrained=)"
    )


def given_clip(clip: ClipSettings, pretrained: str, quick_gelu: bool | None) -> ClipSettings:
    """The CLIP of a model, with its weights from elsewhere: a file, a folder in open_clip's layout,
    a tag of open_clip, or any text that `parse_clip` takes.

    `quick_gelu` is the activation of the training, for files that don't show theirs.

    Raises `UserError` if there is no such file, and for a tag without an architecture.
    """
    path = Path(pretrained.removeprefix(LOCAL_DIR)).expanduser()
    if path.is_file():
        model = FROM_WEIGHTS if clip.whole else clip.model
        return ClipSettings(model=model, pretrained=str(path), quick_gelu=quick_gelu)
    if clip.whole or clip.model == FROM_WEIGHTS or path.is_dir() or "/" in pretrained:
        return parse_clip(pretrained)
    if is_weights_name(path):
        raise UserError(f"there is no weights file {path}")
    return ClipSettings(model=clip.model, pretrained=pretrained)


def _at(clip: ClipSettings, path: Path) -> ClipSettings:
    place = os.path.abspath(path)  # links stay: those of the hub's cache have names
    if clip.model.startswith(LOCAL_DIR):
        return ClipSettings(model=f"{LOCAL_DIR}{place}")
    return clip.model_copy(update={"pretrained": place})
