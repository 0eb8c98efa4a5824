"""Weight names of the released Cascade-CLIP and ZegCLIP code, and ours.

Every released name is either renamed, one to one, or on the list of dead weights: those that the
released modules hold but never use. The prompts are the one exception to one-to-one: the first
block's and the other blocks' lie apart there and together here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_clip.errors import UserError
from cascade_clip.support.messages import some_of

TEXT_PREFIX = "text_encoder."
LOSS_BUFFER = "decode_head.loss_decode.criterion.empty_weight"
FIRST_PROMPTS = "backbone.prompt_embeddings"
DEEP_PROMPTS = "backbone.deep_prompt_embeddings"
PROMPTS = "encoder.prompts.embeddings"

_VISUAL = (
    "class_embedding",
    "positional_embedding",
    "proj",
    "conv1.weight",
    "ln_pre.weight",
    "ln_pre.bias",
    "ln_post.weight",
    "ln_post.bias",
)
_BLOCK = (
    "attn.in_proj_weight",
    "attn.in_proj_bias",
    *(
        f"{module}.{kind}"
        for module in ("attn.out_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")
        for kind in ("weight", "bias")
    ),
)
_TEXT = (
    "positional_embedding",
    "text_projection",
    "token_embedding.weight",
    "ln_final.weight",
    "ln_final.bias",
)
_SCORES = {"multihead_attn.q": "query", "multihead_attn.k": "key"}
_LAYER = _SCORES | {
    "multihead_attn.v": "value",
    "multihead_attn.proj": "out",
    "norm2": "attention_norm",
    "linear1": "expand",
    "linear2": "contract",
    "norm3": "feedforward_norm",
}


@dataclass(frozen=True)
class ReleasedSizes:
    """What decides which weights a released checkpoint holds."""

    depth: int
    inner_levels: int
    """Levels before the last block: 6 for Cascade-CLIP, 0 for ZegCLIP."""
    stages: int
    """Decoders: 3 for Cascade-CLIP, 1 for ZegCLIP."""
    decoder_layers: int
    embed_dim: int
    text_depth: int
    loss_classes: int
    """Classes of the training loss, which keeps a buffer of one entry more."""

    @property
    def cascade(self) -> bool:
        """Cascade-CLIP's names, rather than ZegCLIP's."""
        return self.stages > 1


def renames(sizes: ReleasedSizes) -> dict[str, str]:
    """Released name -> ours, for all live weights of the network but the prompt tokens."""
    names = {f"backbone.{name}": f"encoder.visual.{name}" for name in _VISUAL}
    for block in range(sizes.depth):
        path = f"transformer.resblocks.{block}"
        names |= {f"backbone.{path}.{n}": f"encoder.visual.{path}.{n}" for n in _BLOCK}
    names |= _both("backbone.prompt_proj", "encoder.prompts.projection")
    names |= _both("backbone.prompt_norm", "encoder.prompt_norm")
    if sizes.inner_levels:
        names["backbone.proj_layers"] = "encoder.level_projections.weights"
    for level in range(sizes.inner_levels):
        names |= _both(f"backbone.ln_layers.{level}", f"encoder.level_projections.norms.{level}")
    for stage in range(sizes.stages):
        decoder, queries = _released_stage(sizes, stage)
        names |= _both(queries, f"head.query_projections.{stage}.linear")
        for layer in range(sizes.decoder_layers - 1):
            for theirs, ours in _LAYER.items():
                path = f"{decoder}.layers.{layer}.{theirs}"
                names |= _both(path, f"head.decoders.{stage}.layers.{layer}.{ours}")
        for theirs, ours in _SCORES.items():
            path = f"{decoder}.layers.{sizes.decoder_layers - 1}.{theirs}"
            names |= _both(path, f"head.decoders.{stage}.scores.{ours}")
    for stage in range(sizes.stages - 1):
        names[f"decode_head.weights_s{stage + 1}"] = f"head.aggregations.{stage}.weights"
    return names


def dead_weights(sizes: ReleasedSizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the released weights that never reach an output or a loss.

    Per decoder layer the self-attention and its norm; of the last layer also value and output
    projections, feed-forward and norms; and a buffer of the loss that its mask terms don't use.
    """
    width = sizes.embed_dim
    dead: dict[str, tuple[int, ...]] = {LOSS_BUFFER: (sizes.loss_classes + 1,)}
    for stage in range(sizes.stages):
        decoder, _ = _released_stage(sizes, stage)
        for layer in range(sizes.decoder_layers):
            path = f"{decoder}.layers.{layer}"
            dead[f"{path}.self_attn.in_proj_weight"] = (3 * width, width)
            dead[f"{path}.self_attn.in_proj_bias"] = (3 * width,)
            dead |= _linear(f"{path}.self_attn.out_proj", width, width)
            dead |= _norm(f"{path}.norm1", width)
        dead |= _linear(f"{path}.multihead_attn.v", width, width)
        dead |= _linear(f"{path}.multihead_attn.proj", width, width)
        dead |= _linear(f"{path}.linear1", 4 * width, width)
        dead |= _linear(f"{path}.linear2", width, 4 * width)
        dead |= _norm(f"{path}.norm2", width) | _norm(f"{path}.norm3", width)
    return dead


