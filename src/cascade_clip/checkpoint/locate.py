"""Where models lie: folders, runs, the package itself, exported files, the Hugging Face hub.

Imports nothing heavy, so that a mistyped model is reported at once.
"""

from __future__ import annotations

import os
import re
from importlib.resources import files
from itertools import islice
from pathlib import Path

from cascade_clip.checkpoint import CONFIG_FILE
from cascade_clip.checkpoint.hub import fetch_model
from cascade_clip.config.components import recipe_in_words
from cascade_clip.config.training_free import training_free_kinds
from cascade_clip.errors import UserError
from cascade_clip.support.messages import nearest

EMBEDDED = "picturebook"
ONNX_SUFFIX, TORCH_EXPORT_SUFFIX = ".onnx", ".pt2"
RUNS = Path("runs")
"""Where runs lie by default."""
MOST_LISTED = 1000
"""Entries of a folder that are looked at for a model which may have been meant."""

USUAL_CLIP = "ViT-B-16/openai"
"""What messages propose for photographs."""

_CLIP_NAME = re.compile(r"ViT-?[\dA-Za-z]{1,4}[-/]\d", re.IGNORECASE)
_CLIP_WITH_TAG = re.compile(r"[^/]+/\w*[A-Za-z]\w*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def is_exported(model: str | Path) -> bool:
    """Whether a name is that of a file of `cascade-clip export`."""
    return Path(model).suffix in (ONNX_SUFFIX, TORCH_EXPORT_SUFFIX)


def is_hub_id(model: str | Path) -> bool:
    """Whether a name is `organisation/model` on the Hugging Face hub, perhaps with `@revision`.

    It is a path where its first part is a folder here, or `runs`: `runs/mistyped` is not looked
    for elsewhere.
    """
    text = str(model)
    first = Path(text.split("/")[0])
    return bool(_HUB_ID.fullmatch(text)) and not (first.is_dir() or first == RUNS)


def locate_model(model: str | Path) -> Path:
    """The folder of a model, as `find_model` finds it, or an exported file.

    Raises `UserError` if there is none.
    """
    if not is_exported(model):
        return find_model(model)
    if not Path(model).is_file():
        raise UserError(f"no such file: {model}{_meant(Path(model))}")
    return Path(model)


def check_trained(model: str | Path, command: str) -> None:
    """As `locate_model`, for a `command` that can't work with an exported file."""
    if is_exported(model):
        raise UserError(
            f"{model} is an exported file; {command} needs the model it came from: a model or run "
            "folder"
        )
    locate_model(model)


def check_checkpoint(path: Path) -> None:
    """Raises `UserError` if there is no file of a released checkpoint."""
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}; give a .pth file")


def check_new(out: Path) -> None:
    """Raises `UserError` if there is something already where a model is to be written."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists already; choose another place, or remove it first")


def find_model(model: str | Path, revision: str | None = None) -> Path:
    """The model folder at a path: itself, `model/` within a run folder, or the embedded one; or a
    copy of the one on the hub, at a `revision` (branch, tag or commit) of it, which may also stand
    in the name: `organisation/model@revision`.

    Raises `UserError` if there is none; of a CLIP it says what that is used with.
    """
    _check_is_model(str(model))
    if is_hub_id(model):
        name, _, named = str(model).partition("@")
        if named and revision not in (None, named):
            raise UserError(f"{model} names another revision than {revision}; give one of them")
        try:
            return fetch_model(name, revision or named or None)
        except UserError as error:
            raise UserError(f"{error}{_recipe_hint(name)}") from error
    if revision is not None:
        raise UserError(
            f"a revision is for models on the hub (organisation/model), not for {model}"
        )
    path = Path(model)
    if str(path) == EMBEDDED and not path.exists():
        path = Path(str(files("cascade_clip"))) / "checkpoint" / "embedded" / EMBEDDED
    for place in (path, path / "model"):
        if (place / CONFIG_FILE).is_file():
            return place
    if (path / "checkpoints").is_dir():
        raise UserError(
            f"the run {path} has no finished model; go on with: "
            f"cascade-clip train {path / 'recipe.yaml'} --out {path} --resume"
        )
    raise UserError(
        f"no model in {path}: {CONFIG_FILE} is missing; give a model or run folder, "
        f"organisation/model of the Hugging Face hub, or '{EMBEDDED}' for the embedded model; for "
        f"photographs without a trained model: --clip {USUAL_CLIP}{_meant(path)}"
    )


def _check_is_model(name: str) -> None:
    """Raises `UserError` for a CLIP, which people take for a model."""
    if _CLIP_NAME.match(name) and not Path(name).exists():
        clip = name if _CLIP_WITH_TAG.fullmatch(name) else f"{name.replace('/', '-')}/openai"
        raise UserError(f"'{name}' is a CLIP, not a trained model; use it with: --clip {clip}")


def _meant(path: Path) -> str:
    """The end of a message about a model that isn't there: one here with a name like it, if any."""
    here = [*_models_in(RUNS), *_models_in(path.parent), EMBEDDED]
    models = {Path(place).name: place for place in here if place != str(path)}
    found = nearest(path.name, models) or nearest(str(path).replace("/", "-"), models)
    if found is not None:
        return f"; did you mean '{models[found]}'?"
    return _recipe_hint(str(path))


def _recipe_hint(name: str) -> str:
    """The end of a message about a model that isn't there, if a recipe has its name."""
    recipe = recipe_in_words(name)
    if recipe is None:
        return ""
    method = recipe.partition("/")[0]
    if method in training_free_kinds():
        return f"; {method} needs no training: --clip {USUAL_CLIP} --method {method}"
    return f"; to train one: cascade-clip train {recipe}"


def _models_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [folder / entry.name for entry in islice(entries, MOST_LISTED)]
    except OSError:
        return []
    return sorted(str(place) for place in names if _may_be_model(place))


def _may_be_model(place: Path) -> bool:
    if is_exported(place):
        return place.is_file()
    return (place / CONFIG_FILE).is_file() or (place / "model" / CONFIG_FILE).is_file()
