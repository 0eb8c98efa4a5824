"""What a tiny CLIP knows without any mask: `python benchmarks/tiny_clip.py`.

Prints JSON: patch mIoU by arg-max over cosine similarities, mean average precision of which classes
a picture holds, and top-1 accuracy for the one thing in a picture. Test scenes of the picture book,
names in the single template.
"""

from __future__ import annotations

import argparse
import json

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MultilabelAveragePrecision

from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.config import ClipSettings, PicturebookSettings
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.evaluation.evaluate import DatasetBatches
from cascade_clip.evaluation.methods import Method
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.picturebook import CLASSES, THINGS
from picturebook import by_offset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", default="picturebook", help="as the setting model.clip.model")
    parser.add_argument("--scenes", type=int, default=300)
    arguments = parser.parse_args()
    clip = load_clip(ClipSettings(model=arguments.clip))
    names = clip.text_encoder(CLASSES)
    result = {
        "fingerprint": clip.fingerprint[:12],
        "parameters": sum(p.numel() for p in clip.model.parameters()),
        f"patch mIoU, {clip.image_size} px": segmentation(clip, names, arguments.scenes),
        "presence mAP": presence(clip, names, arguments.scenes),
        "single thing top-1": single_thing(clip, names, arguments.scenes),
    }
    print(json.dumps(result, indent=2))


def segmentation(clip: FrozenClip, names: Tensor, scenes: int) -> dict[str, float]:
    """mIoU in percent at the CLIP's own picture size."""
    side = clip.image_size
    sizes = [f"inference.{key}={side}" for key in ("crop", "stride", "short_side")]
    recipe = load_recipe(
        "cascade-clip/picturebook/inductive", [*sizes, f"data.picturebook.size={side}"]
    )
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
