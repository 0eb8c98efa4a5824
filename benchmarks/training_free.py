"""What training-free methods cost on a photograph: our code beside a plain translation of the
released ones, and the time to the first mask.

    python -m benchmarks.training_free [--methods sc-clip,naclip] [--rounds 3] [--out FILE]

`--methods ""` measures the time to the first mask alone.

ViT-B/16 with random weights, a picture of 640 x 480 pixels, 20 names in 80 templates. All ways run
in turns; times are processor time of all threads, ratios are taken within a round. Peak memory is
that of processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import open_clip
import torch
from benchmarks.performance import memory
from benchmarks.performance.hardware import environment
from benchmarks.performance.timing import compare, in_turns, timed
from benchmarks.reference import training_free as plain
from numpy.typing import NDArray
from safetensors.torch import save_file

from cascade_clip import Segmenter
from cascade_clip.clip.text_store import CACHE_VARIABLE
from cascade_clip.config.training_free import training_free_kinds
from cascade_clip.errors import UserError
from cascade_clip.model.fast.precision import choose_precision
from cascade_clip.ops.images import normalise, resize_bilinear

ARCHITECTURE = "ViT-B-16-quickgelu"
SIZE = (480, 640)
NAMES = (
    "cat, dog, bicycle, table, sky, tree, person, plant, monitor, car, bus, road, building, grass, "
    "river, mountain, sofa, chair, curtain, window"
)
CPU = torch.device("cpu")


def write_random_clip(folder: Path) -> None:
    """ViT-B/16 with random weights, in open_clip's layout."""
    torch.manual_seed(0)
    config = open_clip.get_model_config(ARCHITECTURE)
    model = open_clip.create_model(ARCHITECTURE, pretrained=None)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    described = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(described))


def draw_picture() -> NDArray[np.uint8]:
    """Coloured squares of 16 pixels."""
    squares = np.random.RandomState(0).randint(0, 255, (SIZE[0] // 16, SIZE[1] // 16, 3), np.uint8)
    return squares.repeat(16, axis=0).repeat(16, axis=1)


def ours(segmenter: Segmenter, query: Any) -> NDArray[np.int16]:
    return segmenter.predictor.labels([draw_picture()], query)[0][0]


@torch.no_grad()
def reference(segmenter: Segmenter, query: Any) -> NDArray[np.int64]:
    predictor = segmenter.predictor
    picture = torch.from_numpy(draw_picture()).permute(2, 0, 1)[None]  # (1, 3, H, W)
    pixels = resize_bilinear(picture, list(predictor.plan(SIZE).size))
    image = normalise(pixels, predictor.normalisation.mean, predictor.normalisation.std)
    settings = segmenter.recipe.inference
    network: Any = segmenter.network
    labels = plain.labels(
        network.encoder.visual,
        network.settings,
        image,
        query.embeddings,
        crop=settings.crop,
        stride=settings.stride,
        scale=settings.logit_scale,
        output_size=SIZE,
    )
    return labels.numpy()


def measure(clip: str, method: str, rounds: int) -> dict[str, Any]:
    """Ratios to the reference, and how many pixels agree with it."""
    segmenters = {"fp32": Segmenter.from_clip(clip, method=method)}
    for precision in ("bf16", "int8"):
        try:
            choose_precision(precision, CPU)  # type: ignore[arg-type]
        except UserError:
            continue  # slower than float32 on this processor
        segmenters[precision] = Segmenter.from_clip(clip, method=method, precision=precision)  # type: ignore[arg-type]
    query = segmenters["fp32"].query(NAMES)
    ways: dict[str, Callable[[], object]] = {
        "reference": partial(reference, segmenters["fp32"], query),
        **{name: partial(ours, segmenter, query) for name, segmenter in segmenters.items()},
    }
    samples = in_turns(ways, rounds, CPU)
    rows: dict[str, Any] = compare(samples, "reference")
    for name, row in rows.items():
        row["agreement"] = float((samples[name].result == samples["reference"].result).mean())
        row["peak_mib"] = peak_memory(clip, method, name)
    return rows


def peak_memory(clip: str, method: str, way: str) -> float:
    """MiB that one run takes beyond the loaded model, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_free", "--probe", clip, method, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def probe(clip: str, method: str, way: str) -> float:
    precision: Any = "fp32" if way == "reference" else way
    segmenter = Segmenter.from_clip(clip, method=method, precision=precision)
    query = segmenter.query(NAMES)
    before = memory.start(CPU)
    (reference if way == "reference" else ours)(segmenter, query)
    return (memory.peak(CPU) - before) / memory.MIB


def first_mask(clip: str, method: str) -> dict[str, float]:
    """Processor seconds from `from_clip` to the first mask, beside loading and one forward pass:
    with new names, and with names that an earlier start has kept on disk."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {CACHE_VARIABLE: folder}):
        load, text, forward = start(clip, method)
        kept = start(clip, method)[1]
    alone = load + forward
    return {
        "load_s": load,
        "text_s": text,
        "kept_text_s": kept,
        "forward_s": forward,
        "ratio": (alone + text) / alone,
        "kept_ratio": (alone + kept) / alone,
    }


def start(clip: str, method: str) -> tuple[float, float, float]:
    """Processor seconds of loading a segmenter, of encoding names, and of a picture."""
    found: list[Any] = []
    _, load = timed(lambda: found.append(Segmenter.from_clip(clip, method=method)), CPU)
    segmenter = found[0]
    _, text = timed(lambda: found.append(segmenter.query(NAMES)), CPU)
    _, forward = timed(partial(ours, segmenter, found[1]), CPU)
    return load, text, forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", default="sc-clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training-free.json"))
    parser.add_argument("--probe", nargs=3)
    options = parser.parse_args()
    if options.probe:
        print(probe(*options.probe))
        return
    methods = [method for method in options.methods.split(",") if method]
    if methods == ["all"]:
        methods = [kind for kind in training_free_kinds() if kind != "last-block"]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    results: dict[str, Any] = {"environment": environment(CPU), "names": 20, "picture": SIZE}
    if not methods and options.out.exists():
        results = json.loads(options.out.read_text())
    with tempfile.TemporaryDirectory() as folder:
        write_random_clip(Path(folder))
        clip = f"local-dir:{folder}"
        results["first_mask"] = first_mask(clip, methods[0] if methods else "sc-clip")
        print("first mask", results["first_mask"])
        results.setdefault("methods", {})
        for method in methods:
            start = time.perf_counter()
            rows = results["methods"][method] = measure(clip, method, options.rounds)
            print(f"{method} ({time.perf_counter() - start:.0f} s)")
            for name, row in rows.items():
                print(
                    f"  {name:10} {row['processor_s']:6.2f} s  {row['ratio']:5.2f}x "
                    f"{row['agreement']:8.3%} {row['peak_mib']:7.0f} MiB"
                )
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
