"""The picture book as a benchmark of methods: `python -m benchmarks.picturebook`.

Every method gets the same steps, the same search over learning rates (chosen on the validation
part), a seen-score offset chosen on the calibration part, and the same test scenes; the numbers
are means and spreads over seeds. A control repeats the evaluation with the text embeddings of the
unseen classes exchanged among each other, which must ruin the unseen classes and nothing else.

Finished runs are kept in `--work` and not repeated. Writes the JSON and the Markdown page that
shows it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from benchmarks.picturebook_page import Row, markdown
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.clip.load import load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.part import Part
from cascade_clip.data.transforms import prepare
from cascade_clip.evaluation.evaluate import DatasetBatches
from cascade_clip.evaluation.methods import Method, trained_method
from cascade_clip.evaluation.metrics import SegmentationMetrics, harmonic_mean
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.inference.sliding import sliding_scores, window_options
from cascade_clip.io.files import write_text
from cascade_clip.picturebook import STUFF, THINGS
from cascade_clip.training.run import train

METHODS = {
    name: f"{method}/picturebook/inductive"
    for name, method in {
        "cascade": "cascade-clip",
        "single": "zegclip",
        "fusion": "fusion",
        **{
            method: method
            for method in (
                "frozen", "frozen-cascade", "spt", "spt-cascade", "otseg-plus", "otseg-cascade",
                "clip-rc", "clip-rc-cascade", "rpn", "rpn-cascade",
            )
        },
    }.items()
}  # fmt: skip
"""Recipes by what the page calls them; the first three are the default."""
OFFSETS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def main() -> None:
    arguments = parse_arguments()
    result = measure(arguments)
    text = json.dumps(result, indent=2) + "\n"
    write_text(arguments.json, text)
    page = markdown(result)
    write_text(arguments.page, page)
    print(page)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--search-steps", type=int, default=200, help="of the rates' trial runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3, 4e-3])
    parser.add_argument("--scenes", type=int, default=200, help="scenes of each part")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS)[:3])
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/picturebook.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/picturebook.md"))
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that the page shows."""
    search = [
        (m, rate, 0, arguments.search_steps) for m in arguments.methods for rate in arguments.rates
    ]
    train_all(arguments, search)
    rates = {method: best_rate(arguments, method) for method in arguments.methods}
    seeds = range(arguments.seeds)
    train_all(arguments, [(m, rates[m][0], seed, arguments.steps) for seed in seeds for m in rates])
    methods = {}
    for method, (best, search) in rates.items():
        rows = [tested(arguments, method, best, seed) for seed in seeds]
        methods[method] = {"search": search, "lr": best, "seeds": rows}
    settings = {
        key: getattr(arguments, key)
        for key in ("steps", "search_steps", "seeds", "rates", "scenes")
    }
    settings["crop"] = load_recipe(METHODS["cascade"]).inference.crop
    return {
        "settings": settings,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        },
        "raw CLIP": raw_clip(arguments.scenes),
        "raw CLIP at its own size": raw_clip(arguments.scenes, own_size=True),
        "methods": methods,
    }


