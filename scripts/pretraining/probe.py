"""How well the tiny CLIP knows what is in a picture, measured while it trains."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multilabel_average_precision

from cascade_clip.clip.templates import SINGLE_TEMPLATE
from cascade_clip.picturebook import CLASSES, draw_scene
from scripts.pretraining.module import PretrainModule
from scripts.pretraining.objective import embed_pictures, embed_texts

PROBE_SEED = 50_000
"""Scenes apart from those of training and of every evaluation."""


class PresenceProbe(L.Callback):
    """Logs the mean average precision of which classes the first `scenes` scenes of the probe
    hold, `size` pixels wide."""

    def __init__(self, every: int, scenes: int, size: int) -> None:
        self.every = every
        drawn = [draw_scene(PROBE_SEED, index, size) for index in range(scenes)]
        images = torch.stack([torch.from_numpy(scene.image) for scene in drawn])
        labels = torch.stack([torch.from_numpy(scene.mask).long() for scene in drawn])
        self.images = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0  # (scenes, 3, H, W)
        self.present = F.one_hot(labels.flatten(1), len(CLASSES)).amax(dim=1)  # (scenes, C)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, *unused: object
    ) -> None:
        assert isinstance(module, PretrainModule)
        if trainer.global_step % self.every == 0:
            precision = self.precision(module)
            module.log("presence", precision)
            print(f"\nstep {trainer.global_step}: presence mAP {precision:.3f}", flush=True)

    @torch.no_grad()
    def precision(self, module: PretrainModule) -> float:
        """Mean average precision over classes, 0 to 1."""
        tokens = module.tokenize([SINGLE_TEMPLATE[0].format(name) for name in CLASSES])
        names = embed_texts(module.clip, tokens.to(module.device))  # (C, d)
        chunks = self.images.to(module.device).split(32)
        pictures = torch.cat([embed_pictures(module.clip.visual, chunk) for chunk in chunks])
        similarity = (pictures @ names.T).cpu()  # (scenes, C)
        return float(multilabel_average_precision(similarity, self.present, len(CLASSES)))
