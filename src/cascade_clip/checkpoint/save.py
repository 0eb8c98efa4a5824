"""Writes trained models as folders."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from cascade_clip.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from cascade_clip.checkpoint.clip_files import clip_path, standing_on, with_absolute_clip
from cascade_clip.checkpoint.folder import ModelConfig, names_not_finite
from cascade_clip.checkpoint.stored_clip import store_clip, write_weights
from cascade_clip.clip.load import FrozenClip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.clip.weights import fingerprint
from cascade_clip.config import ClipSettings, Recipe
from cascade_clip.config.model import LOCAL_DIR
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_folder
from cascade_clip.model.fast.blocks import has_quick_gelu
from cascade_clip.model.network import SegmentationNetwork

CLIP_FOLDER = "clip"
"""Where a model saved in full holds its CLIP, in its own folder."""


def save_model(
    folder: Path,
    network: SegmentationNetwork,
    recipe: Recipe,
    classes: ClassSet,
    clip: FrozenClip,
    *,
    metrics: Mapping[str, float | None] | None = None,
    full: bool = False,
    card: str | None = None,
) -> Path:
    """Writes a model folder; an older model there is replaced only when the new one is complete.

    `clip` is the CLIP below the network; `full` stores it too. `card` is Markdown about the model,
    written to `README.md`.

    Raises `UserError` if the folder holds something else or can't be written, or if weights are
    not finite.
    """
    broken = names_not_finite(network.adapter_state_dict())
    if broken:
        raise UserError(
            f"training diverged: {broken[0]} is no longer finite, so the model is not written; "
            "lower train.lr"
        )
    # Training may have changed the CLIP itself (model.encoder.tuning): a stored one goes by the
    # weights that it has now.
    identity = fingerprint(clip.model.state_dict()) if full else clip.fingerprint
    templates = TEMPLATES[recipe.data.templates]
    config = describe_model(recipe, classes, templates, clip, folder, metrics, full=full)
    config = config.model_copy(update={"clip_fingerprint": identity})
    if folder.is_file() or (
        folder.exists() and not (folder / CONFIG_FILE).is_file() and any(folder.iterdir())
    ):
        raise UserError(f"{folder} exists and is no model folder; choose another place")

    def write(unfinished: Path) -> None:
        text = json.dumps(config.model_dump(mode="json"), indent=2, allow_nan=False)
        (unfinished / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        write_weights(unfinished / WEIGHTS_FILE, network.adapter_state_dict())
        if full:
            store_clip(unfinished / CLIP_FOLDER, clip)
        if card is not None:
            (unfinished / CARD_FILE).write_text(card, encoding="utf-8")

    try:
        write_folder(folder, write)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the model can't be written to {folder}: {error}") from error
    return folder


def describe_model(
    recipe: Recipe,
    classes: ClassSet | None,
    templates: tuple[str, ...],
    clip: FrozenClip,
    folder: Path,
    metrics: Mapping[str, float | None] | None = None,
    *,
    full: bool = False,
) -> ModelConfig:
    """What a model's files in `folder` say about it; metrics that are not finite become None."""
    if full:
        recipe = standing_on(recipe, ClipSettings(model=f"{LOCAL_DIR}{CLIP_FOLDER}"))
    else:
        recipe = with_absolute_clip(recipe)
    path = None if full else clip_path(recipe.model.clip)
    return ModelConfig(
        recipe=recipe.model_dump(mode="json"),
        classes=() if classes is None else classes.names,
        unseen=() if classes is None else classes.unseen,
        prompts=() if classes is None else classes.in_prompts,
        templates=templates,
        clip_fingerprint=clip.fingerprint,
        clip_beside=None if path is None else os.path.relpath(path, folder),
        quick_gelu=has_quick_gelu(clip.model.visual.transformer.resblocks[0]),
        trunk=CLIP_FOLDER if full else None,
        metrics={
            k: v if v is not None and math.isfinite(v) else None for k, v in (metrics or {}).items()
        },
    )
