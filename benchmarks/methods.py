"""What each method trains, computes and costs: the tables of docs/methods.md.

    python -m benchmarks.methods [--methods NAME ...] [--rounds 3] [--json FILE] [--page FILE]

Every method is built as its recipe `METHOD/voc20` says, on a ViT-B/16 with random weights, and maps
one window of 512 x 512 pixels and 20 names to mask logits in float32 on one thread. All methods run
in turns; times are processor time, and ratios to ZegCLIP are taken within a round. Methods that the
JSON has stay beside those of `--methods`.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.pages import fill
from benchmarks.performance.hardware import environment
from benchmarks.performance.timing import compare, in_turns
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config import Recipe
from cascade_clip.config.published import Published, published_results
from cascade_clip.config.recipes import load_recipe
from cascade_clip.io.files import write_text
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.training_free.network import TrainingFreeNetwork

TRAINED = (
    "zegclip", "cascade-clip", "fusion", "frozen", "frozen-cascade", "spt", "spt-cascade",
    "otseg", "otseg-plus", "otseg-cascade", "clip-rc", "clip-rc-cascade", "rpn", "rpn-cascade",
)  # fmt: skip
TRAINING_FREE = ("clip", "maskclip", "sclip", "clearclip", "naclip", "resclip", "gem", "sc-clip")
BASELINE = "zegclip"
SIDE = 512
VISION = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224}
TEXT = {"context_length": 8, "vocab_size": 32, "width": 64, "heads": 2, "layers": 1}
EMBED_DIM = 512
CLASSES = 20
EVERY = (*TRAINED, *TRAINING_FREE)
BENCHMARKS = {"VOC 20": "voc20", "COCO-Stuff": "coco-stuff", "Context 59": "context59"}
RELEASED_SPLIT = {"Context 59 *": "context59-released"}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=EVERY, default=EVERY)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/methods.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/methods.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = dict.fromkeys([BASELINE, *options.methods])
    recipes = {name: load_recipe(f"{name}/voc20") for name in names}
    torch.manual_seed(0)
    visual = build_clip(EMBED_DIM, VISION, TEXT, quick_gelu=True).visual
    networks = {name: build(recipe, visual) for name, recipe in recipes.items()}
    kept = json.loads(options.json.read_text())["methods"] if options.json.exists() else {}
    result = {
        "environment": environment(CPU),
        "classes": CLASSES,
        "rounds": options.rounds,
        "methods": kept | measure(recipes, networks, options.rounds),
    }
    write_text(options.json, json.dumps(result, indent=1) + "\n")
    fill(options.page, "trained", trained_table(result))
    fill(options.page, "training-free", training_free_table(result))


def build(recipe: Recipe, visual: nn.Module) -> nn.Module:
    """The network of a recipe on an image encoder, in evaluation mode."""
    method = recipe.model.training_free
    if method is not None:
        return TrainingFreeNetwork(visual, method).eval()
    return SegmentationNetwork(visual, recipe.model).eval()


def text_of(recipe: Recipe, classes: int) -> Tensor:
    """Unit vectors (C, d), or (C, K, d) where a method takes each template by itself."""
    apart = () if recipe.data.average_templates else (len(TEMPLATES[recipe.data.templates]),)
    return F.normalize(torch.randn(classes, *apart, EMBED_DIM), dim=-1)


@torch.inference_mode()
def measure(
    recipes: dict[str, Recipe], networks: dict[str, nn.Module], rounds: int
) -> dict[str, dict[str, float]]:
    """Parameters in millions, GFLOP and processor time, by method."""
    image = torch.randn(1, 3, SIDE, SIDE)
    runs = {
        name: partial(torch.inference_mode()(network), image, text_of(recipes[name], CLASSES))
        for name, network in networks.items()
    }
    rows: dict[str, dict[str, float]] = {}
    for name, run in runs.items():
        with FlopCounterMode(display=False) as counter:
            run()
        rows[name] = {"gflop": counter.get_total_flops() / 1e9, **parameters(networks[name])}
    for name, row in compare(in_turns(runs, rounds, CPU), BASELINE).items():
        rows[name] |= {"processor_s": row["processor_s"], "ratio": row["ratio"]}
    return rows


def parameters(network: nn.Module) -> dict[str, float]:
    """Millions of trained parameters: of the encoder and of the head."""
    if not isinstance(network, SegmentationNetwork):
        return {}
    trained = network.trained_parameters()
    encoder = sum(p.numel() for name, p in trained.items() if name.startswith("encoder."))
    return {
        "encoder_m": encoder / 1e6,
        "head_m": sum(p.numel() for p in trained.values()) / 1e6 - encoder / 1e6,
    }


def trained_table(result: dict[str, Any]) -> str:
    """Cost, and published S / U / h of the inductive setting."""
    published = published_results()
    heads = list((BENCHMARKS | RELEASED_SPLIT).items())
    lines = [
        row(["method", "trained, M: encoder + head", "GFLOP", "time", *(h for h, _ in heads)]),
        "|---" * (4 + len(heads)) + "|",
    ]
    for name in TRAINED:
        found = result["methods"][name]
        cells = [published.get(f"{name}/{data}/inductive") for _, data in heads]
        weights = f"{found['encoder_m']:.2f} + {found['head_m']:.2f}"
        lines.append(row([f"`{name}`", weights, *cost(found), *map(three_figures, cells)]))
    return "\n".join([*lines, "", machine(result)])


def training_free_table(result: dict[str, Any]) -> str:
    """Cost, and published mIoU."""
    published = published_results()
    lines = [row(["method", "GFLOP", "time", *BENCHMARKS]), "|---" * (3 + len(BENCHMARKS)) + "|"]
    for name in TRAINING_FREE:
        cells = [published.get(f"{name}/{data}") for data in BENCHMARKS.values()]
        shown = ["" if cell is None else f"{cell.miou:.1f}" for cell in cells]
        lines.append(row([f"`{name}`", *cost(result["methods"][name]), *shown]))
    return "\n".join(lines)


def cost(found: dict[str, float]) -> list[str]:
    return [f"{found['gflop']:.0f}", f"{1 / found['ratio']:.2f}"]


def three_figures(published: Published | None) -> str:
    if published is None or published.hiou is None:
        return ""
    return f"{published.seen:.1f} / {published.unseen:.1f} / {published.hiou:.1f}"


def machine(result: dict[str, Any]) -> str:
    found, seconds = result["environment"], result["methods"][BASELINE]["processor_s"]
    digits = max(0, 1 - math.floor(math.log10(seconds)))
    return (
        f"Time 1 is `{BASELINE}`'s {seconds:.{digits}f} s of one core of {found['processor']} "
        f"({', '.join(found['instructions'])}), torch {found['packages']['torch']}; medians over "
        f"{result['rounds']} rounds."
    )


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
