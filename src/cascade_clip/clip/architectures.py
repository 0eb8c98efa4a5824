"""Which of open_clip's architectures are used, and which one weights belong to.

open_clip is imported by the functions that ask it: with torchvision, transformers and timm, which
it brings, that takes longer than importing torch. Embedded CLIPs and those in folders do without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from cascade_clip.clip.build import sketch_clip
from cascade_clip.clip.weights import describe_differences
from cascade_clip.config.model import EMBEDDED_CLIPS
from cascade_clip.errors import UserError, first_line

OTHER_FORM = (
    "has another form than CLIP's own: vision transformers with a class token (ViT-B-16, ViT-L-14, "
    "ViT-H-14, ...) are supported"
)
OTHER_TEXT = (
    "has another form than CLIP's own, which is supported alone: take an architecture that is "
    "called as its image encoder is, e.g. ViT-B-32, ViT-L-14"
)
_PARTS = (
    "visual.class_embedding",
    "visual.conv1.weight",
    "visual.positional_embedding",
    "visual.proj",
    "token_embedding.weight",
    "ln_final.weight",
)
"""What tells the weights of CLIP's own form from others."""


def describe_architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration (`model_cfg`) of an architecture.

    Raises `UserError` for an unknown one, naming the nearest, and for those of another form:
    ResNet, ConvNeXt, SigLIP, EVA, CoCa, CLIPA, text encoders of transformers.
    """
    import open_clip

    known = open_clip.list_models()
    if name not in known:
        nearest = get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"; near it: {', '.join(nearest)}" if nearest else ""
        raise UserError(f"unknown CLIP '{name}'{hint}; or one of {', '.join(EMBEDDED_CLIPS)}")
    config: dict[str, Any] = open_clip.get_model_config(name)
    check_form(config, f"'{name}'")
    return config


def check_form(config: Mapping[str, Any], name: str) -> None:
    """Raises `UserError` if a `model_cfg` describes another form of CLIP than its own."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if (
        "timm_model_name" in vision
        or isinstance(vision.get("layers"), list)
        or vision.get("pool_type", "tok") != "tok"
        or vision.get("attentional_pool")
    ):
        raise UserError(f"the image encoder of {name} {OTHER_FORM}")
    if config.get("custom_text") or "multimodal_cfg" in config or "hf_model_name" in text:
        raise UserError(f"the text encoder of {name} {OTHER_TEXT}")


def published_weights(model: str, pretrained: str) -> dict[str, Any] | None:
    """What open_clip knows of a tag (`hf_hub`, `quick_gelu`, `mean`, `std`, ...), or None if there
    is a file of this name.

    Raises `UserError` if there is neither, naming the nearest tags.
    """
    import open_clip

    published: dict[str, Any] = open_clip.get_pretrained_cfg(model, pretrained.partition("@")[0])
    if published:
        return published
    if Path(pretrained).expanduser().is_file():
        return None
    tags = published_tags(model)
    nearest = get_close_matches(pretrained, tags, n=3, cutoff=0.4) or tags
    raise UserError(
        f"'{pretrained}' is neither a weights file nor published weights of CLIP '{model}'; there "
        f"are {', '.join(nearest) or 'none'}"
    )


def published_tags(model: str) -> list[str]:
    """The tags of an architecture's published weights."""
    import open_clip

    tags: list[str] = open_clip.list_pretrained_tags_by_model(model)
    return tags


def published_tokenizer(model: str) -> Callable[[list[str]], Tensor]:
    """The tokenizer of an architecture. Raises `UserError` if it can't be had."""
    import open_clip

    try:
        tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(model)
    except (OSError, ImportError) as error:
        raise UserError(
            f"the tokenizer of CLIP '{model}' can't be loaded: {first_line(error)}"
        ) from error
    return tokenizer


def fitting_architecture(state: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Any]]:
    """Name and configuration of the architecture that weights belong to, by their sizes.

    Position embeddings may be of another image size than open_clip's, as after fine-tuning on
    larger pictures. The activation is not told by sizes: the one without QuickGELU is taken.

    Raises `UserError` if there is none.
    """
    import open_clip

    missing = [name for name in _PARTS if name not in state]
    if missing:
        raise UserError(f"{source} {OTHER_FORM}; it lacks {missing[0]}")
    width, _, patch, _ = state["visual.conv1.weight"].shape
    image_size = patch * isqrt(len(state["visual.positional_embedding"]) - 1)
    found = []
    for name in open_clip.list_models():
        config: dict[str, Any] = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        sizes = (config["embed_dim"], vision.get("width"), vision.get("patch_size"))
        if sizes != (state["visual.proj"].shape[1], width, patch) or config.get("quick_gelu"):
            continue
        own_size = vision["image_size"]
        vision["image_size"] = image_size
        if _fits(state, config, name):
            if own_size == image_size:
                return name, config
            found.append((name, config))
    if found:
        return found[0]
    raise UserError(
        f"{source} fits no architecture of open_clip (width {width}, patches of {patch} pixels, "
        f"embeddings of {state['visual.proj'].shape[1]}), and the number of attention heads can't "
        "be seen in weights: put them into a folder with their open_clip_config.json"
    )


def _fits(state: Mapping[str, Tensor], config: Mapping[str, Any], name: str) -> bool:
    try:
        check_form(config, name)
    except UserError:
        return False
    expected = sketch_clip(config).state_dict()
    scalars = {"logit_scale"}  # a number, or a row of one number
    return not describe_differences(
        {key: value for key, value in state.items() if key not in scalars},
        {key: value for key, value in expected.items() if key not in scalars},
        name,
    )
