"""Where the time goes: operators by kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.performance.parts import Context, worthwhile
from benchmarks.performance.subjects import (
    BASELINE,
    CLASSES,
    SUBJECTS,
    TRAINED_CLASSES,
    build_network,
    random_labels,
    random_pictures,
    random_text,
)
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "resizing": ("upsample", "interpolate"),
    "matrix products": ("addmm", "mm", "bmm", "baddbmm", "convolution", "qlinear", "linear"),
    "attention": ("scaled_dot_product", "flash_attention", "softmax"),
    "LayerNorm": ("layer_norm",),
    "activations": ("silu", "sigmoid", "relu", "gelu", "log", "exp", "binary_cross_entropy"),
    "dropout": ("dropout", "bernoulli"),
    "copies and conversions": ("copy", "cat", "clone", "contiguous", "fill", "zero", "one_hot"),
    "arg-max": ("max", "argmax", "aminmax", "maximum", "index"),
    "optimizer": ("adam", "lerp", "addcdiv", "addcmul"),
    "sums and products": ("add", "sub", "mul", "div", "sum", "mean", "pow", "neg", "where", "rsub"),
}
"""Kind -> parts of operator names; the first kind that fits counts."""


def profiles(context: Context) -> dict[str, dict[str, dict[str, float]]]:
    """Task -> implementation -> kind -> share of the operators' own time."""
    shape, device = context.shape, context.device
    pictures = random_pictures(1, context.square, device)
    names = worthwhile([BASELINE, "fp32", "bf16"], device)
    found: dict[str, dict[str, dict[str, float]]] = {"inference": {}, "training": {}}
    for name in names:
        context.progress(f"profile: {name}")
        text = random_text(shape, CLASSES, device)
        subject = SUBJECTS[name](build_network(shape, device), shape)
        found["inference"][name] = shares(partial(subject.labels, pictures, text), device)
        text = random_text(shape, TRAINED_CLASSES, device)
        labels = random_labels(1, shape.crop, TRAINED_CLASSES, device)
        subject = SUBJECTS[name](build_network(shape, device).train(), shape)
        step = partial(subject.train_step, pictures, labels, text)
        found["training"][name] = shares(step, device)
    return found


def shares(run: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Kind of operator -> share of all operators' own time, of the second run."""
    run()
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=list(dict.fromkeys([ProfilerActivity.CPU, activity]))) as found:
        run()
    times: dict[str, float] = {}
    for event in found.key_averages():
        on_gpu = device.type == "cuda"
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind = kind_of(event.key)
        times[kind] = times.get(kind, 0.0) + time
    total = sum(times.values())
    return {kind: time / total for kind, time in sorted(times.items(), key=lambda item: -item[1])}


def kind_of(operator: str) -> str:
    """The kind that an operator's name belongs to."""
    name = operator.rpartition("::")[2].lower()
    for kind, parts in KINDS.items():
        if any(part in name for part in parts):
            return kind
    return "other"
