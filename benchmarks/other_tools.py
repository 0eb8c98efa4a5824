"""What a picture costs with this package and with what one might take instead.

    python -m benchmarks.other_tools [--rounds 3] [--names 20 171] [--out FILE]

Needs `pip install ultralytics opencv-python-headless`, which nothing else here does.

Published architectures with random weights, in float32, on a picture of 640 x 480 pixels: from its
pixels to a label for each, at the size that each tool works at. Names are encoded beforehand. All
ways run in turns; times are processor time of all threads, ratios are taken within a round. Peak
memory above model and picture is that of a process of its own. Writes the JSON, the table of
docs/performance.md and its plot.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.pages import fill
from benchmarks.performance import memory
from benchmarks.performance.hardware import environment
from benchmarks.performance.subjects import SHAPES, build_network, random_text
from benchmarks.performance.timing import compare, in_turns
from benchmarks.reference.inference import sliding_scores
from benchmarks.reference.network import reference_of
from benchmarks.training_free import SIZE, draw_picture, write_random_clip
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cascade_clip import Segmenter
from cascade_clip.class_names import classes_named
from cascade_clip.clip.load import OPENAI_PREPROCESSING
from cascade_clip.config import IMAGENET, Normalisation
from cascade_clip.config.recipes import load_recipe
from cascade_clip.inference.predictor import Predictor
from cascade_clip.inference.query import Query
from cascade_clip.io.files import write_text, write_whole
from cascade_clip.ops.images import normalise, resize_bilinear, scaled_size
from cascade_clip.report.plots import LINE_COLOURS, panels, png_of

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/images/other-tools.png"
Pixels = NDArray[np.uint8]
Way = Callable[[Pixels], Any]
"""A picture (H, W, 3) to labels (H, W)."""
OPENAI = Normalisation(**OPENAI_PREPROCESSING)
RECIPE = "cascade-clip/coco-stuff/inductive"
OURS = "Cascade-CLIP"
CLIPSEG_SIDE = 352
CLIPSEG_NAMES = 32
"""Names that go through CLIPSeg's decoder at once."""


def query_of(names: int) -> Query:
    """Names with random embeddings."""
    return Query(
        typed=classes_named([f"name {index}" for index in range(names)]),
        seen=(False,) * names,
        embeddings=random_text(SHAPES["ViT-B/16"], names, CPU),
        offsets=torch.zeros(names),
        class_of_name=torch.arange(names),
        thresholds=None,
    )


def cascade_clip(names: int) -> Way:
    network = build_network(SHAPES["ViT-B/16"], CPU)
    predictor = Predictor(network, load_recipe(RECIPE).inference, OPENAI, CPU)
    query = query_of(names)
    return lambda picture: predictor.labels([picture], query)[0][0]


def sc_clip(names: int) -> Way:
    with tempfile.TemporaryDirectory() as folder:
        write_random_clip(Path(folder))
        predictor = Segmenter.from_clip(f"local-dir:{folder}", method="sc-clip").predictor
    query = query_of(names)
    return lambda picture: predictor.labels([picture], query)[0][0]


def translation(names: int) -> Way:
    """Of the released Cascade-CLIP code: eager, window by window, all scores at full size."""
    shape, settings = SHAPES["ViT-B/16"], load_recipe(RECIPE).inference
    network = reference_of(build_network(shape, CPU), shape.crop)
    text, offsets = random_text(shape, names, CPU), torch.zeros(names)

    @torch.no_grad()
    def labels(picture: Pixels) -> Tensor:
        image = torch.from_numpy(picture).permute(2, 0, 1)[None]  # (1, 3, H, W)
        size = scaled_size(SIZE, settings.short_side, settings.long_side)
        scores = sliding_scores(
            partial(network, text=text),
            normalise(resize_bilinear(image, size), OPENAI.mean, OPENAI.std),
            crop=settings.crop,
            stride=settings.stride,
            output_size=SIZE,
            offsets=offsets,
        )
        return scores.argmax(dim=1)[0]

    return labels


def clipseg(names: int) -> Way:
    """CIDAS/clipseg-rd64-refined's shape. Its own `forward` encodes the picture once for each name;
    here once in all, and the decoder takes the names in batches."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    config = CLIPSegConfig(
        vision_config={"patch_size": 16}, use_complex_transposed_convolution=True
    )
    model = CLIPSegForImageSegmentation(config).eval()
    text = random_text(SHAPES["ViT-B/16"], names, CPU)

    @torch.inference_mode()
    def labels(picture: Pixels) -> Tensor:
        image = torch.from_numpy(picture).permute(2, 0, 1)[None]  # (1, 3, H, W)
        image = normalise(
            resize_bilinear(image, [CLIPSEG_SIDE, CLIPSEG_SIDE]), IMAGENET.mean, IMAGENET.std
        )
        states = model.clip.get_image_features(
            image, interpolate_pos_encoding=True, output_hidden_states=True
        ).hidden_states
        levels = [states[block + 1] for block in config.extract_layers]  # (1, 1 + N, width) each
        logits = [
            model.decoder([level.expand(len(some), -1, -1) for level in levels], some).logits
            for some in text.split(CLIPSEG_NAMES)
        ]
        scores = torch.cat(logits).view(1, names, CLIPSEG_SIDE, CLIPSEG_SIDE).sigmoid()
        return F.interpolate(scores, size=SIZE, mode="bilinear").argmax(dim=1)[0]

    return labels


def mask2former(names: int) -> Way:
    """facebook/mask2former-swin-base-IN21k-ade-semantic's shape, whose names are fixed in training.
    The short side is 640 pixels there."""
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
        SwinConfig,
    )

    backbone = SwinConfig(
        image_size=384,
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(backbone_config=backbone, num_labels=names)
    model = Mask2FormerForUniversalSegmentation(config).eval()
    processor = Mask2FormerImageProcessor(size={"shortest_edge": 640, "longest_edge": 2560})

    @torch.inference_mode()
    def labels(picture: Pixels) -> Tensor:
        inputs = processor(picture, return_tensors="pt")
        found = model(**inputs)
        return processor.post_process_semantic_segmentation(found, target_sizes=[SIZE])[0]

    return labels


def yoloe(names: int) -> Way:
    """yoloe-11l-seg's shape, objects alone. With random weights nothing scores high enough, so that
    cutting out masks, which it does for what it finds, is not in its time."""
    from ultralytics import YOLOE

    model = YOLOE("yoloe-11l-seg.yaml")
    text = random_text(SHAPES["ViT-B/16"], names, CPU)  # (C, 512), the width of its embeddings
    model.set_classes([f"name {index}" for index in range(names)], text[None])

    def labels(picture: Pixels) -> Tensor:
        found = model.predict(picture[..., ::-1], imgsz=max(SIZE), device="cpu", verbose=False)[0]
        canvas = torch.full(SIZE, 255)
        if found.masks is not None:
            order = found.boxes.conf.argsort()  # the best one on top
            for mask, label in zip(found.masks.data[order], found.boxes.cls[order], strict=True):
                canvas[mask.bool()] = int(label)
        return canvas

    return labels


@dataclass(frozen=True)
class Tool:
    build: Callable[[int], Way]
    """For a number of names."""
    works_on: tuple[int, int]
    """The picture's size in pixels within the tool."""


