"""Loads a frozen CLIP. The only module that imports open_clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cascade_clip.clip.hub import find_on_hub
from cascade_clip.clip.text import TextEncoder
from cascade_clip.clip.weights import (
    choose_activation,
    describe_differences,
    fingerprint,
    read_weights,
)
from cascade_clip.config import ClipSettings
from cascade_clip.errors import UserError, first_line
from cascade_clip.support.plain_values import named, read_json

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
VOCABULARY_FILE = "vocabulary.bpe.gz"
LOCAL_DIR = "local-dir:"

RGB = tuple[float, float, float]

OPENAI_PREPROCESSING = {
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
}
"""Normalisation of OpenAI's CLIPs."""
OTHER_FORM = (
    "has another form than CLIP's own: vision transformers with a class token (ViT-B-16, ViT-L-14, "
    "ViT-H-14, ...) are supported"
)


@dataclass
class FrozenClip:
    """A CLIP whose weights never change, with what its users need to know about it.

    `tokenize` maps L texts to token ids (L, context_length), int64, zero-padded.
    `mean` and `std` are the CLIP's own normalisation of RGB values in [0, 1].
    """

    model: Any  # open_clip's CLIP, whose parts have open_clip's types
    name: str
    tokenize: Callable[[list[str]], Tensor]
    embed_dim: int
    image_size: int
    patch_size: int
    depth: int
    mean: RGB
    std: RGB

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    @property
    def visual(self) -> nn.Module:
        """The image encoder, open_clip's `VisionTransformer`."""
        visual: nn.Module = self.model.visual
        return visual

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """Class names in templates to text embeddings (C, d)."""
        return TextEncoder(self.model, self.tokenize)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights."""
        return fingerprint(self.model.state_dict())


def build_clip(
    embed_dim: int,
    vision: Mapping[str, Any],
    text: Mapping[str, Any],
    quick_gelu: bool = False,
    init_logit_bias: float | None = None,
) -> CLIP:
    """A CLIP with random weights.

    `vision` and `text` hold fields of open_clip's `CLIPVisionCfg` and `CLIPTextCfg`, for example
    `dict(layers=12, width=768, head_width=64, patch_size=16, image_size=224)` and
    `dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12)`.
    """
    vision_cfg, text_cfg = CLIPVisionCfg(**vision), CLIPTextCfg(**text)
    return CLIP(
        embed_dim, vision_cfg, text_cfg, quick_gelu=quick_gelu, init_logit_bias=init_logit_bias
    )


def load_clip(settings: ClipSettings) -> FrozenClip:
    """The CLIP that `settings` name: embedded, a local folder, or any of open_clip's.

    Raises `UserError` for an unknown architecture, unreadable weights or weights of other sizes.
    """
    if settings.model == "picturebook":
        return load_clip_folder(Path(str(files("cascade_clip.clip.tiny"))), name="picturebook")
    if settings.model.startswith(LOCAL_DIR):
        folder = Path(settings.model.removeprefix(LOCAL_DIR))
        return load_clip_folder(folder, name=settings.model)
    return _load_open_clip(settings)


def load_clip_folder(folder: Path, name: str) -> FrozenClip:
    """A CLIP from a folder in open_clip's own layout (config JSON and safetensors).

    Raises `UserError` for missing or damaged files and for text encoders of other kinds than CLIP's
    own.
    """
    missing = [file for file in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / file).is_file()]
    if missing:
        raise UserError(
            f"no CLIP in {folder}: {missing[0]} is missing; expected {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}"
        )
    config = named(read_json(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"the CLIP in {folder} can't be read: {error}") from error
    try:
        model_cfg, preprocess = config["model_cfg"], config["preprocess_cfg"]
        if model_cfg.get("custom_text") or "hf_model_name" in model_cfg["text_cfg"]:
            raise UserError(
                f"the CLIP in {folder} has another text encoder than CLIP's own, which folders "
                "can't bring; name it as open_clip does (model.clip.model, model.clip.pretrained)"
            )
        for part in ("vision_cfg", "text_cfg"):
            if model_cfg[part].get("layers", 0) > len(state):
                raise UserError(
                    f"{folder / CONFIG_FILE} describes more layers than {WEIGHTS_FILE} has weights"
                )
        model = build_clip(
            model_cfg["embed_dim"],
            model_cfg["vision_cfg"],
            model_cfg["text_cfg"],
            quick_gelu=model_cfg.get("quick_gelu", False),
            init_logit_bias=model_cfg.get("init_logit_bias"),
        )
    except KeyError as error:
        raise UserError(f"{folder / CONFIG_FILE} lacks {error}") from error
    except (TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UserError(f"{folder / CONFIG_FILE} describes no CLIP: {first_line(error)}") from error
    _load_strictly(model, state, source=str(folder / WEIGHTS_FILE))
    text_cfg = model_cfg["text_cfg"]
    tokenizer = load_tokenizer(folder, text_cfg["context_length"], text_cfg.get("vocab_size"))
    return freeze_clip(model, name, tokenizer, preprocess)


def load_tokenizer(
    folder: Path, context_length: int, vocab_size: int | None = None
) -> Callable[[list[str]], Tensor]:
    """The folder's own byte-pair vocabulary, or CLIP's where it has none.

    With `vocab_size` given and CLIP's vocabulary of another size, it raises `UserError` when used:
    the image encoder next to such a text encoder is of use without it.
    """
    vocabulary = folder / VOCABULARY_FILE
    if vocabulary.exists():
        return SimpleTokenizer(bpe_path=str(vocabulary), context_length=context_length)
    tokenizer = SimpleTokenizer(context_length=context_length)
    if vocab_size in (None, tokenizer.vocab_size):
        return tokenizer

    def refuse(texts: list[str]) -> Tensor:
        raise UserError(
            f"the text encoder in {folder} has {vocab_size} tokens, CLIP's vocabulary "
            f"{tokenizer.vocab_size}, so it can't read {texts[:1]}; give text embeddings yourself"
        )

    return refuse


def _load_open_clip(settings: ClipSettings) -> FrozenClip:
    config = _architecture(settings.model)
    if settings.pretrained is None:
        tags = open_clip.list_pretrained_tags_by_model(settings.model)
        raise UserError(
            f"CLIP '{settings.model}' needs weights: set pretrained to a file or to one of "
            f"{', '.join(tags) or '(no published tags)'}"
        )
    tag, _, revision = settings.pretrained.partition("@")
    published = open_clip.get_pretrained_cfg(settings.model, tag)
    if published:
        known = bool(published.get("quick_gelu", config.get("quick_gelu", False)))
        config["quick_gelu"] = choose_activation(settings, config, known)  # before the download
        path = find_on_hub(published["hf_hub"], known, revision or None)
        weights = read_weights(path)
    else:
        path = _weights_file(settings.model, settings.pretrained)
        weights = read_weights(path)
        config["quick_gelu"] = choose_activation(settings, config, weights.quick_gelu)
    model = _build(config, settings.model)
    _load_strictly(model, weights.state, source=str(path), name=settings.model)
    return freeze_clip(
        model,
        f"{settings.model}/{settings.pretrained}",
        _tokenizer(settings.model),
        published or OPENAI_PREPROCESSING,
    )


def _architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture that can be used here."""
    known = open_clip.list_models()
    if name not in known:
        nearest = get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"; near it: {', '.join(nearest)}" if nearest else ""
        raise UserError(f"unknown CLIP '{name}'{hint}; or 'picturebook'")
    config: dict[str, Any] = open_clip.get_model_config(name)
    vision = config["vision_cfg"]
    if "timm_model_name" in vision or isinstance(vision["layers"], list):
        raise UserError(f"the image encoder of '{name}' {OTHER_FORM}")
    return config


