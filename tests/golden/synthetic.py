"""Golden cases of other sizes, made here: random weights in the released format, and what the
reference in `benchmarks/reference` makes of them.

That reference is itself held against the released code's numbers (`test_reference.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.reference.inference import sliding_scores
from benchmarks.reference.loss import focal_and_dice, pseudo_labels
from benchmarks.reference.network import ReferenceNetwork, ReferenceSizes
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.checkpoint.released.names import LOSS_BUFFER

Case = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """A checkpoint and the pictures that it is tried on."""

    cascade: bool = True
    width: int = 24
    heads: int = 3
    depth: int = 12
    inner: tuple[int, ...] = (5, 6, 7, 8, 9, 10)
    """Level blocks before the last one, 0-based; of the cascade."""
    patch: int = 16
    image: int = 64
    """Side of training pictures and of windows."""
    positions: int = 4
    """Side of the stored position grid."""
    embed_dim: int = 16
    prompts: int = 3
    decoder_heads: int = 2
    decoder_layers: int = 3
    classes: int = 6
    unseen: tuple[int, ...] = (1, 4)
    pictures: int = 2
    stride: int = 48
    picture: tuple[int, int] = (83, 130)
    """Of the sliding windows."""
    original: tuple[int, int] = (76, 135)
    seed: int = 0


SYNTHETIC = {
    "patch-32": Sizes(patch=32, image=96, positions=3, prompts=1, stride=41, picture=(96, 201)),
    "patch-14-of-a-deep-encoder": Sizes(
        depth=24, inner=(11, 13, 15, 17, 19, 21), patch=14, image=70, positions=5, picture=(70, 99)
    ),
    "one-class": Sizes(cascade=False, classes=1, unseen=(), heads=1, decoder_heads=1, pictures=1),
    "released-defaults": Sizes(
        width=48, heads=12, decoder_heads=8, decoder_layers=1, classes=40, unseen=(0, 7, 39)
    ),
    "zeg-of-two-blocks": Sizes(
        cascade=False, depth=2, prompts=7, decoder_layers=4, embed_dim=20, decoder_heads=5
    ),
}

FULL_SIZE = Sizes(
    width=768,
    heads=12,
    image=512,
    positions=32,
    embed_dim=512,
    prompts=50,
    decoder_heads=8,
    classes=171,
    unseen=tuple(range(5, 171, 11)),
    pictures=1,
    stride=426,
    picture=(512, 683),
    original=(480, 640),
)
"""A ViT-B/16 as Cascade-CLIP takes it on COCO-Stuff."""


def synthetic(sizes: Sizes) -> Case:
    """Golden values, and the released checkpoint's `state_dict` and `meta`."""
    generator = torch.Generator().manual_seed(sizes.seed)
    state = _state(sizes, generator)
    meta = {"CLASSES": _names(sizes), "config": config_text(sizes)}
    inner = sizes.inner if sizes.cascade else ()
    network = ReferenceNetwork(
        state, ReferenceSizes(sizes.heads, sizes.decoder_heads, sizes.image, inner)
    ).eval()
    text = F.normalize(torch.randn(sizes.classes, sizes.embed_dim, generator=generator), dim=-1)
    image = torch.randn(sizes.pictures, 3, sizes.image, sizes.image, generator=generator)
    values = {"image": image, "text_embeddings": text, **_forward(network, image, text, sizes)}
    for setting in ("inductive", "transductive") if sizes.unseen else ("inductive",):
        values |= _slide(network, text, setting, sizes, generator)
        values |= _train(network, values, setting, sizes, generator)
    return values, state, meta