TOOLS = {
    OURS: Tool(cascade_clip, (512, 683)),
    "SC-CLIP, here without training": Tool(sc_clip, (336, 448)),
    "released Cascade-CLIP, translated": Tool(translation, (512, 683)),
    "CLIPSeg": Tool(clipseg, (CLIPSEG_SIDE, CLIPSEG_SIDE)),
    "Mask2Former, Swin-B, fixed names": Tool(mask2former, (640, 853)),
    "YOLOE-11L, objects alone": Tool(yoloe, SIZE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--names", type=int, nargs="+", default=[20, 171])
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/other-tools.json", help="JSON"
    )
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.probe:
        print(peak_here(options.probe[0], int(options.probe[1])))
        return
    result = {
        "environment": environment(CPU),
        "packages": {name: version(name) for name in ("transformers", "ultralytics")},
        "rounds": options.rounds,
        "names": {str(names): measure(names, options.rounds) for names in options.names},
    }
    write_text(options.out, json.dumps(result, indent=1) + "\n")
    print(table(result))
    if options.out.parent == ROOT / "benchmarks/results":
        fill(PAGE, "other-tools", table(result))
        write_whole(PLOT, lambda path: path.write_bytes(plot(result)))


def measure(names: int, rounds: int) -> dict[str, Any]:
    picture = draw_picture()
    ways = {tool: partial(one.build(names), picture) for tool, one in TOOLS.items()}
    rows: dict[str, Any] = compare(in_turns(ways, rounds, CPU), OURS)
    for tool, row in rows.items():
        row["peak_mib"] = peak_memory(tool, names)
        print(f"{names} names, {tool}: {row['processor_s']:.2f} s, {row['peak_mib']:.0f} MiB")
    return rows


def peak_memory(tool: str, names: int) -> float:
    """MiB beyond the loaded model, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.other_tools", "--probe", tool, str(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak_here(tool: str, names: int) -> float:
    label, picture = TOOLS[tool].build(names), draw_picture()
    before = memory.start(CPU)
    label(picture)
    return (memory.peak(CPU) - before) / memory.MIB


def table(result: dict[str, Any]) -> str:
    """Seconds a picture, the ratio to ours in brackets, and those of a megapixel."""
    by_names = result["names"]
    head = "".join(f" {n} names, s | a megapixel, s | memory, MiB |" for n in by_names)
    lines = [f"| | pixels |{head}", "|---|---:|" + "---:|---:|---:|" * len(by_names)]
    for tool, one in TOOLS.items():
        height, width = one.works_on
        cells = []
        for rows in by_names.values():
            row = rows[tool]
            seconds = row["processor_s"]
            cells += [
                f"{seconds:.2f} ({1 / row['ratio']:.2f})",
                f"{1e6 * seconds / (height * width):.1f}",
                f"{row['peak_mib']:.0f}",
            ]
        lines.append(f"| {tool} | {width} x {height} | {' | '.join(cells)} |")
    machine = result["environment"]
    packages = machine["packages"]
    lines += [
        "",
        f"{machine['processor']} with {', '.join(machine['instructions'])}, one thread; "
        f"torch {packages['torch']}, {', '.join(map(' '.join, result['packages'].items()))}; "
        f"{result['rounds']} rounds.",
    ]
    return "\n".join(lines)


def plot(result: dict[str, Any]) -> bytes:
    by_names = result["names"]
    figure, axes_of_names = panels(len(by_names), (4.4 * len(by_names), 2.4), share_y=True)
    for axes, (names, rows) in zip(axes_of_names, by_names.items(), strict=True):
        colours = [LINE_COLOURS[0] if tool == OURS else LINE_COLOURS[-1] for tool in TOOLS]
        seconds = [rows[tool]["processor_s"] for tool in TOOLS]
        bars = axes.barh(list(TOOLS), seconds, color=colours, height=0.62)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
        axes.set_title(f"{names} names", fontsize=10.5, loc="left")
        axes.set_xlabel("seconds of processor time a picture")
        axes.margins(x=0.15)
    axes_of_names[0].invert_yaxis()
    return png_of(figure)


if __name__ == "__main__":
    main()
