"""Class names x prompt templates -> text embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.clip.load import FrozenClip
from cascade_clip.errors import UserError

SINGLE_TEMPLATE = ("a photo of a {}",)
"""The one template of ZegCLIP and Cascade-CLIP on VOC."""

SCENE_TEMPLATES = (
    "a photo of a {}.",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "a {} in the scene.",
    "a photo of a {} in the scene.",
    "There is a {} in the scene.",
    "There is the {} in the scene.",
    "This is a {} in the scene.",
    "This is the {} in the scene.",
    "This is one {} in the scene.",
)
"""The 15 templates of COCO-Stuff and PASCAL Context."""

TEMPLATES = {"single": SINGLE_TEMPLATE, "many": SCENE_TEMPLATES}


def encode_classes(
    clip: FrozenClip, names: Sequence[str], templates: Sequence[str] = SINGLE_TEMPLATE
) -> Tensor:
    """Text embeddings T (C, d) of C class names: float32, L2-normalised.

    Each template's embedding is normalised, their mean is normalised again, as in ZegCLIP.
    What was encoded once is kept on `clip`, so a changed list of names costs only its new names.

    Raises `UserError` for an empty list, a name without any token, or one that is too long.
    """
    if not names:
        raise UserError("no class names given; give at least one, e.g. --classes 'cat, grass'")
    key = cache_key(templates)
    new = [name for name in dict.fromkeys(names) if (name, key) not in clip.text_cache]
    _check_names(clip, new, templates)
    for name, embedding in zip(new, _encode(clip, new, templates), strict=True):
        clip.text_cache[name, key] = embedding
    return torch.stack([clip.text_cache[name, key] for name in names])  # (C, d)


def cache_key(templates: Sequence[str]) -> str:
    """What stands for the templates in `FrozenClip.text_cache`, beside a name."""
    return "\n".join(templates)


def _encode(clip: FrozenClip, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    texts = [template.format(name) for name in names for template in templates]
    chunks = [clip.encode_text(texts[i : i + 256]) for i in range(0, len(texts), 256)]
    if not chunks:
        return torch.empty(0, clip.embed_dim)
    embeddings = F.normalize(torch.cat(chunks), dim=-1)  # (C * templates, d)
    mean = embeddings.unflatten(0, (len(names), len(templates))).mean(dim=1)  # (C, d)
    return F.normalize(mean, dim=-1)


def _check_names(clip: FrozenClip, names: Sequence[str], templates: Sequence[str]) -> None:
    if not names:
        return
    empty = clip.tokenize([""])  # (1, context_length)
    unread = (clip.tokenize(list(names)) == empty).all(dim=1)  # (C,)
    texts = clip.tokenize([template.format(name) for name in names for template in templates])
    # The tokenizer cuts silently; a cut text has no padding left at the end of its row.
    cut = (texts[:, -1] != empty[0, -1]).unflatten(0, (len(names), -1)).any(dim=1)  # (C,)
    for name, no_word, too_long in zip(names, unread.tolist(), cut.tolist(), strict=True):
        shown = name if len(name) <= 40 else name[:37] + "..."
        if no_word:
            raise UserError(f"class name '{shown}' holds no word that the text encoder can read")
        if too_long:
            raise UserError(
                f"class name '{shown}' is too long: with its template it exceeds the text "
                f"encoder's {texts.shape[1]} tokens; shorten it"
            )