def train_all(arguments: argparse.Namespace, runs: list[tuple[str, float, int, int]]) -> None:
    """Trains what is not yet trained, `--jobs` runs at a time with one core each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, torch.set_num_threads, (1,)) as pool:
        for future in [pool.submit(train_one, arguments, *run) for run in runs]:
            print(f"{future.result()} is trained", flush=True)


def train_one(
    arguments: argparse.Namespace, method: str, rate: float, seed: int, steps: int
) -> Path:
    """The run folder of the method at this learning rate and seed, trained unless it was before."""
    out: Path = arguments.work / f"{method}-{rate:g}-{seed}-{steps}"
    if not (out / "model" / "config.json").exists():
        overrides = [
            f"train.steps={steps}",
            f"train.lr={rate!r}",
            f"train.seed={seed}",
            "train.validate_every=0",
        ]
        recipe = load_recipe(METHODS[method], overrides)
        train(recipe, out, resume=(out / "recipe.yaml").exists(), quiet=True)
    return out


def best_rate(arguments: argparse.Namespace, method: str) -> tuple[float, dict[float, float]]:
    """The learning rate with the best hIoU on the validation part, and that hIoU for all rates."""
    search = {rate: validated(arguments, method, rate, seed=0) for rate in arguments.rates}
    best = max(search, key=lambda rate: search[rate])
    print(f"{method}: hIoU on the validation part by learning rate {search}; takes {best}")
    return best, search


def validated(arguments: argparse.Namespace, method: str, rate: float, seed: int) -> float:
    """hIoU on the validation part, with the best offset there."""
    bundle = load_bundle(train_one(arguments, method, rate, seed, arguments.search_steps))
    rows = by_offset(trained_method(bundle), text_of(bundle), "val", arguments.scenes)
    return max(row["h"] for row in rows.values())


def tested(arguments: argparse.Namespace, method: str, rate: float, seed: int) -> Row:
    """The test part at the offset that the calibration part prefers, and the control."""
    bundle = load_bundle(train_one(arguments, method, rate, seed, arguments.steps))
    scenes = arguments.scenes
    text, model = text_of(bundle), trained_method(bundle)
    calibration = by_offset(model, text, "calibration", scenes)
    offset = max(calibration, key=lambda value: calibration[value]["h"])
    row = by_offset(model, text, "test", scenes, [offset])[offset]
    exchanged = exchange_unseen(text, bundle.classes.unseen_indices)
    control = by_offset(model, exchanged, "test", scenes, [offset])[offset]
    return row | {"offset": offset, "control S": control["S"], "control U": control["U"]}


def raw_clip(scenes: int, own_size: bool = False) -> Row:
    """CLIP without training, on the test part; `own_size` shrinks the scenes to the size of its
    pretraining, where its patches are at their best but fewer. Windows shift in both."""
    recipe = load_recipe(METHODS["cascade"])
    clip = load_clip(recipe.model.clip)
    if own_size:
        side = clip.image_size
        room = recipe.inference.short_side - recipe.inference.crop
        sizes = {"crop": side, "stride": side, "short_side": side + room}
        overrides = [f"inference.{key}={size}" for key, size in sizes.items()]
        recipe = load_recipe(METHODS["cascade"], overrides)
    names = open_dataset(recipe.data, "test").classes.names
    model = Method(RawClip(clip.visual), raw_clip_recipe(recipe), clip.normalisation)
    text = clip.text_encoder(names)
    row = by_offset(model, text, "test", scenes, [0.0])[0.0]
    exchanged = exchange_unseen(text, open_dataset(recipe.data, "test").classes.unseen_indices)
    control = by_offset(model, exchanged, "test", scenes, [0.0])[0.0]
    return row | {"offset": 0.0, "control S": control["S"], "control U": control["U"]}


def text_of(bundle: Bundle) -> Tensor:
    """Text embeddings (C, d) of the model's classes, or (C, K, d)."""
    average = bundle.recipe.data.average_templates
    return bundle.clip.text_encoder(bundle.classes.names, bundle.templates, average=average)


def exchange_unseen(text: Tensor, unseen: tuple[int, ...]) -> Tensor:
    """Text embeddings (C, d) in which each unseen class has that of the next unseen one."""
    exchanged = text.clone()
    exchanged[list(unseen)] = text[[*unseen[1:], unseen[0]]]
    return exchanged


def by_offset(
    method: Method,
    text: Tensor,
    part: Part,
    scenes: int,
    offsets: Iterable[float] = OFFSETS,
) -> dict[float, Row]:
    """Metrics in percent for each seen-score offset, from one pass over the scenes."""
    dataset = open_dataset(method.recipe.data, part, scenes)
    classes, inference = dataset.classes, method.recipe.inference
    metrics = {offset: SegmentationMetrics(classes.names, classes.unseen) for offset in offsets}
    seen = torch.zeros(len(classes.names))
    seen[list(classes.seen_indices)] = 1.0
    for batch in DatasetBatches(dataset, batch_size=16):
        scores = sliding_scores(
            method.network,
            prepare(batch.images, inference.short_side, method.normalisation),
            text,
            **window_options(inference),
            output_size=(batch.labels.shape[1], batch.labels.shape[2]),
        )  # (B, C, H, W)
        for offset, metric in metrics.items():
            metric.update((scores - offset * seen[:, None, None]).argmax(dim=1), batch.labels)
    return {offset: as_row(metric, classes.unseen) for offset, metric in metrics.items()}


def as_row(metric: SegmentationMetrics, unseen: tuple[str, ...]) -> Row:
    """Pixel accuracy, S, U, h and the means of things and stuff, in percent."""
    result = metric.compute()
    iou = result.iou_per_class
    groups = {
        f"{part} {group}": fmean(iou[name] for name in members if (name in unseen) == (part == "U"))
        for group, members in (("things", THINGS), ("stuff", STUFF))
        for part in ("S", "U")
    }
    row = {
        "pAcc": result.pixel_accuracy,
        "S": result.miou_seen,
        "U": result.miou_unseen,
        "h": harmonic_mean(result.miou_seen, result.miou_unseen),
        **groups,
    }
    return {name: 100.0 * value for name, value in row.items()}


if __name__ == "__main__":
    main()
