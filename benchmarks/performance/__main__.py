"""`python -m benchmarks.performance [PART ...]`: measures, and writes JSON and the page's tables.

Without a part everything is measured but `compiled`, whose compilation takes minutes on a CPU, and
`batches`, which is for GPUs. A part that is measured again replaces its older result. CPUs without
bfloat16 have results and tables of their own, without the precisions that are slower there.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.performance.agreement import agreements
from benchmarks.performance.hardware import environment
from benchmarks.performance.parts import PARTS, Context
from benchmarks.performance.profile import profiles
from benchmarks.performance.subjects import SHAPES
from benchmarks.performance.tables import write_page
from rich.console import Console

from cascade_clip.io.files import write_text
from cascade_clip.support.processor import cpu_features, multiplies_bfloat16, why_slower

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
ALL_PARTS: dict[str, Callable[[Context], dict[str, Any]]] = {
    **PARTS,
    "profile": profiles,
    "agreement": agreements,
}
USUAL = {
    "cpu": ("peaks", "inference", "training", "memory", "scaling", "profile", "agreement"),
    "cuda": ("peaks", "batches", "memory", "profile", "agreement"),
}
USUAL_SHAPES = {"cpu": ("ViT-B/16",), "cuda": ("ViT-B/16", "ViT-L/14")}


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", module="torch")
    device = torch.device(arguments.device)
    out = arguments.out or RESULTS / f"performance-{machine_kind(device)}.json"
    console = Console(stderr=True)
    for precision in ("bf16", "int8"):
        if device.type == "cpu" and (reason := why_slower(precision, cpu_features())):
            console.print(f"left out: {reason}")
    for shape in arguments.shapes or USUAL_SHAPES[device.type]:
        context = Context(
            shape=SHAPES[shape],
            device=device,
            rounds=arguments.rounds,
            threads=arguments.threads,
            progress=partial(console.print, style="dim"),
        )
        for part in arguments.parts or USUAL[device.type]:
            measured = {
                "environment": environment(device),
                "rounds": context.rounds,
                "result": ALL_PARTS[part](context),
            }
            store(out, shape, part, measured)
    if out.parent == RESULTS:
        write_page(PAGE, RESULTS)


def machine_kind(device: torch.device) -> str:
    """The part of the result file's name that says what it was measured on."""
    if device.type == "cpu" and not multiplies_bfloat16(cpu_features()):
        return "cpu-without-bf16"
    return device.type


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.performance")
    parser.add_argument("parts", nargs="*", choices=[[], *ALL_PARTS], metavar="PART")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="elsewhere than in benchmarks/results: no page")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU that this PyTorch can use; leave --device out")
    return arguments


def store(path: Path, shape: str, part: str, measured: dict[str, Any]) -> None:
    """Puts one part into the JSON file, which keeps the others."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found.setdefault(shape, {})[part] = measured
    text = json.dumps(rounded(found), indent=1) + "\n"
    write_text(path, text)


def rounded(value: Any) -> Any:
    """Numbers with four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
