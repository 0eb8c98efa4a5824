"""Weight names of the released code of all methods, and ours.

Every released name is either renamed, one to one, or on its family's list of dead weights: those
that the released modules hold but never use. The prompts are the one exception to one-to-one: the
first block's and the other blocks' lie apart there and together here.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def visual_renames(depth: int) -> dict[str, str]:
    """Released name -> ours, for CLIP's image encoder of `depth` blocks."""
    names = {f"backbone.{name}": f"encoder.visual.{name}" for name in _VISUAL}
    for block in range(depth):
        path = f"transformer.resblocks.{block}"
        names |= {f"backbone.{path}.{n}": f"encoder.visual.{path}.{n}" for n in _BLOCK}
    return names


def text_renames(depth: int) -> dict[str, str]:
    """Released name -> open_clip's, for the text encoder of `depth` blocks."""
    names = list(_TEXT)
    for block in range(depth):
        names += [f"transformer.resblocks.{block}.{name}" for name in _BLOCK]
    return {TEXT_PREFIX + name: name for name in names}


def both(theirs: str, ours: str) -> dict[str, str]:
    """Released name -> ours, for weight and bias of a layer."""
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}


def linear(path: str, out_width: int, in_width: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a linear layer's weights."""
    return {f"{path}.weight": (out_width, in_width), f"{path}.bias": (out_width,)}


def norm(path: str, width: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a LayerNorm's weights."""
    return {f"{path}.weight": (width,), f"{path}.bias": (width,)}


def decoder_layer(path: str, width: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what decoder layers do use, `unused_self_attention` of what they don't."""
    return {
        **{
            name: size
            for part in ("q", "k", "v", "proj")
            for name, size in linear(f"{path}.multihead_attn.{part}", width, width).items()
        },
        **linear(f"{path}.linear1", 4 * width, width),
        **linear(f"{path}.linear2", width, 4 * width),
        **norm(f"{path}.norm2", width),
        **norm(f"{path}.norm3", width),
    }


def unused_self_attention(path: str, width: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what no decoder layer of these methods uses: self-attention, its norm."""
    return {
        f"{path}.self_attn.in_proj_weight": (3 * width, width),
        f"{path}.self_attn.in_proj_bias": (3 * width,),
        **linear(f"{path}.self_attn.out_proj", width, width),
        **norm(f"{path}.norm1", width),
    }


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different parts follow `prefix` in the names of weights."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def shape(state: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    """Shape of a weight of `dims` dimensions. Raises `UserError` if there is none."""
    if name not in state or state[name].ndim != dims:
        raise UserError(
            f"the checkpoint has no weight '{name}' with {dims} dimensions, as those of these "
            "methods with deep prompts have"
        )
    return tuple(state[name].shape)


def refuse(what: str, names: set[str]) -> None:
    """Raises `UserError` that says `what` the names are, if there are any."""
    if names:
        raise UserError(f"the checkpoint has {what}: {some_of(sorted(names), 3)}")