def config_text(sizes: Sizes) -> str:
    """As mmcv stores it: what has a released default is left out, leftovers are there."""
    vision_heads = "" if sizes.heads == 12 else f"heads={sizes.heads}, "
    decoder_heads = "" if sizes.decoder_heads == 8 else f"num_heads={sizes.decoder_heads}, "
    out = list(sizes.inner) if sizes.cascade else [sizes.depth - 1]
    seen, every = _seen(sizes), list(range(sizes.classes))
    return f"""out_indices = [3, 5]
num_classes = {len(seen)}
model = dict(
    type='{"CascadeCLIP" if sizes.cascade else "ZegCLIP"}',
    backbone=dict(
        type='VPTCLIPVisionTransformer', patch_size={sizes.patch}, {vision_heads}
        drop_path_rate=0.1, out_indices={out}, num_tokens={sizes.prompts}, style='pytorch'),
    text_encoder=dict(type='CLIPTextEncoder', context_length=77, embed_dim={sizes.embed_dim}),
    decode_head=dict(
        type='ATMSingleHeadSeg', img_size={sizes.image}, channels=768, num_classes=150,
        seen_idx={seen}, all_idx={every}, {decoder_heads}use_stages={len(out)},
        loss_decode=dict(type='SegLossPlus', num_classes={len(seen)})),
    test_cfg=dict(
        mode='slide', crop_size=({sizes.image}, {sizes.image}),
        stride=({sizes.stride}, {sizes.stride})),
    base_class={seen},
    both_class={every})
optimizer = dict(paramwise_cfg=dict(custom_keys=dict({{'backbone.prompt': dict(lr_mult=10.0)}})))
gpu_ids = range(0, 4)
"""


def _state(sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
    return {name: _weight(name, shape, generator) for name, shape in sorted(_shapes(sizes).items())}


def _weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith(("weights_s1", "weights_s2")):
        return torch.tensor([0.14, 0.61, 1.0]) + 0.1 * noise
    parts = name.split(".")
    if name.endswith(".weight") and len(shape) == 1:  # norms
        return 1 + 0.1 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    scale = shape[-2] if parts[-1] in {"proj", "proj_layers", "text_projection"} else shape[-1]
    return noise * (max(scale, noise[0].numel() if "conv1" in name else 1) ** -0.5)


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    width, d = sizes.width, sizes.embed_dim
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.class_embedding": (width,),
        "backbone.positional_embedding": (sizes.positions**2 + 1, width),
        "backbone.proj": (width, d),
        "backbone.conv1.weight": (width, 3, sizes.patch, sizes.patch),
        "backbone.prompt_embeddings": (1, sizes.prompts, width),
        "backbone.deep_prompt_embeddings": (sizes.depth - 1, sizes.prompts, width),
        **_linear("backbone.prompt_proj", width, width),
        **_norms("backbone", ("prompt_norm", "ln_pre", "ln_post"), width),
        **_blocks("backbone", sizes.depth, width),
        "text_encoder.positional_embedding": (77, d),
        "text_encoder.text_projection": (d, d),
        "text_encoder.token_embedding.weight": (64, d),
        **_norms("text_encoder", ("ln_final",), d),
        **_blocks("text_encoder", 2, d),
        LOSS_BUFFER: (len(_seen(sizes)) + 1,),
    }
    decoders, queries = ["decode_head.decoder_1"], ["decode_head.q_proj"]
    if sizes.cascade:
        levels = len(sizes.inner)
        shapes["backbone.proj_layers"] = (levels, width, d)
        shapes |= _norms("backbone.ln_layers", tuple(map(str, range(levels))), width)
        shapes |= {f"decode_head.weights_s{stage}": (3,) for stage in (1, 2)}
        decoders = [f"decode_head.cascade_decoders.{stage}" for stage in range(3)]
        queries = [f"decode_head.q_projs.{stage}" for stage in range(3)]
    for path in queries:
        shapes |= _linear(path, d, 2 * d)
    for decoder in decoders:
        for layer in range(sizes.decoder_layers):
            path = f"{decoder}.layers.{layer}"
            shapes |= _attention(f"{path}.self_attn", d)
            shapes |= _norms(path, ("norm1", "norm2", "norm3"), d)
            for name in ("q", "k", "v", "proj"):
                shapes |= _linear(f"{path}.multihead_attn.{name}", d, d)
            shapes |= _linear(f"{path}.linear1", 4 * d, d) | _linear(f"{path}.linear2", d, 4 * d)
    return shapes


