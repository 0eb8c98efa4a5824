"""What a released checkpoint says about itself: sizes from shapes, settings from its config.

The config holds leftovers that mean nothing (`num_classes=150`, `channels=768`) and leaves out what
has a default in the released classes (12 vision heads, 8 decoder heads); both are minded here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from torch import Tensor

from cascade_clip.checkpoint.released.classes import Overrides, Templates
from cascade_clip.checkpoint.released.config import (
    Config,
    index_list,
    rgb_values,
    section,
    square_side,
)
from cascade_clip.checkpoint.released.keys import (
    DEEP_PROMPTS,
    FIRST_PROMPTS,
    LOSS_BUFFER,
    TEXT_PREFIX,
    ReleasedSizes,
)
from cascade_clip.config import IMAGENET, RGB, EncoderSettings, ModelSettings
from cascade_clip.config.heads import CrossAttentionSettings
from cascade_clip.errors import UserError

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """Sliding windows in pixels; normalisation of RGB values in [0, 1]."""

    crop: int
    stride: int
    mean: RGB
    std: RGB


def sizes(state: State, config: Config) -> ReleasedSizes:
    """Counts of blocks, levels and decoders, mostly from names and shapes of the weights."""
    decoders = "decode_head.cascade_decoders."
    stages = _count(state, decoders) or 1
    first = f"{decoders}0" if stages > 1 else "decode_head.decoder_1"
    if LOSS_BUFFER in state:
        loss_classes = state[LOSS_BUFFER].numel() - 1
    else:
        loss_classes = len(section(config, "model", "decode_head").get("seen_idx", ()))
    found = ReleasedSizes(
        depth=_count(state, "backbone.transformer.resblocks."),
        inner_levels=_count(state, "backbone.ln_layers."),
        stages=stages,
        decoder_layers=_count(state, f"{first}.layers."),
        embed_dim=_shape(state, "backbone.proj", 2)[1],
        text_depth=_count(state, f"{TEXT_PREFIX}transformer.resblocks."),
        loss_classes=loss_classes,
    )
    if not found.depth or not found.decoder_layers:
        raise UserError(
            "the checkpoint has no transformer blocks or no decoder layers: it is neither a "
            "Cascade-CLIP nor a ZegCLIP checkpoint"
        )
    return found


def vision(
    state: State, sizes: ReleasedSizes, config: Config, overrides: Overrides
) -> dict[str, int]:
    """The image encoder, as fields of open_clip's `CLIPVisionCfg`."""
    width, _, patch, _ = _shape(state, "backbone.conv1.weight", 4)
    positions = _shape(state, "backbone.positional_embedding", 2)[0] - 1
    side = math.isqrt(positions)
    if side * side != positions or not positions or not patch:
        raise UserError(f"the checkpoint's {positions} patch positions are not a square grid")
    heads = overrides.vision_heads or section(config, "model", "backbone").get("heads", 12)
    return {
        "layers": sizes.depth,
        "width": width,
        "head_width": _divide(width, heads, "vision heads (give --vision-heads)"),
        "patch_size": patch,
        "image_size": side * patch,
    }


def text(
    state: State, sizes: ReleasedSizes, config: Config, overrides: Overrides
) -> dict[str, int]:
    """The text encoder, as fields of open_clip's `CLIPTextCfg`."""
    vocabulary, width = _shape(state, f"{TEXT_PREFIX}token_embedding.weight", 2)
    heads = overrides.text_heads or section(config, "model", "text_encoder").get(
        "transformer_heads", 1 if width % 8 else 8
    )
    _divide(width, heads, "text heads (give --text-heads)")
    return {
        "context_length": _shape(state, f"{TEXT_PREFIX}positional_embedding", 2)[0],
        "vocab_size": vocabulary,
        "width": width,
        "heads": heads,
        "layers": sizes.text_depth,
    }