def text_renames(sizes: ReleasedSizes) -> dict[str, str]:
    """Released name -> open_clip's, for the text encoder."""
    names = list(_TEXT)
    for block in range(sizes.text_depth):
        names += [f"transformer.resblocks.{block}.{name}" for name in _BLOCK]
    return {TEXT_PREFIX + name: name for name in names}


def refuse_foreign(released: Mapping[str, Tensor]) -> None:
    """Raises `UserError` that names weights under none of the released prefixes."""
    prefixes = ("backbone.", "decode_head.", TEXT_PREFIX)
    foreign = {name for name in released if not name.startswith(prefixes)}
    _refuse("unknown weights, of neither a Cascade-CLIP nor a ZegCLIP checkpoint", foreign)


def to_native(released: Mapping[str, Tensor], sizes: ReleasedSizes) -> dict[str, Tensor]:
    """A released state dict to that of our `SegmentationNetwork`.

    Raises `UserError` that names weights that are missing, or neither mapped nor known dead.
    """
    live = renames(sizes)
    known = live.keys() | dead_weights(sizes).keys() | text_renames(sizes).keys()
    known |= {FIRST_PROMPTS, DEEP_PROMPTS}
    needed = live.keys() | {FIRST_PROMPTS, DEEP_PROMPTS}
    _refuse("unknown weights", released.keys() - known)
    _refuse("missing weights", needed - released.keys())
    native = {ours: released[theirs] for theirs, ours in live.items()}
    native[PROMPTS] = torch.cat([released[FIRST_PROMPTS], released[DEEP_PROMPTS]])
    return native


def to_native_text(released: Mapping[str, Tensor], sizes: ReleasedSizes) -> dict[str, Tensor]:
    """The text encoder's part of a released state dict, under open_clip's names.

    Raises `UserError` that names missing weights.
    """
    names = text_renames(sizes)
    _refuse("missing weights of the text encoder", names.keys() - released.keys())
    return {ours: released[theirs] for theirs, ours in names.items()}


def to_released(native: Mapping[str, Tensor], sizes: ReleasedSizes) -> dict[str, Tensor]:
    """Our network's tensors under the released names: live weights only.

    Takes any part of a state dict, for instance a dict of gradients. Raises `UserError` for names
    that the released code has no place for.
    """
    names = {ours: theirs for theirs, ours in renames(sizes).items()}
    _refuse("weights unknown to the released code", native.keys() - names.keys() - {PROMPTS})
    released = {names[ours]: value for ours, value in native.items() if ours != PROMPTS}
    if PROMPTS in native:
        released[FIRST_PROMPTS], released[DEEP_PROMPTS] = native[PROMPTS][:1], native[PROMPTS][1:]
    return released


def _released_stage(sizes: ReleasedSizes, stage: int) -> tuple[str, str]:
    if sizes.cascade:
        return f"decode_head.cascade_decoders.{stage}", f"decode_head.q_projs.{stage}"
    return "decode_head.decoder_1", "decode_head.q_proj"


def _both(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}


def _linear(path: str, out_width: int, in_width: int) -> dict[str, tuple[int, ...]]:
    return {f"{path}.weight": (out_width, in_width), f"{path}.bias": (out_width,)}


def _norm(path: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{path}.weight": (width,), f"{path}.bias": (width,)}


def _refuse(what: str, names: set[str]) -> None:
    if names:
        raise UserError(f"the checkpoint has {what}: {some_of(sorted(names), 3)}")
