"""Peak memory of one run, in a process of its own."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from benchmarks.performance.subjects import (
    SHAPES,
    SUBJECTS,
    build_network,
    random_labels,
    random_pictures,
    random_text,
)

Task = Literal["inference", "training"]
STATUS = Path("/proc/self/status")
MIB = 2**20


@dataclass(frozen=True)
class Probe:
    """One measurement of memory."""

    subject: str
    task: Task
    shape: str
    classes: int
    pictures: int
    height: int
    width: int
    device: str
    threads: int


def peak_in_subprocess(probe: Probe) -> dict[str, float]:
    """As `peak_here`. Raises `RuntimeError` with what the process said if it fails."""
    command = [sys.executable, "-m", "benchmarks.performance.memory", json.dumps(asdict(probe))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{probe} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peak_here(probe: Probe) -> dict[str, float]:
    """MiB of this process, which is to have done nothing else: `above` model and picture, and in
    the whole `process` (on a GPU: in its memory)."""
    device = torch.device(probe.device)
    shape = SHAPES[probe.shape]
    network = build_network(shape, device).train(probe.task == "training")
    subject = SUBJECTS[probe.subject](network, shape)
    del network
    pictures = random_pictures(probe.pictures, (probe.height, probe.width), device)
    text = random_text(shape, probe.classes, device)
    before = start(device)
    if probe.task == "inference":
        subject.labels(pictures, text)
    else:
        labels = random_labels(probe.pictures, probe.height, probe.classes, device)
        for _ in range(2):  # the second step finds the optimizer's state
            subject.train_step(pictures, labels, text)
    highest = peak(device)
    return {"above": (highest - before) / MIB, "process": highest / MIB}


def start(device: torch.device) -> int:
    """Bytes in use now; the peak is counted from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    _give_back_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is used now
    return status("VmRSS")


def peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else status("VmHWM")


def status(key: str) -> int:
    """Bytes, of a line of /proc/self/status."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no {key}: peak memory is measured on Linux only")


def _give_back_free_memory() -> None:
    """So that the run can't hide in memory that building the model left behind."""
    import ctypes

    libc = ctypes.CDLL("libc.so.6")
    libc.malloc_trim(0)


if __name__ == "__main__":
    given = Probe(**json.loads(sys.argv[1]))
    torch.set_num_threads(given.threads)
    print(json.dumps(peak_here(given)))