def _blocks(path: str, depth: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(depth):
        block = f"{path}.transformer.resblocks.{index}"
        shapes |= _attention(f"{block}.attn", width) | _norms(block, ("ln_1", "ln_2"), width)
        shapes |= _linear(f"{block}.mlp.c_fc", 4 * width, width)
        shapes |= _linear(f"{block}.mlp.c_proj", width, 4 * width)
    return shapes


def _attention(path: str, width: int) -> dict[str, tuple[int, ...]]:
    inputs = {f"{path}.in_proj_weight": (3 * width, width), f"{path}.in_proj_bias": (3 * width,)}
    return {**inputs, **_linear(f"{path}.out_proj", width, width)}


def _linear(path: str, out_width: int, in_width: int) -> dict[str, tuple[int, ...]]:
    return {f"{path}.weight": (out_width, in_width), f"{path}.bias": (out_width,)}


def _norms(path: str, names: tuple[str, ...], width: int) -> dict[str, tuple[int, ...]]:
    return {f"{path}.{name}.{kind}": (width,) for name in names for kind in ("weight", "bias")}


@torch.no_grad()
def _forward(
    network: ReferenceNetwork, image: Tensor, text: Tensor, sizes: Sizes
) -> dict[str, Tensor]:
    levels, global_embedding = network.backbone(image)
    logits = network.decode_head(levels, global_embedding, text)
    lowered = logits.sigmoid()
    lowered[:, _seen(sizes)] -= 0.1
    return {
        **{f"features.{index}": level for index, level in enumerate(levels)},
        "cls_embedding": global_embedding,
        "mask_logits": logits,
        "transductive.scores": logits.sigmoid(),
        "inductive.scores": lowered,
    }


def _slide(
    network: ReferenceNetwork,
    text: Tensor,
    setting: str,
    sizes: Sizes,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    picture = torch.randn(1, 3, *sizes.picture, generator=generator)
    offsets = torch.zeros(sizes.classes)
    offsets[_seen(sizes)] = -0.1 if setting == "inductive" else 0.0
    scores = sliding_scores(
        lambda window: network(window, text),
        picture,
        crop=sizes.image,
        stride=sizes.stride,
        output_size=sizes.original,
        offsets=offsets,
    )
    slide = {"image": picture, "scores": scores, "labels": scores.argmax(1).to(torch.uint8)}
    return {f"{setting}.slide.{name}": value for name, value in slide.items()}


def _train(
    network: ReferenceNetwork,
    values: dict[str, Tensor],
    setting: str,
    sizes: Sizes,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    labels = _labels(sizes, generator)  # (B, H, W)
    seen, text, targets = torch.tensor(_seen(sizes)), values["text_embeddings"], labels
    network.zero_grad()
    if setting == "inductive":
        places = torch.full((256,), 255)
        places[seen] = torch.arange(len(seen))
        text, targets = text[seen], places[labels]
    logits = network(values["image"], text)
    step = {"labels": labels[:, None].to(torch.uint8)}
    if setting == "transductive":
        targets = pseudo_labels(logits, labels, torch.tensor(sizes.unseen))
        step["pseudo_labels"] = targets[:, None].to(torch.uint8)
    focal, dice = focal_and_dice(logits, targets)
    (focal + dice).backward()
    step |= {"loss_mask": focal.detach()[None], "loss_dice": dice.detach()[None]}
    made = {f"{setting}.train.{name}": value for name, value in step.items()}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            made[f"{setting}.grad.{name}"] = parameter.grad.clone()
            made[f"{setting}.grad_norm.{name}"] = parameter.grad.norm()[None]
    return made


def _labels(sizes: Sizes, generator: torch.Generator) -> Tensor:
    """Blocks of 8 x 8 pixels of one class, some of them ignored; and one class on an edge."""
    side = -(-sizes.image // 8)
    blocks = torch.randint(sizes.classes + 1, (sizes.pictures, side, side), generator=generator)
    labels = torch.where(blocks == sizes.classes, 255, blocks)
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :3] = 0
    return labels[:, : sizes.image, : sizes.image]


def _seen(sizes: Sizes) -> list[int]:
    return [index for index in range(sizes.classes) if index not in sizes.unseen]


def _names(sizes: Sizes) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(sizes.classes))
