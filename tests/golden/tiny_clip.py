"""A tiny random CLIP and drawn pictures, the same on every machine: from numpy's RandomState, whose
numbers never change. The released code of training-free methods was run on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade_clip.clip.build import build_clip

WIDTH, EMBED_DIM, DEPTH, GRID = 128, 64, 12, 14
VISION = {"image_size": 224, "layers": DEPTH, "width": WIDTH, "head_width": 64, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 1024, "width": 64, "heads": 1, "layers": 2}
SEED = 11
PICTURE_SEEDS = {"square": (224, 224, 209), "tall": (288, 224, 211), "wide": (224, 288, 212)}
PICTURE_SEEDS |= {"large": (448, 448, 213), "original": (240, 320, 138)}
"""Height, width and seed of each picture."""


def build_tiny_clip(*, quick_gelu: bool = True, eps: float = 1e-5) -> Any:
    """An open_clip `CLIP` whose image encoder has these weights; its text encoder is random."""
    clip = build_clip(EMBED_DIM, VISION, TEXT, quick_gelu=quick_gelu)
    clip.visual.load_state_dict(visual_weights())
    for module in clip.visual.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = eps
    return clip


def visual_weights() -> dict[str, Tensor]:
    """Weights of the image encoder; every value is exact in float16."""
    random = np.random.RandomState(SEED)
    weights: dict[str, Tensor] = {}

    def keep(name: str, values: NDArray[np.float64]) -> None:
        weights[name] = torch.from_numpy(values.astype(np.float16).astype(np.float32))

    def draw(name: str, shape: tuple[int, ...], std: float, mean: float = 0.0) -> None:
        keep(name, mean + std * random.standard_normal(shape))

    def norm(name: str) -> None:
        draw(f"{name}.weight", (WIDTH,), 0.15, 1.0)
        draw(f"{name}.bias", (WIDTH,), 0.1)

    root = WIDTH**-0.5
    draw("class_embedding", (WIDTH,), 0.6)
    keep("positional_embedding", _positions(random))
    draw("proj", (WIDTH, EMBED_DIM), root)
    draw("conv1.weight", (WIDTH, 3, 16, 16), 1 / 16)
    norm("ln_pre")
    for number in range(DEPTH):
        block = f"transformer.resblocks.{number}."
        norm(block + "ln_1")
        query_key = 1.3 * root * random.standard_normal((2 * WIDTH, WIDTH))
        value = root * random.standard_normal((WIDTH, WIDTH))
        keep(block + "attn.in_proj_weight", np.concatenate([query_key, value]))
        draw(block + "attn.in_proj_bias", (3 * WIDTH,), 0.2)
        draw(block + "attn.out_proj.weight", (WIDTH, WIDTH), 0.3 * root)
        draw(block + "attn.out_proj.bias", (WIDTH,), 0.1)
        norm(block + "ln_2")
        draw(block + "mlp.c_fc.weight", (4 * WIDTH, WIDTH), root)
        draw(block + "mlp.c_fc.bias", (4 * WIDTH,), 0.1)
        draw(block + "mlp.c_proj.weight", (WIDTH, 4 * WIDTH), 0.2 * (4 * WIDTH) ** -0.5)
        draw(block + "mlp.c_proj.bias", (WIDTH,), 0.1)
    norm("ln_post")
    return weights


def _positions(random: np.random.RandomState) -> NDArray[np.float64]:
    """A smooth table with some noise, so that resizing it means something: (1 + N, D)."""
    line = np.linspace(0, 1, GRID)
    y, x = np.meshgrid(line, line, indexing="ij")
    waves = list(
        zip(
            random.randint(0, 3, 12),
            random.randint(0, 3, 12),
            random.uniform(0, 6.28, 12),
            strict=True,
        )
    )
    planes = [np.sin(2 * np.pi * (a * y + b * x) + phase) for a, b, phase in waves]
    smooth = np.stack(planes, axis=-1).reshape(GRID**2, 12)
    class_token = 0.3 * random.standard_normal((1, WIDTH))
    mixed = 0.15 * smooth @ random.standard_normal((12, WIDTH))
    noise = 0.15 * random.standard_normal((GRID**2, WIDTH))
    return np.concatenate([class_token, mixed + noise])


def draw_picture(name: str) -> NDArray[np.uint8]:
    """Striped ellipses over colour gradients, with noise: (H, W, 3)."""
    height, width, seed = PICTURE_SEEDS[name]
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    phases = random.uniform(0, 6, (3, 2))
    waves = [np.sin(y / height * 3.1 + p) * np.cos(x / width * 2.3 + q) for p, q in phases]
    image = np.stack([120 + 90 * wave for wave in waves], axis=-1)
    for _ in range(9):
        row, column = random.uniform(0, height), random.uniform(0, width)
        tall, wide = random.uniform(0.08, 0.25) * height, random.uniform(0.08, 0.25) * width
        inside = np.abs((y - row) / tall) ** 2.5 + np.abs((x - column) / wide) ** 2.5 < 1
        first, second = random.uniform(0, 255, 3), random.uniform(0, 255, 3)
        period, angle = random.uniform(3, 14), random.uniform(0, 3.14)
        along = np.cos(angle) * x + np.sin(angle) * y
        stripes = (np.sin(along * 2 * np.pi / period) > 0)[..., None]
        image = np.where(inside[..., None], np.where(stripes, first, second), image)
    image += random.normal(0, 9, image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
