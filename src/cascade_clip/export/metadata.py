"""What an exported file says about itself, as JSON within the file."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from cascade_clip.checkpoint.folder import ModelConfig
from cascade_clip.config import Normalisation, Settings
from cascade_clip.config.wrong_values import first_wrong_value
from cascade_clip.errors import UserError
from cascade_clip.export.request import ExportPrecision
from cascade_clip.support.plain_values import named, parse_json

METADATA_KEY = "cascade_clip"
FORMAT_VERSION = 3


class ExportedConfig(Settings):
    """Stored under `cascade_clip` in the metadata of an ONNX file, and in the extra file of this
    name in a torch.export archive."""

    format_version: int = FORMAT_VERSION
    precision: ExportPrecision
    patch_size: tuple[int, int]
    """(height, width); pictures have multiples of these."""
    image_size: tuple[int, int] | None = None
    """(height, width) that all pictures have; None: any."""
    normalisation: Normalisation
    """Of pictures."""
    classes: tuple[tuple[str, ...], ...] | None = None
    """Fixed classes, each with its synonyms: the graph's channels, one for each name. None: text
    embeddings and offsets are inputs of the graph."""
    offsets: tuple[float, ...] | None = None
    """What is added to the score of each name, for fixed classes."""
    model: ModelConfig
    """As in the `config.json` of a model folder. `model.recipe.inference` holds `crop`,
    `stride` and `short_side`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of fixed classes, in the order of the channels."""
        return tuple(name for group in self.classes or () for name in group)


def to_json(config: ExportedConfig) -> str:
    return json.dumps(config.model_dump(mode="json"), ensure_ascii=False)


def from_json(text: str | None, path: Path) -> ExportedConfig:
    """Raises `UserError` for a file that `cascade-clip export` of this version did not write."""
    if not text:
        raise UserError(f"{path} was not written by cascade-clip export: it holds no description")
    source = f"the description in {path}"
    values = named(parse_json(text, source), source)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version!r}, this program reads {FORMAT_VERSION}; export "
            "the model again"
        )
    try:
        return ExportedConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: its description is wrong: {first_wrong_value(error)}") from error
