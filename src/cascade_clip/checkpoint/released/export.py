"""Our networks back to the released format, so that results can be compared in the old stack."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.checkpoint.released.classes import Classes, Templates
from cascade_clip.checkpoint.released.infer import Preprocessing
from cascade_clip.checkpoint.released.keys import (
    ReleasedSizes,
    dead_fill,
    text_renames,
    to_released,
)
from cascade_clip.checkpoint.released.load import ReleasedModel
from cascade_clip.config import ModelSettings
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import has_quick_gelu
from cascade_clip.model.network import SegmentationNetwork

POSITIONS = "encoder.visual.positional_embedding"


def describe_network(
    network: SegmentationNetwork,
    clip: nn.Module,
    classes: Classes,
    preprocessing: Preprocessing,
    templates: Templates = "single",
) -> ReleasedModel:
    """Our network and open_clip's `CLIP` below it as a `ReleasedModel`.

    A position embedding that the network would resize over a stored grid is resized to it here,
    which is what the released code stores.

    Raises `UserError` for settings that the released code has no place for, naming them.
    """
    settings = network.settings
    visual = network.encoder.visual
    _check_expressible(settings, network.encoder.depth, visual, clip)
    first_text_block: Any = clip.get_submodule("transformer.resblocks.0")
    stages = settings.head.stages
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    grid = settings.encoder.stored_grid or visual.grid_size[0]
    state[POSITIONS] = _resize_positions(state[POSITIONS], visual.grid_size, grid)
    text_blocks = clip.get_submodule("transformer.resblocks")
    vocabulary, text_width = clip.get_parameter("token_embedding.weight").shape
    sizes = ReleasedSizes(
        depth=network.encoder.depth,
        inner_levels=len(network.encoder.inner_blocks),
        stages=len(stages),
        decoder_layers=settings.head.decoder_layers,
        embed_dim=network.encoder.embed_dim,
        text_depth=len(list(text_blocks.children())),
        loss_classes=len(classes.seen if classes.setting == "inductive" else classes.names),
    )
    patch, width = network.encoder.patch_size[0], network.encoder.width
    vision_heads = visual.transformer.resblocks[0].attn.num_heads
    clip_state = {name: value.detach().cpu() for name, value in clip.state_dict().items()}
    return ReleasedModel(
        settings=settings.model_copy(
            update={"encoder": settings.encoder.model_copy(update={"stored_grid": None})}
        ),
        sizes=sizes,
        vision={
            "layers": sizes.depth,
            "width": width,
            "head_width": width // vision_heads,
            "patch_size": patch,
            "image_size": grid * patch,
        },
        text={
            "context_length": clip_state["positional_embedding"].shape[0],
            "vocab_size": vocabulary,
            "width": text_width,
            "heads": first_text_block.attn.num_heads,
            "layers": sizes.text_depth,
        },
        network_state=state,
        text_state={name: clip_state[name] for name in text_renames(sizes).values()},
        classes=classes,
        preprocessing=preprocessing,
        templates=templates,
    )


def released_checkpoint(model: ReleasedModel) -> dict[str, Any]:
    """What the released code's `.pth` holds: `meta` with the config's text, and `state_dict`.

    Weights that the released modules hold but never use are filled with zeros (norms with ones).
    """
    state = to_released(model.network_state, model.sizes)
    text = {theirs: model.text_state[ours] for theirs, ours in text_renames(model.sizes).items()}
    meta = {"CLASSES": model.classes.names, "config": _config_text(model)}
    return {"meta": meta, "state_dict": {**state, **text, **dead_fill(model.sizes)}}


def save_released(model: ReleasedModel, path: Path) -> None:
    """Writes `released_checkpoint`; the file appears only when complete.

    Raises `UserError` if it can't be written.
    """
    checkpoint = released_checkpoint(model)
    checkpoint["state_dict"] = _own_storage(checkpoint["state_dict"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
        try:
            torch.save(checkpoint, unfinished)
            Path(unfinished).chmod(0o644)
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"the checkpoint can't be written to {path}: {error}") from error


def _check_expressible(settings: ModelSettings, depth: int, visual: Any, clip: nn.Module) -> None:
    encoder, head = settings.encoder, settings.head
    single = head.stages == ((depth,),)
    lengths = tuple(len(stage) for stage in head.stages)
    cascade = lengths == (3, 3, 1) and head.stages[-1] == (depth,) and head.aggregation == "nga"
    quick_gelu = has_quick_gelu(visual.transformer.resblocks[0])
    problems = {
        "encoder.tuning must be 'deep-prompts'": encoder.tuning != "deep-prompts",
        "encoder.class_embedding_twice must be true": not encoder.class_embedding_twice,
        "the CLIP must use QuickGELU": not quick_gelu,
        "the position grid must be square": len(set(visual.grid_size)) != 1,
        "head.relationship_descriptor must be true": not head.relationship_descriptor,
        "head.decoder must be 'cross-attention'": head.decoder != "cross-attention",
        "the query projections must not be shared": head.shared_queries and not single,
        f"head.stages must be [[{depth}]], or three, three and the last block with aggregation "
        "'nga'": not (single or cascade),
        "the CLIP must have a text encoder of OpenAI's form": not hasattr(clip, "ln_final"),
    }
    broken = [problem for problem, present in problems.items() if present]
    if broken:
        raise UserError("the released code can't hold this model: " + "; ".join(broken))


def _resize_positions(positions: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """(1 + h0 * w0, D) to (1 + side^2, D)."""
    if tuple(grid) == (side, side):
        return positions
    plane = positions[1:].T.unflatten(1, tuple(grid))[None]  # (1, D, h0, w0)
    plane = F.interpolate(plane, size=(side, side), mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], plane[0].flatten(1).T])


def _own_storage(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies, so that a part of a larger tensor is saved without the rest."""
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def _config_text(model: ReleasedModel) -> str:
    """The part of the released config that describes the model, as Python assignments."""
    classes, head, vision = model.classes, model.settings.head, model.vision
    every = list(range(len(classes.names)))
    inner = [block - 1 for stage in head.stages for block in stage if block < vision["layers"]]
    backbone = {
        "type": "VPTCLIPVisionTransformer",
        "patch_size": vision["patch_size"],
        "width": vision["width"],
        "heads": vision["width"] // vision["head_width"],
        "output_dim": model.embed_dim,
        "get_embeddings": True,
        "layers": vision["layers"],
        "input_resolution": vision["image_size"],
        "out_indices": inner or [vision["layers"] - 1],
        "num_tokens": model.settings.encoder.prompts,
        "prompt_dim": vision["width"],
        "total_d_layer": vision["layers"] - 1,
    }
    decode_head = {
        "type": "ATMSingleHeadSeg",
        "img_size": vision["image_size"],
        "in_channels": model.embed_dim,
        "num_classes": len(every),
        "seen_idx": list(classes.seen),
        "all_idx": every,
        "embed_dims": model.embed_dim,
        "num_layers": head.decoder_layers,
        "num_heads": head.decoder_heads,
        "use_stages": len(inner) or 1,
    }
    segmentor = {
        "type": "CascadeCLIP" if model.sizes.cascade else "ZegCLIP",
        "context_length": model.text["context_length"],
        "backbone": backbone,
        "text_encoder": {
            "type": "CLIPTextEncoder",
            "context_length": model.text["context_length"],
            "vocab_size": model.text["vocab_size"],
            "transformer_width": model.text["width"],
            "transformer_heads": model.text["heads"],
            "transformer_layers": model.text["layers"],
            "embed_dim": model.embed_dim,
        },
        "decode_head": decode_head,
        "test_cfg": {
            "mode": "slide",
            "crop_size": (model.preprocessing.crop,) * 2,
            "stride": (model.preprocessing.stride,) * 2,
        },
        "base_class": list(classes.seen),
        "novel_class": list(classes.unseen),
        "both_class": every,
        "self_training": classes.setting == "transductive",
        "class_names": list(classes.names),
        "load_text_embedding": f"{'multi' if model.templates == 'many' else 'single'}.npy",
    }
    norm = {
        "mean": [channel * 255 for channel in model.preprocessing.mean],
        "std": [channel * 255 for channel in model.preprocessing.std],
        "to_rgb": True,
    }
    return f"model = {segmentor!r}\nimg_norm_cfg = {norm!r}\n"
