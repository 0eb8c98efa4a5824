"""What the tiny CLIPs know without any mask: `python -m benchmarks.tiny_clip`.

Prints JSON: patch mIoU by arg-max over cosine similarities, mean average precision of which classes
a picture holds, top-1 accuracy for the one thing in a picture, mIoU of the training-free methods,
and block by block the average precision with which patches like one inside an object find all of
it. Test scenes of the picture book, names in the single template.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from benchmarks.picturebook import by_offset
from torch import Tensor
from torchmetrics.classification import MultilabelAveragePrecision

from cascade_clip.analysis.localization.compute import localize
from cascade_clip.analysis.subjects import Subject
from cascade_clip.checkpoint.source import METHODS
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.clip.templates import SINGLE_TEMPLATE
from cascade_clip.config import ClipSettings, PicturebookSettings
from cascade_clip.config.model import EMBEDDED_CLIPS
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.evaluation.evaluate import DatasetBatches
from cascade_clip.evaluation.methods import Method
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.evaluation.training_free import measure_methods
from cascade_clip.picturebook import CLASSES, THINGS

SIMILAR = "average precision of similar patches"
LARGER = 144
"""Pixels, besides the CLIP's own picture size: that of the benchmark's networks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clip", nargs="+", default=list(EMBEDDED_CLIPS), help="as the setting model.clip.model"
    )
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--plot", type=Path, help="PNG of the average precision over the blocks")
    arguments = parser.parse_args()
    results = {model: measure(model, arguments.scenes) for model in arguments.clip}
    print(json.dumps(results, indent=2))
    if arguments.plot is not None:
        plot_blocks({model: found[SIMILAR] for model, found in results.items()}, arguments.plot)


def measure(model: str, scenes: int) -> dict[str, Any]:
    """What one CLIP knows, in percent."""
    clip = load_clip(ClipSettings(model=model))
    names = clip.text_encoder(CLASSES)
    return {
        "fingerprint": clip.fingerprint[:12],
        "parameters": sum(p.numel() for p in clip.model.parameters()),
        **{
            f"patch mIoU, {side} px": segmentation(clip, names, scenes, side)
            for side in (clip.image_size, LARGER)
        },
        "presence mAP": presence(clip, names, scenes),
        "single thing top-1": single_thing(clip, names, scenes),
        **{
            f"training-free mIoU, {side} px": training_free(clip, scenes // 3, side)
            for side in (clip.image_size, LARGER)
        },
        SIMILAR: localization(clip, scenes // 3),
    }


def plot_blocks(precision: dict[str, list[float]], path: Path) -> None:
    """A line over the blocks for each CLIP."""
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for model, values in precision.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", label=model)
    axes.set(xlabel="block", ylabel=f"{SIMILAR} (%)", xticks=range(1, 13))
    axes.legend()
    figure.savefig(path, dpi=110)


def sized(side: int) -> list[str]:
    """Settings for scenes and windows of one size."""
    sizes = [f"inference.{key}={side}" for key in ("crop", "stride", "short_side")]
    return [*sizes, f"data.picturebook.size={side}"]


def training_free(clip: FrozenClip, scenes: int, side: int) -> dict[str, float]:
    """mIoU in percent of the methods without training, on scenes `side` pixels wide, each seen once
    as by the published protocols."""
    settings = [*sized(side), "inference.shifts=1"]
    recipes = [load_recipe(f"{method}/picturebook", settings) for method in METHODS]
    results = measure_methods(clip, recipes, torch.device("cpu"), pictures=scenes, quiet=True)
    return {
        method: round(100 * float(result.metrics.miou), 1)
        for method, result in zip(METHODS, results, strict=True)
    }


def localization(clip: FrozenClip, scenes: int) -> list[float]:
    """By block, in percent, at the CLIP's own picture size."""
    recipe = load_recipe("cascade-clip/picturebook/inductive", sized(clip.image_size))
    raw = RawClip(clip.visual).eval()
    subject = Subject(clip.name, raw, raw_clip_recipe(recipe), clip, SINGLE_TEMPLATE)
    dataset = PicturebookDataset(recipe.data.picturebook, "test", scenes)
    with torch.inference_mode():
        found = localize([subject], dataset, range(1, clip.depth + 1))
    tokens = next(curve for curve in found.curves if curve.query == "seed patch")
    return [round(100 * float(value), 1) for value in tokens.means()[:, 0]]


def segmentation(clip: FrozenClip, names: Tensor, scenes: int, side: int) -> dict[str, float]:
    """mIoU in percent on scenes `side` pixels wide."""
    recipe = load_recipe("cascade-clip/picturebook/inductive", sized(side))
    method = Method(RawClip(clip.visual), raw_clip_recipe(recipe), clip.normalisation)
    row = by_offset(method, names, "test", scenes, [0.0])[0.0]
    return {key: round(value, 1) for key, value in row.items()}


def presence(clip: FrozenClip, names: Tensor, scenes: int) -> float:
    """Mean average precision over classes, in percent."""
    similarity, labels = look(clip, names, PicturebookSettings(size=clip.image_size), scenes)
    present = F.one_hot(labels.flatten(1), len(CLASSES)).amax(dim=1)  # (scenes, C)
    precision = MultilabelAveragePrecision(len(CLASSES))
    return round(100 * float(precision(similarity, present)), 1)


def single_thing(clip: FrozenClip, names: Tensor, scenes: int) -> float:
    """Accuracy in percent of the most similar thing, in scenes with one thing."""
    settings = PicturebookSettings(size=clip.image_size, things=(1, 1))
    similarity, labels = look(clip, names, settings, scenes)
    things = len(THINGS)
    truth = torch.stack([scene[scene < things].flatten().mode().values for scene in labels])
    return round(100 * float((similarity[:, :things].argmax(dim=1) == truth).float().mean()), 1)


@torch.inference_mode()
def look(
    clip: FrozenClip, names: Tensor, settings: PicturebookSettings, scenes: int
) -> tuple[Tensor, Tensor]:
    """Picture-name similarities (scenes, C) and labels (scenes, H, W)."""
    similarity, labels = [], []
    mean, std = torch.tensor(clip.mean), torch.tensor(clip.std)
    for batch in DatasetBatches(PicturebookDataset(settings, "test", scenes), batch_size=16):
        images = (batch.images / 255 - mean[:, None, None]) / std[:, None, None]
        pictures = F.normalize(clip.model.encode_image(images), dim=-1)  # (B, d)
        similarity.append(pictures @ names.T)
        labels.append(batch.labels)
    return torch.cat(similarity), torch.cat(labels)


if __name__ == "__main__":
    main()
