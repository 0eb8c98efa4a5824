"""`python -m scripts.pretraining`: from nothing to a folder that open_clip can load."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import VOCABULARY_FILE, WEIGHTS_FILE, load_tokenizer
from cascade_clip.clip.source import CONFIG_FILE
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES
from cascade_clip.picturebook.palette import NAMED
from cascade_clip.training.checkpoints import read_checkpoint
from scripts.pretraining.bank import BankSettings, open_bank
from scripts.pretraining.batches import Phase, PictureBatches, StepsFrom
from scripts.pretraining.module import Optimisation, PretrainModule
from scripts.pretraining.probe import PresenceProbe
from scripts.pretraining.vocabulary import vocabulary_size, write_vocabulary


@dataclass(frozen=True)
class PretrainSettings:
    """Defaults are those of the embedded CLIP `picturebook`."""

    phases: tuple[Phase, ...] = (
        Phase(steps=3000, batch_size=32, side=48, singles=0.7),
        Phase(steps=1700, batch_size=64, side=48, singles=0.5),
        Phase(steps=900, batch_size=16, side=96, singles=0.3),
    )
    scenes: int = 24_000
    singles: int = 16_000
    smallest_crop: float = 0.6
    optimisation: Optimisation = field(default_factory=Optimisation)
    image_size: int = 96
    patch_size: int = 8
    width: int = 64
    depth: int = 12
    head_width: int = 32
    embed_dim: int = 64
    text_layers: int = 2
    context_length: int = 40
    seed: int = 0
    workers: int = 1

    def shortened(self, share: float) -> PretrainSettings:
        """The same schedule with `share` of the steps."""
        phases = tuple(replace(p, steps=max(1, round(p.steps * share))) for p in self.phases)
        return replace(self, phases=phases)


def pretrain(
    out: Path, settings: PretrainSettings, resume: bool = False, checkpoint_every: int = 250
) -> Path:
    """Trains the tiny CLIP and writes it to `out` in open_clip's folder layout.

    Stopped runs go on with `resume`; every batch depends only on the seed and the step.
    """
    work = out / "training"
    last = work / "last.ckpt"
    if not resume and (out / WEIGHTS_FILE).exists():
        raise UserError(f"{out} already holds a CLIP; choose another folder or remove it")
    out.mkdir(parents=True, exist_ok=True)
    L.seed_everything(settings.seed, verbose=False)
    config = _write_config(out, settings)
    drawn = BankSettings(settings.scenes, settings.singles, settings.image_size, settings.seed)
    bank = open_bank(work, drawn, settings.workers)
    batches = PictureBatches(
        settings.phases, bank, settings.scenes, settings.smallest_crop, settings.seed
    )
    module = _new_module(out, config, settings, total_steps=len(batches))
    start = _steps_done(last) if resume else 0
    trainer = L.Trainer(
        max_steps=len(batches),
        accelerator="auto",
        devices=1,
        gradient_clip_val=1.0,
        logger=CSVLogger(work, name="", version=""),
        callbacks=[
            ModelCheckpoint(
                work, save_last=True, every_n_train_steps=checkpoint_every, save_top_k=0
            ),
            TQDMProgressBar(refresh_rate=20),
            PresenceProbe(every=500, scenes=200, size=settings.image_size),
        ],
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=StepsFrom(start, len(batches)),
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
    )
    trainer.fit(module, loader, ckpt_path=last if start else None, weights_only=True)
    return _save(out, module.clip)


def _steps_done(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    return int(read_checkpoint(checkpoint)["global_step"])


def _write_config(out: Path, settings: PretrainSettings) -> dict[str, Any]:
    merges = write_vocabulary(out / VOCABULARY_FILE, CLASSES, NAMED)
    config = {
        "model_cfg": {
            "embed_dim": settings.embed_dim,
            "vision_cfg": {
                "image_size": settings.image_size,
                "patch_size": settings.patch_size,
                "layers": settings.depth,
                "width": settings.width,
                "head_width": settings.head_width,
            },
            "text_cfg": {
                "context_length": settings.context_length,
                "vocab_size": vocabulary_size(merges),
                "width": settings.width,
                "heads": settings.width // settings.head_width,
                "layers": settings.text_layers,
            },
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    (out / "pretraining.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")
    return config


def _new_module(
    out: Path, config: dict[str, Any], settings: PretrainSettings, total_steps: int
) -> PretrainModule:
    model_cfg = config["model_cfg"]
    clip = build_clip(model_cfg["embed_dim"], model_cfg["vision_cfg"], model_cfg["text_cfg"])
    tokenize = load_tokenizer(out, settings.context_length)
    return PretrainModule(clip, tokenize, settings.optimisation, total_steps, settings.seed)


def _save(out: Path, clip: Any) -> Path:
    """Weights as float16 safetensors, written to one side and then moved into place."""
    state = {name: value.half().contiguous() for name, value in clip.state_dict().items()}
    unfinished = out / (WEIGHTS_FILE + ".part")
    save_file(state, unfinished)
    unfinished.chmod(0o644)  # safetensors makes files that only their owner can read
    return unfinished.replace(out / WEIGHTS_FILE)
