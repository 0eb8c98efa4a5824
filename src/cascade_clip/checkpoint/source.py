"""Which model a command was asked for: a trained one, or any CLIP with a method that needs no
training. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_clip.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from cascade_clip.checkpoint.locate import EMBEDDED, locate_model
from cascade_clip.clip.source import parse_clip
from cascade_clip.config.model import EMBEDDED_CLIPS, LOCAL_DIR
from cascade_clip.config.recipes import parse_recipe
from cascade_clip.config.training_free import DEFAULT_METHOD, training_free_kinds
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean
from cascade_clip.support.plain_values import named, read_json

METHODS = tuple(kind for kind in training_free_kinds() if kind != "last-block")
"""Those with a name in the literature, the best one first."""


@dataclass(frozen=True)
class ModelSource:
    """Plain values, which travel to other processes and machines."""

    model: str = EMBEDDED
    """A trained model as `Segmenter.from_pretrained` takes it; counts without `clip` only."""
    clip: str | None = None
    """A CLIP as `parse_clip` takes it."""
    method: str = DEFAULT_METHOD
    """The training-free method on it."""
    pretrained: str | None = None
    """Where the CLIP of the trained model lies; None: where it lay in training."""

    @property
    def name(self) -> str:
        """For people, without the folder where it lies."""
        if self.clip is None:
            return Path(self.model).name
        place = Path(self.clip.removeprefix(LOCAL_DIR))
        return f"{self.method} on {place.name if place.exists() else self.clip}"

    @property
    def is_drawn(self) -> bool:
        """Whether it stands on an embedded CLIP, which knows drawn scenes only; False for an
        exported file, which is not opened for it. Raises `UserError` as `locate_model`."""
        if self.clip is not None:
            return self.clip in EMBEDDED_CLIPS
        place = locate_model(self.model)
        if place.is_file():
            return False
        recipe = named(read_json(place / CONFIG_FILE), str(place / CONFIG_FILE)).get("recipe")
        clip = parse_recipe(recipe).model.clip if isinstance(recipe, dict) else None
        return clip is not None and clip.embedded

    def absolute(self) -> ModelSource:
        """The same, for workers in other folders and on other machines."""
        if self.clip is not None:
            return replace(self, clip=_absolute_clip(self.clip))
        path, weights = Path(self.model), self.pretrained
        return replace(
            self,
            model=str(path.resolve()) if path.exists() else self.model,
            pretrained=None if weights is None else _absolute_clip(weights),
        )

    def files(self) -> Iterator[Path]:
        """The files here that decide what it computes; none of published weights."""
        if self.clip is None:
            place = locate_model(self.model)
            yield from [place] if place.is_file() else _in_folder(place)
            return
        settings = parse_clip(self.clip)
        if settings.model.startswith(LOCAL_DIR):
            folder = Path(settings.model.removeprefix(LOCAL_DIR))
            yield from sorted(path for path in folder.iterdir() if path.is_file())
        elif settings.pretrained is not None and Path(settings.pretrained).is_file():
            yield Path(settings.pretrained)


def read_source(
    model: str, clip: str | None, method: str | None, pretrained: str | None = None
) -> ModelSource:
    """What --model, --clip, --method and --pretrained say.

    Raises `UserError` if both a model and a CLIP are given, for a method without a CLIP, an unknown
    one, a model or file that isn't there, and weights without a model to put them under.
    """
    check_pretrained(model, clip, pretrained)
    if clip is None:
        if method is not None:
            raise UserError(
                f"--method {method} needs a CLIP; add --clip, e.g. --clip ViT-B-16/openai"
            )
        locate_model(model)
        return ModelSource(model, pretrained=pretrained)
    if model != EMBEDDED:
        raise UserError(
            f"--model {model} is a trained model, --clip {clip} a CLIP without training; give one "
            "of them"
        )
    method = DEFAULT_METHOD if method is None else method
    if method not in METHODS:
        raise UserError(
            f"--method is {', '.join(METHODS)}; got '{method}'{did_you_mean(method, METHODS)}"
        )
    parse_clip(clip)
    return ModelSource(EMBEDDED, clip, method)


def check_pretrained(model: str, clip: str | None, pretrained: str | None) -> None:
    """Raises `UserError` if --pretrained has no trained model whose CLIP it could be."""
    if pretrained is None or (clip is None and model != EMBEDDED):
        return
    if clip is not None:
        weights = f"{clip}/{pretrained}" if re.fullmatch(r"[\w-]+", clip) else clip
        raise UserError(
            f"--pretrained is for trained models; --clip says which weights: --clip {weights}"
        )
    weights = f"ViT-B-16/{pretrained}" if re.fullmatch(r"\w+", pretrained) else pretrained
    raise UserError(
        "--pretrained says where the CLIP of a trained model lies, and the embedded model has its "
        f"own; to segment with CLIP alone: --clip {weights}"
    )


def _in_folder(place: Path) -> list[Path]:
    return [place / CONFIG_FILE, place / WEIGHTS_FILE]


def _absolute_clip(clip: str) -> str:
    prefix, path = "", clip
    if clip.startswith(LOCAL_DIR):
        prefix, path = LOCAL_DIR, clip.removeprefix(LOCAL_DIR)
    elif ":" in clip:
        architecture, _, path = clip.partition(":")
        prefix = f"{architecture}:"
    place = Path(path).expanduser()
    return f"{prefix}{place.resolve()}" if place.exists() else clip