def settings(
    state: State, sizes: ReleasedSizes, stored_grid: int, config: Config, overrides: Overrides
) -> ModelSettings:
    """The method: Cascade-CLIP's or ZegCLIP's released settings at this checkpoint's sizes."""
    first, prompts, width = _shape(state, FIRST_PROMPTS, 3)
    deep = _shape(state, DEEP_PROMPTS, 3)
    if (first, *deep) != (1, sizes.depth - 1, prompts, width) or not prompts:
        raise UserError(
            f"the checkpoint has prompts of shapes {(first, prompts, width)} and {deep} for "
            f"{sizes.depth} blocks; only deep prompts, equally many in all blocks, can be read"
        )
    head = section(config, "model", "decode_head")
    decoder_heads = overrides.decoder_heads or head.get("num_heads", 8)
    _divide(sizes.embed_dim, decoder_heads, "decoder heads (give --decoder-heads)")
    return ModelSettings(
        encoder=EncoderSettings(
            prompts=prompts, class_embedding_twice=True, stored_grid=stored_grid
        ),
        head=CrossAttentionSettings(
            stages=_stages(state, sizes, config, overrides),
            aggregation="nga" if sizes.cascade else "last",
            decoder_layers=sizes.decoder_layers,
            decoder_heads=decoder_heads,
        ),
    )


def preprocessing(config: Config, image_size: int, overrides: Overrides) -> Preprocessing:
    """Sliding windows (by default of the training size, 426 px steps for 512) and normalisation."""
    test = section(config, "model", "test_cfg") or section(config, "test_cfg")
    crop = overrides.crop or square_side(test.get("crop_size", image_size), "crop_size")
    stride = overrides.stride or square_side(test.get("stride", crop * 426 // 512), "stride")
    norm = _normalisation(config)
    return Preprocessing(
        crop,
        stride,
        mean=rgb_values(norm["mean"], "mean") if "mean" in norm else IMAGENET.mean,
        std=rgb_values(norm["std"], "std") if "std" in norm else IMAGENET.std,
    )


def _normalisation(config: Config) -> Config:
    """mmcv's `img_norm_cfg`, or mmengine's `data_preprocessor`, each with its own default for the
    order of colours (OpenCV reads BGR)."""
    norm = section(config, "img_norm_cfg")
    rgb = norm.get("to_rgb", True)
    if not norm:
        norm = section(config, "model", "data_preprocessor") or section(config, "data_preprocessor")
        rgb = norm.get("bgr_to_rgb", not norm)
    if not rgb:
        raise UserError("the checkpoint was trained on BGR pictures (to_rgb=False); RGB is offered")
    return norm


def templates(config: Config, overrides: Overrides) -> Templates:
    """Prompt templates, by the file of text embeddings: `..._single.npy`, `..._multi.npy`."""
    file = PurePosixPath(str(section(config, "model").get("load_text_embedding", "")))
    return overrides.templates or ("many" if file.stem.endswith("multi") else "single")


def _stages(
    state: State, sizes: ReleasedSizes, config: Config, overrides: Overrides
) -> tuple[tuple[int, ...], ...]:
    if not sizes.cascade:
        if overrides.inner_blocks:
            raise UserError(
                "a ZegCLIP checkpoint reads the last block only; leave inner blocks out"
            )
        return ((sizes.depth,),)
    blocks = overrides.inner_blocks
    if blocks is None:
        indices = section(config, "model", "backbone").get("out_indices", ())
        # In whatever order they are listed, the released encoder meets them in ascending order.
        blocks = tuple(sorted({index + 1 for index in index_list(indices, "out_indices")}))
    if any(not 1 <= block < sizes.depth for block in blocks) or list(blocks) != sorted(set(blocks)):
        raise UserError(
            f"inner blocks {list(blocks)} of the checkpoint must ascend between 1 and "
            f"{sizes.depth - 1}; give --inner-blocks"
        )
    lengths = [
        _shape(state, f"decode_head.weights_s{stage + 1}", 1)[0]
        for stage in range(sizes.stages - 1)
    ]
    if len(blocks) != sum(lengths) or len(blocks) != sizes.inner_levels:
        raise UserError(
            f"the checkpoint has {sizes.inner_levels} inner levels in stages of {lengths}, but "
            f"blocks {list(blocks)} are named; give --inner-blocks"
        )
    stages, start = [], 0
    for length in lengths:
        stages.append(blocks[start : start + length])
        start += length
    return (*stages, (sizes.depth,))


def _count(state: State, prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _shape(state: State, name: str, dims: int) -> tuple[int, ...]:
    if name not in state or state[name].ndim != dims:
        raise UserError(
            f"the checkpoint has no weight '{name}' with {dims} dimensions: it is neither a "
            "Cascade-CLIP nor a ZegCLIP checkpoint with deep prompts"
        )
    return tuple(state[name].shape)


def _divide(width: int, heads: Any, what: str) -> int:
    if type(heads) is not int or heads < 1 or width % heads or not width:
        raise UserError(f"{heads} {what} don't divide the width {width}")
    return width // heads
