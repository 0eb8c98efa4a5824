"""Where models lie: folders, runs, the package itself, exported files, the Hugging Face hub.

Imports nothing heavy, so that a mistyped model is told at once.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from cascade_clip.errors import UserError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
EMBEDDED = "picturebook"
ONNX_SUFFIX, TORCH_EXPORT_SUFFIX = ".onnx", ".pt2"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_exported(model: str | Path) -> bool:
    """Whether a name is that of a file of `cascade-clip export`."""
    return Path(model).suffix in (ONNX_SUFFIX, TORCH_EXPORT_SUFFIX)


def is_hub_id(model: str | Path) -> bool:
    """Whether a name is `organisation/model` on the Hugging Face hub.

    It is a path where its first part is a folder here: `runs/mistyped` is not looked for elsewhere.
    """
    text = str(model)
    return bool(_HUB_ID.fullmatch(text)) and not Path(text.split("/")[0]).is_dir()


def check_model(model: str | Path) -> None:
    """Raises `UserError` if there is no such model here; what may lie on the hub passes."""
    if is_exported(model):
        if not Path(model).is_file():
            raise UserError(f"no such file: {model}")
    elif not is_hub_id(model):
        find_model(model)


def find_model(model: str | Path, revision: str | None = None) -> Path:
    """The model folder at a path: itself, `model/` within a run folder, or the embedded one; or a
    copy of the one on the hub, at a `revision` (branch, tag or commit) of it.

    Raises `UserError` if there is none.
    """
    if is_hub_id(model):
        from cascade_clip.checkpoint.hub import fetch_model

        return fetch_model(str(model), revision)
    if revision is not None:
        raise UserError(
            f"a revision is for models on the hub (organisation/model), not for {model}"
        )
    path = Path(model)
    if str(model) == EMBEDDED and not path.exists():
        path = Path(str(files("cascade_clip"))) / "adapters" / EMBEDDED
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
        f"organisation/model of the Hugging Face hub, or '{EMBEDDED}' for the embedded model"
    )