def _weights_file(model: str, pretrained: str) -> Path:
    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    tags = open_clip.list_pretrained_tags_by_model(model)
    nearest = get_close_matches(pretrained, tags, n=3, cutoff=0.4) or tags
    raise UserError(
        f"'{pretrained}' is neither a weights file nor published weights of CLIP '{model}'; there "
        f"are {', '.join(nearest) or 'none'}"
    )


def _build(config: Mapping[str, Any], name: str) -> nn.Module:
    """The architecture of `config`, with random weights."""
    values = dict(config)
    text = dict(values["text_cfg"])
    own_text_encoder = values.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    try:
        return (CustomTextCLIP if own_text_encoder else CLIP)(**{**values, "text_cfg": text})
    except (OSError, RuntimeError, ImportError, TypeError) as error:
        raise UserError(f"CLIP '{name}' can't be built: {first_line(error)}") from error


def _tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    try:
        tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(name)
    except (OSError, ImportError) as error:
        raise UserError(
            f"the tokenizer of CLIP '{name}' can't be loaded: {first_line(error)}"
        ) from error
    return tokenizer


def _load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], source: str, name: str = "its CLIP"
) -> None:
    expected = model.state_dict()
    state = dict(state)
    for scalar in ("logit_scale", "logit_bias"):  # a number, or a row of one number
        if scalar in state and scalar in expected and state[scalar].numel() == 1:
            state[scalar] = state[scalar].reshape(expected[scalar].shape)
    different = describe_differences(state, expected, name)
    if different:
        raise UserError(f"{source} does not fit {name}: {different}")
    model.load_state_dict(state)


def freeze_clip(
    model: Any, name: str, tokenize: Callable[[list[str]], Tensor], preprocess: Mapping[str, Any]
) -> FrozenClip:
    """`model`, open_clip's `CLIP`, with what its users need to know; `preprocess` holds `mean` and
    `std` of RGB values in [0, 1].

    Raises `UserError` for image encoders of another form than CLIP's own.
    """
    visual = model.visual
    own_form = hasattr(visual, "conv1") and hasattr(visual.transformer, "resblocks")
    if not own_form or visual.pool_type != "tok" or visual.attn_pool is not None:
        raise UserError(f"the image encoder of '{name}' {OTHER_FORM}")
    return FrozenClip(
        model=model,
        name=name,
        tokenize=tokenize,
        embed_dim=visual.proj.shape[1],
        image_size=visual.image_size[0],
        patch_size=visual.patch_size[0],
        depth=len(visual.transformer.resblocks),
        mean=_rgb(preprocess["mean"]),
        std=_rgb(preprocess["std"]),
    )


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = values
    return red, green, blue
