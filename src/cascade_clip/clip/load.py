"""Loads a frozen CLIP: embedded, from a folder or a file, or published weights of open_clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cascade_clip.clip.architectures import (
    OTHER_FORM,
    check_form,
    describe_architecture,
    fitting_architecture,
    published_tags,
    published_tokenizer,
    published_weights,
)
from cascade_clip.clip.build import fill_clip, sketch_clip
from cascade_clip.clip.hub import FILES, find_on_hub
from cascade_clip.clip.source import CONFIG_FILE
from cascade_clip.clip.text import TextEncoder
from cascade_clip.clip.text_store import TextStore, cache_folder
from cascade_clip.clip.tokenizer import Tokenizer, clip_vocabulary
from cascade_clip.clip.weights import choose_activation, fingerprint, read_weights
from cascade_clip.config import RGB, ClipSettings, Normalisation
from cascade_clip.config.model import EMBEDDED_CLIPS, FROM_WEIGHTS, LOCAL_DIR
from cascade_clip.errors import UserError, first_line
from cascade_clip.support.plain_values import named, read_json

WEIGHTS_FILE = FILES[0]
VOCABULARY_FILE = "vocabulary.bpe.gz"

OPENAI_PREPROCESSING = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
"""Normalisation of OpenAI's CLIPs."""


@dataclass
class FrozenClip:
    """A CLIP whose weights never change, with what its users need to know about it.

    `tokenize` maps L texts to token ids (L, context_length), int64, zero-padded.
    `mean` and `std` are the CLIP's own normalisation of RGB values in [0, 1].
    """

    model: Any  # our CLIP or open_clip's, whose parts have the same names
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
    def normalisation(self) -> Normalisation:
        """`mean` and `std`."""
        return Normalisation(mean=self.mean, std=self.std)

    @property
    def visual(self) -> nn.Module:
        """The image encoder, open_clip's `VisionTransformer`."""
        visual: nn.Module = self.model.visual
        return visual

    @property
    def logit_scale(self) -> float:
        """What CLIP multiplies cosines by: 100 for most."""
        return float(self.model.logit_scale.exp())

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """Class names in templates to text embeddings."""
        folder = cache_folder()
        store = None if folder is None else TextStore(folder, self.model)
        return TextEncoder(self.model, self.tokenize, store=store)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights."""
        return fingerprint(self.model.state_dict())


def load_clip(settings: ClipSettings) -> FrozenClip:
    """The CLIP that `settings` name: embedded, a local folder, or any of open_clip's.

    Raises `UserError` for an unknown architecture, unreadable weights or weights of other sizes.
    """
    if settings.embedded:
        return load_clip_folder(embedded_folder(settings.model), name=settings.model)
    if settings.model.startswith(LOCAL_DIR):
        folder = Path(settings.model.removeprefix(LOCAL_DIR)).expanduser()
        return load_clip_folder(folder, name=settings.model)
    return _load_open_clip(settings)


def embedded_folder(name: str) -> Path:
    """Where one of `EMBEDDED_CLIPS` lies."""
    return Path(str(files("cascade_clip.clip"))) / EMBEDDED_CLIPS[name]


def load_clip_folder(folder: Path, name: str) -> FrozenClip:
    """A CLIP from a folder in open_clip's own layout (config JSON and a weights file).

    Raises `UserError` for missing or damaged files and for CLIPs of other forms.
    """
    weights = next((folder / file for file in FILES if (folder / file).is_file()), None)
    if weights is None or not (folder / CONFIG_FILE).is_file():
        missing = CONFIG_FILE if weights is not None else WEIGHTS_FILE
        raise UserError(
            f"no CLIP in {folder}: {missing} is missing; expected {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    return _load_described(weights, name)


def _load_described(weights: Path, name: str) -> FrozenClip:
    """The CLIP in a weights file with open_clip's configuration beside it."""
    folder, path = weights.parent, weights.parent / CONFIG_FILE
    config = named(read_json(path), str(path))
    state = read_weights(weights).state
    try:
        model_cfg, preprocess = config["model_cfg"], config["preprocess_cfg"]
        check_form(model_cfg, f"the CLIP in {folder}")
        for part in ("vision_cfg", "text_cfg"):
            if model_cfg[part].get("layers", 0) > len(state):
                raise UserError(f"{path} describes more layers than {weights.name} has weights")
        model = sketch_clip(model_cfg)
    except KeyError as error:
        raise UserError(f"{path} lacks {error}") from error
    except (TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UserError(f"{path} describes no CLIP: {first_line(error)}") from error
    fill_clip(model, state, str(weights), "its CLIP")
    text_cfg = model_cfg["text_cfg"]
    context_length = text_cfg.get("context_length", 77)
    tokenizer = load_tokenizer(folder, context_length, text_cfg.get("vocab_size"))
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
        return Tokenizer(vocabulary, context_length)
    tokenizer = Tokenizer(clip_vocabulary(), context_length)
    if vocab_size in (None, tokenizer.vocab_size):
        return tokenizer

    def refuse(texts: list[str]) -> Tensor:
        raise UserError(
            f"the text encoder in {folder} has {vocab_size} tokens, CLIP's vocabulary "
            f"{tokenizer.vocab_size}, so it can't read {texts[:1]}; give text embeddings yourself"
        )

    return refuse


def _load_open_clip(settings: ClipSettings) -> FrozenClip:
    config = describe_architecture(settings.model) if settings.model != FROM_WEIGHTS else None
    if settings.pretrained is None:
        raise UserError(
            f"CLIP '{settings.model}' needs weights: set pretrained to a file or to one of "
            f"{', '.join(published_tags(settings.model)) or '(no published tags)'}"
        )
    published = published_weights(settings.model, settings.pretrained) if config else None
    if config is None or published is None:
        return _load_file(settings, Path(settings.pretrained).expanduser(), config)
    known = bool(published.get("quick_gelu", config.get("quick_gelu", False)))
    config["quick_gelu"] = choose_activation(settings, config, known)  # before the download
    tokenize = published_tokenizer(settings.model)
    revision = settings.pretrained.partition("@")[2] or None
    path = find_on_hub(published["hf_hub"], known, revision)
    model = fill_clip(sketch_clip(config), read_weights(path).state, str(path), settings.model)
    return freeze_clip(model, f"{settings.model}/{settings.pretrained}", tokenize, published)


def _load_file(
    settings: ClipSettings, path: Path, config: dict[str, Any] | None = None
) -> FrozenClip:
    """The CLIP in a weights file; without `config`, of the architecture that its sizes tell."""
    weights = read_weights(path)
    name = settings.model
    if config is None and (path.parent / CONFIG_FILE).is_file():
        return _load_described(path, str(path))
    if config is None:
        name, config = fitting_architecture(weights.state, str(path))
        settings = settings.model_copy(update={"model": name})
    config["quick_gelu"] = choose_activation(settings, config, weights.quick_gelu)
    model = fill_clip(sketch_clip(config), weights.state, str(path), name)
    preprocess = weights.preprocess or OPENAI_PREPROCESSING
    return freeze_clip(
        model, f"{name}/{settings.pretrained}", published_tokenizer(name), preprocess
    )


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
