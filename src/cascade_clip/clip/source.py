"""Which CLIP a text names, as options and functions take it. Imports nothing heavy."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path

from cascade_clip.config import ClipSettings
from cascade_clip.config.model import EMBEDDED_CLIPS, FROM_WEIGHTS, LOCAL_DIR
from cascade_clip.errors import UserError

CONFIG_FILE = "open_clip_config.json"
FORMS = (
    "a CLIP is ARCHITECTURE/TAG of open_clip (ViT-B-16/openai), a weights file, ARCHITECTURE:FILE, "
    f"or {LOCAL_DIR}FOLDER"
)
_WEIGHTS_ENDINGS = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}


def parse_clip(source: str | Path) -> ClipSettings:
    """The CLIP that `source` names, in one of these forms:

    - `ViT-B-16/openai`: architecture and tag of open_clip, perhaps with `@REVISION`;
    - `weights.pt`: a file, whose sizes tell the architecture; `ViT-B-16:weights.pt` says which;
    - `local-dir:FOLDER`, or a folder alone: open_clip's folder layout;
    - `picturebook`, `picturebook-dense`: the embedded ones.

    Files are looked for here; whether an architecture and a tag exist is seen when they are loaded.

    Raises `UserError` for a text of another form and for a file or folder that isn't there.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(f"{FORMS}; got {reprlib.repr(source)}")
    source = os.fspath(source).strip()
    path = Path(source).expanduser()
    if source in EMBEDDED_CLIPS:
        return ClipSettings(model=source)
    if source.startswith(LOCAL_DIR):
        folder = Path(source.removeprefix(LOCAL_DIR)).expanduser()
        if not os.path.isdir(folder):
            raise UserError(f"there is no folder {folder}; {FORMS}")
        return ClipSettings(model=f"{LOCAL_DIR}{folder}")
    if os.path.isfile(path / CONFIG_FILE):  # unlike Path.is_file, for a text of any length
        return ClipSettings(model=f"{LOCAL_DIR}{path}")
    if os.path.isfile(path):
        return ClipSettings(model=FROM_WEIGHTS, pretrained=str(path))
    name, colon, file = source.partition(":")
    if colon and name and file:
        return ClipSettings(model=name, pretrained=str(_existing(Path(file).expanduser())))
    if is_weights_name(path) or path.is_absolute() or source.startswith("."):
        _existing(path)
    return _published(source)


def is_weights_name(path: Path) -> bool:
    """Whether a file is called as weights are."""
    return path.suffix in _WEIGHTS_ENDINGS


def _existing(path: Path) -> Path:
    if os.path.isdir(path):
        raise UserError(f"the folder {path} holds no CLIP: {CONFIG_FILE} is missing; {FORMS}")
    if not os.path.isfile(path):
        raise UserError(f"there is no weights file {path}; {FORMS}")
    return path


def _published(source: str) -> ClipSettings:
    name, at, revision = source.partition("@")
    model, _, tag = name.rpartition("/")
    if not model or tag.isdigit():  # ViT-B-16, or ViT-B/16 as OpenAI wrote it
        model, tag = name, ""
    model = model.replace("/", "-")
    if model and not tag:
        raise UserError(
            f"'{source}' names no weights; with those of OpenAI it is {model}/openai. {FORMS}"
        )
    if not model or (at and not revision):
        raise UserError(f"'{source}' names no CLIP; {FORMS}")
    return ClipSettings(model=model, pretrained=f"{tag}{at}{revision}")
