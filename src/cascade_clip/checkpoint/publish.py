"""Model folders for others: with a card, and with the CLIP where it can't be had elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cascade_clip.checkpoint.card import model_card
from cascade_clip.checkpoint.clip_files import without_places
from cascade_clip.checkpoint.folder import Bundle, save_model
from cascade_clip.checkpoint.hub import upload_model
from cascade_clip.config import ClipSettings
from cascade_clip.config.model import LOCAL_DIR


def save_with_card(
    bundle: Bundle,
    folder: Path,
    *,
    repo_id: str | None = None,
    full: bool | None = None,
    licence: str | None = None,
) -> Path:
    """Writes a model folder with a model card; see `Segmenter.save_pretrained`.

    Raises `UserError` if the folder holds something else or can't be written.
    """
    if full is None:
        full = _is_private(bundle.recipe.model.clip)
    card = model_card(
        bundle.recipe,
        bundle.classes,
        bundle.clip,
        bundle.metrics,
        repo_id=repo_id,
        licence=licence,
        has_clip=full,
    )
    return save_model(
        folder,
        bundle.network,
        without_places(bundle.recipe),
        bundle.classes,
        bundle.clip,
        metrics=bundle.metrics,
        full=full,
        card=card,
    )


def publish_model(
    bundle: Bundle,
    repo_id: str,
    *,
    private: bool = False,
    full: bool | None = None,
    licence: str | None = None,
) -> str:
    """Uploads what `save_with_card` writes to the Hugging Face hub, and gives its address.

    Raises `UserError` if the hub refuses or can't be reached.
    """
    with tempfile.TemporaryDirectory() as parent:
        folder = save_with_card(
            bundle, Path(parent) / "model", repo_id=repo_id, full=full, licence=licence
        )
        return upload_model(folder, repo_id, private=private)


def _is_private(clip: ClipSettings) -> bool:
    """Whether a CLIP lies in files of this machine."""
    local = clip.pretrained is not None and Path(clip.pretrained).exists()
    return clip.model.startswith(LOCAL_DIR) or local
