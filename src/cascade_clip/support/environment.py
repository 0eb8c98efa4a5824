"""What a program ran on: versions and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "cascade-clip", "torch", "torchvision", "open_clip_torch", "lightning", "torchmetrics",
    "numpy", "pillow", "safetensors", "pydantic",
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, as in a run's `versions.json`."""
    return {
        "python": platform.python_version(),
        "packages": {name: _package_version(name) for name in PACKAGES},
        "git_revision": _git_revision(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The revision of this source tree; None for an installed package and without git."""
    here = Path(__file__)
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    # An installed package may lie within some other repository, of which nothing is said here.
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12") if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
