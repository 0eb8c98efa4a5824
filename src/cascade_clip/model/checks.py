"""Checks of what networks are given, before they try to work with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cascade_clip.config import EncoderSettings
from cascade_clip.errors import UserError


def check_image(image: Tensor, patch_size: tuple[int, int]) -> None:
    """Raises `UserError` unless `image` is (B, 3, H, W) with sides divisible by the patch size."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise UserError(f"images must be (B, 3, H, W), got {tuple(image.shape)}")
    for side, length, patch in zip(("height", "width"), image.shape[2:], patch_size, strict=True):
        if length % patch or length == 0:
            below, above = length // patch * patch, (length // patch + 1) * patch
            near = f"{below} or {above}" if below else f"{above}"
            raise UserError(
                f"image {side} {length} is not a multiple of the patch size {patch}; the nearest "
                f"that works: {near}"
            )


def check_text(text_embeddings: Tensor, embed_dim: int) -> None:
    """Raises `UserError` unless `text_embeddings` are (C, d) or (C, K, d) of that width d."""
    if text_embeddings.ndim not in (2, 3) or text_embeddings.shape[-1] != embed_dim:
        raise UserError(
            f"text embeddings must be (classes, {embed_dim}) or (classes, prompts, "
            f"{embed_dim}) for this CLIP, got {tuple(text_embeddings.shape)}; encode the class "
            "names with the same CLIP"
        )


def check_form(visual: Any) -> None:
    if not hasattr(visual, "conv1") or not hasattr(
        getattr(visual, "transformer", None), "resblocks"
    ):
        raise UserError(
            f"the image encoder is a {type(visual).__name__}; expected open_clip's "
            "VisionTransformer, as in ViT-B-16 or ViT-L-14"
        )
    if visual.attn_pool is not None or visual.pool_type != "tok" or visual.proj is None:
        raise UserError(
            "this CLIP pools its image embedding from the patches; only those that read it from "
            "the class token are supported, as ViT-B-16 and ViT-L-14 do"
        )


def check_depth(depth: int, settings: EncoderSettings, level_blocks: tuple[int, ...]) -> None:
    beyond = [block for block in sorted(level_blocks) if block > depth]
    if beyond:
        raise UserError(
            f"stages name block {', '.join(map(str, beyond))}, but the image encoder has {depth} "
            f"blocks; use blocks 1 to {depth}"
        )
    if settings.tuned_blocks > depth:
        raise UserError(
            f"tuned_blocks is {settings.tuned_blocks}, but the image encoder has {depth} blocks"
        )
