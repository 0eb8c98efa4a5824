"""Model folders for others: with a card, and with the CLIP where it can't be had elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from cascade_clip.checkpoint.card import model_card
from cascade_clip.checkpoint.clip_files import without_places
from cascade_clip.checkpoint.hub import upload_model
from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import ClipSettings, Recipe
from cascade_clip.config.model import LOCAL_DIR
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import MaskNetwork


class Publishable:
    """Saving and publishing, for a `Segmenter`, which sets these attributes."""

    network: MaskNetwork
    clip: object
    trained_classes: ClassSet | None
    recipe: Recipe
    metrics: Mapping[str, float | None]
    precision: str

    def save_pretrained(
        self, folder: str | Path, *, full: bool | None = None, licence: str | None = None
    ) -> Path:
        """Writes a model folder with a model card, for `from_pretrained`.

        Args:
            full: whether to store the CLIP, too; None: only one that can't be had by its name.
            licence: of the weights, as the Hugging Face hub calls it, e.g. "apache-2.0".

        Raises `UserError` if the folder holds something else or can't be written, and for models in
        lower precision and exported ones.
        """
        return self._save(Path(folder), None, full, licence)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        full: bool | None = None,
        licence: str | None = None,
    ) -> str:
        """Publishes what `save_pretrained` writes as `organisation/model` on the Hugging Face hub,
        and gives its address. You have to be logged in (`hf auth login`).

        Raises `UserError` as `save_pretrained`, and if the hub refuses or can't be reached.
        """
        with tempfile.TemporaryDirectory() as parent:
            folder = self._save(Path(parent) / "model", repo_id, full, licence)
            return upload_model(folder, repo_id, private=private)

    def _save(
        self, folder: Path, repo_id: str | None, full: bool | None, licence: str | None
    ) -> Path:
        network, clip, classes, recipe = self.network, self.clip, self.trained_classes, self.recipe
        if (
            not isinstance(network, SegmentationNetwork)
            or not isinstance(clip, FrozenClip)
            or classes is None
            or self.precision != "fp32"
        ):
            raise UserError(
                "only models that were loaded from a model folder in precision fp32 can be saved"
            )
        if full is None:
            full = _is_private(recipe.model.clip)
        card = model_card(
            recipe, classes, clip, self.metrics, repo_id=repo_id, licence=licence, has_clip=full
        )
        return save_model(
            folder,
            network,
            without_places(recipe),
            classes,
            clip,
            metrics=self.metrics,
            full=full,
            card=card,
        )


def _is_private(clip: ClipSettings) -> bool:
    """Whether a CLIP lies in files of this machine."""
    local = clip.pretrained is not None and Path(clip.pretrained).exists()
    return clip.model.startswith(LOCAL_DIR) or local
