"""The machine: what it is, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.performance.timing import timed
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.model.fast.precision import int8_linear
from cascade_clip.support.environment import describe_environment
from cascade_clip.support.processor import cpu_features

Build = Callable[[int, int, int, torch.device], Callable[[], Tensor]]

CPU_SIZES = ((1025, 768, 3072), (1025, 3072, 768), (2048, 2048, 2048))
GPU_SIZES = ((8192, 8192, 8192), (16400, 4096, 4096))
"""Rows, inputs and outputs of the products that are tried: the encoder's, and large ones."""
SECONDS = 2.0
"""For each product."""


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, and how busy the machine is."""
    found = describe_environment() | {"processor": _processor(), "device": str(device)}
    del found["platform"]  # a kernel's build says nothing on speed
    if hasattr(os, "getloadavg"):
        found["load_average"] = round(os.getloadavg()[1], 1)
    if device.type == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
    else:
        features = cpu_features()
        known = ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
        found["instructions"] = [name for name in known if name in features]
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def product_peaks(device: torch.device) -> dict[str, float]:
    """The best rate of matrix products per precision, in GFLOP per second of `timed`."""
    kinds: dict[str, Build] = {
        "fp32": _product(torch.float32),
        "bf16": _product(torch.bfloat16),
    }
    if device.type == "cpu":
        kinds["int8"] = _int8_product
        sizes = CPU_SIZES
    else:
        sizes = GPU_SIZES
    peaks = {
        kind: max(_rate(build, size, device) for size in sizes) for kind, build in kinds.items()
    }
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        build = _product(torch.float32)
        peaks["tf32"] = max(_rate(build, size, device) for size in sizes)
        torch.backends.cuda.matmul.allow_tf32 = False
    return peaks


@torch.inference_mode()
def _rate(
    build: Build,
    size: tuple[int, int, int],
    device: torch.device,
) -> float:
    rows, inputs, outputs = size
    run = build(rows, inputs, outputs, device)
    run()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        best = min(best, timed(run, device)[1])
    return 2e-9 * rows * inputs * outputs / best


def _product(dtype: torch.dtype) -> Build:
    def build(rows: int, inputs: int, outputs: int, device: torch.device) -> Callable[[], Tensor]:
        x = torch.randn(rows, inputs, device=device, dtype=dtype)
        weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
        return lambda: F.linear(x, weight)

    return build


def _int8_product(
    rows: int, inputs: int, outputs: int, device: torch.device
) -> Callable[[], Tensor]:
    x = torch.randint(0, 256, (rows, inputs), dtype=torch.uint8)
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    scale, zero = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int64)
    dtype = int8_linear(cpu_features()).keywords["outputs"]

    def run() -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, 128, packed, scale, zero, None, 1.0, 0, dtype, "none", [], ""
        )
        return product

    return run
