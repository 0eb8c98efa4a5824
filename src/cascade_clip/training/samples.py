"""What the network predicts on a few validation pictures, drawn after each validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image, ImageDraw, ImageFont

from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole
from cascade_clip.io.overlay import Chip, add_legend, paint_labels
from cascade_clip.io.palette import IGNORED, class_colours
from cascade_clip.training.module import TrainingModule

PANEL = 320
"""Longest side of one panel, in pixels."""
GAP = 12
PAPER, INK = (250, 250, 250), (32, 33, 36)

Labels = npt.NDArray[np.integer]


class SamplePictures(Callback):
    """Draws the first `count` pictures of `dataset` after each validation: `samples/step-N.png` in
    the run folder `out`, and one picture each in TensorBoard and Weights & Biases."""

    def __init__(self, dataset: SegmentationDataset, count: int, out: Path) -> None:
        self.dataset = dataset
        self.count = min(count, len(dataset))
        self.folder = out / "samples"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or not self.count:
            return
        assert isinstance(pl_module, TrainingModule)
        samples = list(self._readable())
        if not samples:
            return
        rows = [
            draw_comparison(sample, _predict(pl_module, sample), pl_module.classes)
            for sample in samples
        ]
        step = trainer.global_step
        page = _below_each_other(rows)
        write_whole(self.folder / f"step-{step:06d}.png", lambda path: page.save(path, "PNG"))
        for sample, row in zip(samples, rows, strict=True):
            _log(trainer, f"samples/{sample.name}", row)

    def _readable(self) -> Iterator[Sample]:
        for index in range(self.count):
            with suppress(UserError):  # validation has warned of it
                yield self.dataset[index]


def _log(trainer: pl.Trainer, name: str, picture: Image.Image) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(picture)
            logger.experiment.add_image(name, pixels, trainer.global_step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture])


def draw_comparison(sample: Sample, predicted: Labels, classes: ClassSet) -> Image.Image:
    """Picture, truth and prediction (H, W) side by side, with a legend below.

    The legend names all classes of truth and prediction, with their shares of the truth. Pixels
    that don't count are nearly white in the truth.
    """
    truth = sample.labels.cpu().numpy()
    colours = class_colours(classes.names)
    counted = (truth != IGNORE) & (truth != UNLABELLED)
    right = (truth == predicted)[counted].mean() if counted.any() else float("nan")
    panels = {
        sample.name: Image.fromarray(sample.image.permute(1, 2, 0).cpu().numpy()),
        "truth": paint_labels(truth, colours, other=IGNORED),
        f"prediction, {right:.0%} right": paint_labels(predicted, colours, other=IGNORED),
    }
    row = _side_by_side(list(panels), [_fit(panel) for panel in panels.values()])
    shown = [f"{name} (unseen)" if name in classes.unseen else name for name in classes.names]
    chips = [
        Chip(shown[label], colours[label], float((truth == label).mean()))
        for label in np.union1d(truth[counted], predicted).astype(int)
    ]
    return add_legend(row, chips)


def _predict(module: TrainingModule, sample: Sample) -> Labels:
    training = module.network.training
    module.network.eval()
    try:
        images = sample.image[None].to(module.device)  # (1, 3, H, W)
        return module.predict_labels(images)[0].cpu().numpy()
    finally:
        module.network.train(training)


def _fit(panel: Image.Image) -> Image.Image:
    """Scaled so that the longest side is `PANEL`; colours of label maps are not mixed."""
    scale = PANEL / max(panel.size)
    size = (max(1, round(panel.width * scale)), max(1, round(panel.height * scale)))
    return panel.resize(size, Image.Resampling.NEAREST)


def _side_by_side(titles: Sequence[str], panels: Sequence[Image.Image]) -> Image.Image:
    font, head = ImageFont.load_default(20), 36
    width = sum(panel.width for panel in panels) + GAP * (len(panels) + 1)
    page = Image.new("RGB", (width, head + max(panel.height for panel in panels)), PAPER)
    draw = ImageDraw.Draw(page)
    left = GAP
    for title, panel in zip(titles, panels, strict=True):
        draw.text((left, head // 2), title, font=font, fill=INK, anchor="lm")
        page.paste(panel, (left, head))
        left += panel.width + GAP
    return page


def _below_each_other(rows: Sequence[Image.Image]) -> Image.Image:
    width, height = max(row.width for row in rows), sum(row.height for row in rows)
    page = Image.new("RGB", (width, height), PAPER)
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height
    return page
