"""How well the tiny CLIP segments without any training on masks, measured while it trains."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.clip.text import SINGLE_TEMPLATE
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.picturebook import CLASSES, THINGS, UNSEEN, draw_scene
from scripts.pretraining.module import PretrainModule
from scripts.pretraining.objective import embed_images, embed_texts

PROBE_SEED = 30_000
"""Scenes apart from those of training and of every evaluation."""


class ZeroShotProbe(L.Callback):
    """Logs mIoU of arg-max over patch-name similarities on scenes kept apart."""

    def __init__(self, every: int, scenes: int, size: int) -> None:
        self.every, self.scenes, self.size = every, scenes, size

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, *unused: object
    ) -> None:
        assert isinstance(module, PretrainModule)
        if trainer.global_step % self.every == 0:
            iou = zero_shot_iou(module, self.scenes, self.size)
            module.log_dict({f"probe/{name}": value for name, value in iou.items()})
            shown = ", ".join(f"{name} {value:.3f}" for name, value in iou.items())
            print(f"\nstep {trainer.global_step}: zero-shot mIoU {shown}", flush=True)


@torch.no_grad()
def zero_shot_iou(module: PretrainModule, scenes: int, size: int) -> dict[str, float]:
    """Mean IoU over all classes, things and stuff, on the first `scenes` scenes of the probe."""
    device = module.device
    names = embed_texts(module.clip, class_tokens(module).to(device))  # (C, d)
    metrics = SegmentationMetrics(CLASSES, UNSEEN).to(device)
    for index in range(scenes):
        scene = draw_scene(PROBE_SEED, index, size)
        image = torch.from_numpy(scene.image).to(device).permute(2, 0, 1)[None]  # (1, 3, H, W)
        labels = label_patches(module.clip.visual, image.float() / 127.5 - 1.0, names)
        metrics.update(labels, torch.from_numpy(scene.mask)[None].long().to(device))
    iou = metrics.compute().iou_per_class
    things = [iou[name] for name in CLASSES if name in THINGS]
    stuff = [iou[name] for name in CLASSES if name not in THINGS]
    return {
        "all": sum(things + stuff) / len(iou),
        "things": sum(things) / len(things),
        "stuff": sum(stuff) / len(stuff),
    }


def class_tokens(module: PretrainModule) -> Tensor:
    """Tokens (C, T) of the names in the single template."""
    return module.tokenize([SINGLE_TEMPLATE[0].format(name) for name in CLASSES])


def label_patches(visual: Any, image: Tensor, names: Tensor) -> Tensor:
    """Labels (B, H, W) by arg-max over the upsampled similarity of pictures' patches to names."""
    patches = embed_images(visual, image).patches  # (B, N, d)
    grid = (image.shape[-2] // visual.patch_size[0], image.shape[-1] // visual.patch_size[1])
    similarity = (patches @ names.T).transpose(1, 2).unflatten(2, grid)  # (B, C, h, w)
    upsampled = F.interpolate(similarity, image.shape[-2:], mode="bilinear", align_corners=False)
    return upsampled.argmax(dim=1)
