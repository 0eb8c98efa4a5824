"""What is measured: one set of weights in several implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import torch
from benchmarks.reference.inference import sliding_labels as reference_labels
from benchmarks.reference.loss import focal_and_dice
from benchmarks.reference.network import ReferenceNetwork, reference_of
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.clip.build import build_clip
from cascade_clip.config import EncoderSettings, LossSettings, ModelSettings
from cascade_clip.config.heads import CrossAttentionSettings
from cascade_clip.inference.sliding import sliding_labels
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.model.fast.precision import Precision, at_precision
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import MaskNetwork

SEEN_SHARE = 156 / 171
TRAINED_CLASSES = 156
CLASSES = 171


@dataclass(frozen=True)
class Shape:
    """An architecture with random weights, and the windows it sees."""

    name: str
    width: int
    depth: int
    heads: int
    patch: int
    embed_dim: int
    prompts: int
    crop: int
    stride: int
    pretrained_image: int = 224

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """The published {6-8} {9-11} {12} of 12 blocks, at the end of any encoder."""
        last = self.depth
        return (last - 6, last - 5, last - 4), (last - 3, last - 2, last - 1), (last,)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("ViT-B/16", 768, 12, 12, 16, 512, prompts=50, crop=512, stride=426),
        Shape("ViT-L/14", 1024, 24, 16, 14, 768, prompts=50, crop=504, stride=420),
        Shape("tiny", 64, 7, 4, 8, 32, prompts=4, crop=64, stride=48, pretrained_image=32),
    )
}


def at_resolution(shape: Shape, side: int) -> Shape:
    return replace(shape, crop=side, stride=side)


def build_network(shape: Shape, device: torch.device) -> SegmentationNetwork:
    """Cascade-CLIP's settings, random weights from a fixed seed, in evaluation mode."""
    torch.manual_seed(0)
    vision = {
        "layers": shape.depth,
        "width": shape.width,
        "head_width": shape.width // shape.heads,
        "patch_size": shape.patch,
        "image_size": shape.pretrained_image,
    }
    text = {"context_length": 8, "vocab_size": 32, "width": 64, "heads": 2, "layers": 1}
    visual = build_clip(shape.embed_dim, vision, text, quick_gelu=True).visual
    settings = ModelSettings(
        encoder=EncoderSettings(prompts=shape.prompts),
        head=CrossAttentionSettings(stages=shape.stages),
    )
    return SegmentationNetwork(visual, settings).to(device).eval()


def random_text(shape: Shape, classes: int, device: torch.device) -> Tensor:
    """Unit vectors (C, d)."""
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(classes, shape.embed_dim, generator=generator), dim=-1).to(
        device
    )


