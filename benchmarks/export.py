"""Exported networks against PyTorch: `python -m benchmarks.export`.

The embedded model and a ViT-B/16 with random weights are written as ONNX files in both precisions;
then one picture goes in turns through PyTorch (eager, float32), and through onnxruntime with each
file. Written to `benchmarks/results/export.json` and into `docs/export.md`; a model that is not
measured again keeps its older result.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmarks.pages import fill
from benchmarks.performance.hardware import environment
from benchmarks.performance.subjects import random_pictures
from benchmarks.performance.timing import compare, in_turns
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import OPENAI_PREPROCESSING, freeze_clip, load_tokenizer
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.export.network import open_exported
from cascade_clip.export.request import ExportPrecision
from cascade_clip.export.write import export_model
from cascade_clip.io.files import write_text
from cascade_clip.model.network import SegmentationNetwork

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "export.json"
PAGE = ROOT / "docs" / "export.md"
CPU = torch.device("cpu")
BASELINE = "PyTorch, fp32"
PRECISIONS: tuple[ExportPrecision, ...] = ("fp32", "fp16")
MODELS = ("embedded", "ViT-B/16")


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    packages = ("onnx", "onnxruntime", "onnxscript")
    before = json.loads(arguments.out.read_text())["models"] if arguments.out.is_file() else {}
    result: dict[str, Any] = {"environment": environment(CPU), "models": before}
    result["environment"]["packages"] |= {name: version(name) for name in packages}
    for name in arguments.models:
        bundle = load_bundle("picturebook") if name == "embedded" else random_vit()
        result["models"][name] = measure(bundle, arguments.rounds)
    text = json.dumps(result, indent=2) + "\n"
    write_text(arguments.out, text)
    print(table(result))
    if arguments.out == RESULT:
        fill(PAGE, "speed", table(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.export")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULT, help="elsewhere: the page stays")
    return parser.parse_args()


def random_vit() -> Bundle:
    """Cascade-CLIP for VOC on a ViT-B/16, all weights random from a fixed seed."""
    torch.manual_seed(0)
    recipe = load_recipe("cascade-clip/voc20/inductive")
    vision = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    model = build_clip(512, vision, text, quick_gelu=True)
    clip = freeze_clip(model, "random", load_tokenizer(Path(), 77), OPENAI_PREPROCESSING)
    network = SegmentationNetwork(clip.visual, recipe.model).eval()
    templates = TEMPLATES[recipe.data.templates]
    return Bundle(network, clip, recipe, load_class_list("voc20").class_set(), templates)


def measure(bundle: Bundle, rounds: int) -> dict[str, Any]:
    """Times, ratios and agreement of every way, for one window of the model's size."""
    crop = bundle.recipe.inference.crop
    picture = random_pictures(1, (crop, crop), CPU)
    text = bundle.clip.text_encoder(bundle.classes.prompts, bundle.templates)  # (C, d)
    network = bundle.network.eval()
    ways: dict[str, Callable[[], object]] = {BASELINE: partial(run, network, picture, text)}
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            path = Path(folder) / f"{precision}.onnx"
            found = export_model(bundle, path, precision=precision)
            name = f"onnxruntime, {precision}"
            files[name] = {"bytes": path.stat().st_size, "worst_logit": found.logits,
                           "same_class": found.labels}  # fmt: skip
            ways[name] = partial(run, open_exported(path, CPU), picture, text)
        rows = compare(in_turns(ways, rounds, CPU), BASELINE)
    return {
        "crop": crop,
        "classes": len(text),
        "rows": {name: row | files.get(name, {}) for name, row in rows.items()},
    }


@torch.inference_mode()
def run(network: Callable[..., Any], picture: Tensor, text: Tensor) -> Tensor:
    """Mask logits (1, C, h, w)."""
    mask_logits: Tensor = network(picture, text).mask_logits
    return mask_logits


def table(result: dict[str, Any]) -> str:
    """Markdown: a row for each way, and the machine."""
    columns = ("", "processor time", "times as fast (quartiles)", "by the clock", "file",
               "largest difference of a logit")  # fmt: skip
    lines = [_row(columns), "|---" * len(columns) + "|"]
    for model, measured in result["models"].items():
        size = f"{measured['crop']} x {measured['crop']}"
        lines.append(_row([f"**{model}**, {size}, {measured['classes']} classes", *[""] * 5]))
        lines += [_row(_cells(name, row)) for name, row in measured["rows"].items()]
    found = result["environment"]
    packages = found["packages"]
    machine = (
        f"{found['processor']} ({', '.join(found['instructions'])}), {found['cpu_cores']} cores, "
        f"threads: {found['torch_threads']}; torch {packages['torch']}, onnxruntime "
        f"{packages['onnxruntime']}, Python {found['python']}; load average "
        f"{found['load_average']:g}. {_rounds(result)} rounds."
    )
    return "\n".join([*lines, "", machine])


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    speed = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
    seconds = row["processor_s"]
    time = f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
    if "bytes" not in row:
        return [name, time, "1", "1", "", ""]
    size = f"{row['bytes'] / 1e6:.0f} MB"
    return [name, time, speed, f"{row['wall_ratio']:.2f}", size, f"{row['worst_logit']:.0e}"]


def _rounds(result: dict[str, Any]) -> int:
    return min(row["rounds"] for m in result["models"].values() for row in m["rows"].values())


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
