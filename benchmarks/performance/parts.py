"""What is measured, part by part. Each part gives a JSON object."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from benchmarks.performance.hardware import product_peaks
from benchmarks.performance.memory import Probe, Task, peak_in_subprocess
from benchmarks.performance.subjects import (
    BASELINE,
    CLASSES,
    COMPILED_BASELINE,
    SUBJECTS,
    TRAINED_CLASSES,
    Shape,
    at_resolution,
    build_network,
    random_labels,
    random_pictures,
    random_text,
)
from benchmarks.performance.tables import peak_name
from benchmarks.performance.timing import Row, Samples, compare, in_turns
from torch.utils.flop_counter import FlopCounterMode

from cascade_clip.support.processor import cpu_features, why_slower

Result = dict[str, Any]
Progress = Callable[[str], None]

OWN_TRAINING = ["fp32", "bf16", "fp32, checkpointed", "bf16, checkpointed"]
INFERENCE = {
    "cpu": [BASELINE, "reference, autocast", "fp32", "bf16", "int8"],
    "cuda": [BASELINE, "reference, TF32", "fp32", "fp32, TF32", "bf16"],
}
TRAINING = {
    "cpu": [BASELINE, "reference, autocast", *OWN_TRAINING],
    "cuda": [BASELINE, "reference, TF32", *OWN_TRAINING],
}
COMPILED = ["bf16, compiled", COMPILED_BASELINE]
BATCHES = {"cpu": (1, 2), "cuda": (1, 2, 4, 8, 16, 32, 64)}
TRAINED_BATCHES = {"cpu": (1, 2), "cuda": (1, 4, 16)}
MANY_CLASSES, MANY_CLASSES_SIZE = 1000, (1536, 2048)
"""A picture so large and with so many classes that their scores take 12.6 GB."""


@dataclass(frozen=True)
class Context:
    """Where and how often to measure."""

    shape: Shape
    device: torch.device
    rounds: int
    threads: int
    progress: Progress

    @property
    def inference(self) -> list[str]:
        """Implementations for inference, the baseline first."""
        return worthwhile(INFERENCE[self.device.type], self.device)

    @property
    def training(self) -> list[str]:
        """Implementations for training, the baseline first."""
        return worthwhile(TRAINING[self.device.type], self.device)

    @property
    def square(self) -> tuple[int, int]:
        return self.shape.crop, self.shape.crop


def worthwhile(names: Sequence[str], device: torch.device) -> list[str]:
    """Implementations without those whose precision is slower than float32 on this CPU."""
    features = cpu_features()
    return [
        name
        for name in names
        if device.type != "cpu" or why_slower(peak_name(name), features) is None
    ]


def peaks(context: Context) -> Result:
    """Rates of matrix products, in GFLOP per second of processor time."""
    context.progress("matrix products")
    return product_peaks(context.device)


def inference(context: Context) -> Result:
    """One picture, from pixels to labels, and the encoder alone; and how much is multiplied."""
    found = measure_inference(context, context.inference, with_encoder=True)
    return {"rows": found, "encoder_gflop": encoder_gflop(context)}


def encoder_gflop(context: Context) -> float:
    """What the encoder has to compute for one picture, in this package's form."""
    network = build_network(context.shape, context.device)
    pictures = random_pictures(1, context.square, context.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.encoder(pictures)
    return counter.get_total_flops() / 1e9


def compiled(context: Context) -> Result:
    """The same through torch.compile, with the time of the first call."""
    names = worthwhile([BASELINE, COMPILED_BASELINE, "bf16", "bf16, compiled"], context.device)
    return {"rows": measure_inference(context, names)}


def training(context: Context) -> Result:
    """One step on one picture: forward, loss, backward, optimizer."""
    return {"rows": measure_training(context, context.training, pictures=1)}


def memory(context: Context) -> Result:
    """Peak memory in MiB, each in a process of its own; and that of many classes."""
    # The reference would need several times the scores.
    many = [name for name in context.inference if not name.startswith(BASELINE)]
    return {
        "inference": {name: _peak(context, name, "inference") for name in context.inference},
        "training": {name: _peak(context, name, "training") for name in context.training},
        "many classes": {
            name: _peak(context, name, "inference", MANY_CLASSES, MANY_CLASSES_SIZE)
            for name in many
        },
    }


def _peak(
    context: Context,
    name: str,
    task: Task,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, float]:
    context.progress(f"memory, {task}: {name}" + (f", {classes} classes" if classes else ""))
    height, width = size or context.square
    kind, training = context.device.type, task == "training"
    probe = Probe(
        subject=name,
        task=task,
        shape=context.shape.name,
        classes=classes or (TRAINED_CLASSES if training else CLASSES),
        pictures=TRAINED_BATCHES[kind][-1] if training and kind == "cuda" else 1,
        height=height,
        width=width,
        device=kind,
        threads=context.threads,
    )
    return peak_in_subprocess(probe)


def scaling(context: Context) -> Result:
    """Inference with more pictures, classes, windows and pixels."""
    shape, names = context.shape, worthwhile([BASELINE, "fp32", "bf16"], context.device)
    crop, stride = shape.crop, shape.stride
    run = partial(measure_inference, context, names)
    one = run()
    return {
        "pictures": {"1": one, "2": run(pictures=2)},
        "classes": {"20": run(classes=20), "171": one, "847": run(classes=847)},
        "windows": {"1": one, "2": run(size=(crop, crop + stride))},
        "side in pixels": {
            str(crop // 2): run(shape=at_resolution(shape, crop // 2)),
            str(crop): one,
            str(crop * 3 // 2): run(shape=at_resolution(shape, crop * 3 // 2)),
        },
    }


def batches(context: Context) -> Result:
    """Inference and training at several batch sizes, as far as memory goes: the part for GPUs."""
    kind, compiled_ones = context.device.type, worthwhile(COMPILED, context.device)
    infer = partial(measure_inference, context, [*context.inference, *compiled_ones])
    train = partial(measure_training, context, [*context.training, *compiled_ones])
    return {
        "inference": _while_memory_lasts(context, infer, BATCHES[kind]),
        "training": _while_memory_lasts(context, train, TRAINED_BATCHES[kind]),
        "encoder_gflop": encoder_gflop(context),
    }


def _while_memory_lasts(
    context: Context, measure: Callable[..., dict[str, Row]], sizes: Sequence[int]
) -> Result:
    found = {}
    for pictures in sizes:
        try:
            found[str(pictures)] = measure(pictures=pictures)
        except torch.OutOfMemoryError:
            context.progress(f"{pictures} pictures don't fit into memory")
            break
    return found


def measure_inference(
    context: Context,
    names: Sequence[str],
    *,
    shape: Shape | None = None,
    pictures: int = 1,
    classes: int = CLASSES,
    size: tuple[int, int] | None = None,
    with_encoder: bool = False,
) -> dict[str, Row]:
    """Implementation -> times, ratios to the first one, and how many pixels have its label."""
    shape = shape or context.shape
    size = size or (shape.crop, shape.crop)
    context.progress(f"inference, {pictures} of {size[1]} x {size[0]}, {classes} classes")
    network = build_network(shape, context.device)
    subjects = {name: SUBJECTS[name](network, shape) for name in names}
    images = random_pictures(pictures, size, context.device)
    text = random_text(shape, classes, context.device)
    ways = {name: partial(subject.labels, images, text) for name, subject in subjects.items()}
    if with_encoder:
        ways |= {f"{name}: encoder": partial(subjects[name].encode, images) for name in names}
    samples = in_turns(ways, context.rounds, context.device)
    rows = compare({name: samples[name] for name in names}, names[0])
    for name in names:
        same = samples[name].result == samples[names[0]].result
        rows[name]["agreement"] = same.float().mean().item()
        rows[name]["pictures_per_s"] = pictures / rows[name]["processor_s"]
        if with_encoder:
            rows[name] |= _encoder_share(samples, names[0], name)
    return rows


def _encoder_share(samples: dict[str, Samples], baseline: str, name: str) -> Row:
    """Times of the encoder and of everything after it, and their ratios to the baseline."""

    def split(subject: str) -> tuple[float, float]:
        whole = statistics.median(samples[subject].processor)
        encoder = statistics.median(samples[f"{subject}: encoder"].processor)
        return encoder, whole - encoder

    (encoder, after), (base_encoder, base_after) = split(name), split(baseline)
    return {
        "encoder_s": encoder,
        "after_encoder_s": after,
        "encoder_ratio": base_encoder / encoder,
        "after_encoder_ratio": base_after / after,
    }


def measure_training(context: Context, names: Sequence[str], *, pictures: int) -> dict[str, Row]:
    """Implementation -> times and ratios to the first one."""
    shape, device = context.shape, context.device
    context.progress(f"training, {pictures} of {shape.crop} x {shape.crop}")
    images = random_pictures(pictures, context.square, device)
    labels = random_labels(pictures, shape.crop, TRAINED_CLASSES, device)
    text = random_text(shape, TRAINED_CLASSES, device)
    ways = {}
    for name in names:
        subject = SUBJECTS[name](build_network(shape, device).train(), shape)
        ways[name] = partial(subject.train_step, images, labels, text)
    rows = compare(in_turns(ways, context.rounds, device), names[0])
    for row in rows.values():
        row["pictures_per_s"] = pictures / row["processor_s"]
    return rows


PARTS: dict[str, Callable[[Context], Result]] = {
    "peaks": peaks,
    "inference": inference,
    "training": training,
    "memory": memory,
    "scaling": scaling,
    "compiled": compiled,
    "batches": batches,
}