def random_pictures(count: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Normalised pictures (B, 3, H, W): noise at several scales, as photographs have."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.zeros(count, 3, *size)
    for scale in (64, 16, 4, 1):
        coarse = torch.randn(
            count, 3, size[0] // scale + 1, size[1] // scale + 1, generator=generator
        )
        noise += F.interpolate(coarse, size=size, mode="bilinear", align_corners=False) / 2
    return noise.to(device)


def random_labels(count: int, side: int, classes: int, device: torch.device) -> Tensor:
    """Labels (B, side, side): 8 x 8 blocks of some ten classes a picture, a tenth ignored."""
    generator = torch.Generator().manual_seed(3)
    blocks = torch.empty(count, 8, 8, dtype=torch.long)
    for picture in range(count):
        present = torch.randperm(classes, generator=generator)[:10]
        blocks[picture] = present[torch.randint(len(present), (8, 8), generator=generator)]
    blocks[torch.rand(blocks.shape, generator=generator) < 0.1] = 255
    labels = F.interpolate(blocks[:, None].float(), size=(side, side), mode="nearest")
    return labels[:, 0].long().to(device)


@dataclass(frozen=True)
class Options:
    """How an implementation runs."""

    precision: Precision = "fp32"
    """Of this package."""
    autocast: bool = False
    """Of the reference: bfloat16 autocast."""
    compiled: bool = False
    checkpointed: bool = False
    tf32: bool = False
    """On a GPU, float32 products in TF32."""


class Ours:
    """This package."""

    def __init__(self, network: SegmentationNetwork, shape: Shape, options: Options) -> None:
        self.shape, self.options = shape, options
        self.network = network if network.training else at_precision(network, options.precision)
        self.forward = torch.compile(self.network) if options.compiled else self.network
        self.loss = SegmentationLoss(LossSettings())

    def labels(self, pictures: Tensor, text: Tensor) -> Tensor:
        with products(self.options):
            return sliding_labels(
                cast(MaskNetwork, self.forward),
                pictures,
                text,
                **sliding_options(self.shape, pictures, len(text)),
                window_batch=max(8, len(pictures)),
            )

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> None:
        with products(self.options):
            self.network.encoder(pictures)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        parameters = self.network.trained_parameters().values()
        return torch.optim.AdamW(parameters, lr=1e-5, fused=True)

    def train_step(self, pictures: Tensor, labels: Tensor, text: Tensor) -> None:
        self.network.encoder.checkpoint_activations = self.options.checkpointed
        self.optimizer.zero_grad()
        with products(self.options):
            with autocast(pictures.device, self.options.precision == "bf16"):
                mask_logits = self.forward(pictures, text).mask_logits
            self.loss(mask_logits, labels).total.backward()
        self.optimizer.step()


class Reference:
    """The plain translation."""

    def __init__(self, network: SegmentationNetwork, shape: Shape, options: Options) -> None:
        self.shape, self.options = shape, options
        self.network: ReferenceNetwork = reference_of(network, shape.crop)
        self.forward = torch.compile(self.network) if options.compiled else self.network
        self.loss = torch.compile(focal_and_dice) if options.compiled else focal_and_dice

    def labels(self, pictures: Tensor, text: Tensor) -> Tensor:
        with products(self.options):
            return reference_labels(
                partial(self._predict, text),
                pictures,
                **sliding_options(self.shape, pictures, len(text)),
            )

    def _predict(self, text: Tensor, windows: Tensor) -> Tensor:
        with autocast(windows.device, self.options.autocast):
            mask_logits: Tensor = self.forward(windows, text)
        return mask_logits.float()

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> None:
        with products(self.options), autocast(pictures.device, self.options.autocast):
            self.network.backbone(pictures)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=1e-5)

    def train_step(self, pictures: Tensor, labels: Tensor, text: Tensor) -> None:
        self.optimizer.zero_grad()
        with products(self.options):
            with autocast(pictures.device, self.options.autocast):
                mask_logits = self.forward(pictures, text)
            focal, dice = self.loss(mask_logits.float(), labels)
            (focal + dice).backward()
        self.optimizer.step()


Subject = Ours | Reference
Build = Callable[[SegmentationNetwork, Shape], Subject]


def _ours(**options: Any) -> Build:
    return partial(Ours, options=Options(**options))


def _reference(**options: Any) -> Build:
    return partial(Reference, options=Options(**options))


BASELINE = "reference"
COMPILED_BASELINE = "reference, autocast, compiled"
SUBJECTS: dict[str, Build] = {
    BASELINE: _reference(),
    "reference, TF32": _reference(tf32=True),
    "reference, autocast": _reference(autocast=True),
    COMPILED_BASELINE: _reference(autocast=True, compiled=True),
    "fp32": _ours(),
    "fp32, TF32": _ours(tf32=True),
    "bf16": _ours(precision="bf16"),
    "int8": _ours(precision="int8"),
    "bf16, compiled": _ours(precision="bf16", compiled=True),
    "fp32, checkpointed": _ours(checkpointed=True),
    "bf16, checkpointed": _ours(precision="bf16", checkpointed=True),
}
"""Name -> an implementation with a network's weights, in that network's mode."""


def sliding_options(shape: Shape, pictures: Tensor, classes: int) -> dict[str, Any]:
    """The settings of sliding windows for pictures (B, 3, H, W)."""
    offsets = torch.zeros(classes, device=pictures.device)
    offsets[: round(SEEN_SHARE * classes)] = -0.1
    return {
        "crop": shape.crop,
        "stride": shape.stride,
        "output_size": (pictures.shape[2], pictures.shape[3]),
        "offsets": offsets,
    }


@contextmanager
def products(options: Options) -> Iterator[None]:
    """Whether float32 products on a GPU are rounded to TF32, as `options` say."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if options.tf32 else "highest")
    with torch.backends.cudnn.flags(allow_tf32=options.tf32):
        yield
    torch.set_float32_matmul_precision(before)


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
