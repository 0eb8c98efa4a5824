"""The picture book as a benchmark of methods: `python -m benchmarks.picturebook`.

Every method gets the same steps, the same search over learning rates (chosen on the validation
part, and carried on below `--rates` while the lowest is the best), a seen-score offset chosen on
the calibration part, and the same test scenes; the numbers are means and spreads over seeds. A
control repeats the evaluation with the text embeddings of the unseen classes exchanged among each
other, which must ruin the unseen classes and nothing else.

Finished runs are kept in `--work` and not repeated; methods that the JSON already has, measured
with the same settings, stay beside those of `--methods`. Writes the JSON and the Markdown page that
shows it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from benchmarks.picturebook_page import Row, markdown
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.checkpoint.source import METHODS as TRAINING_FREE
from cascade_clip.clip.load import load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.part import Part
from cascade_clip.data.transforms import prepare
from cascade_clip.evaluation.evaluate import DatasetBatches
from cascade_clip.evaluation.methods import Method, trained_method
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.evaluation.training_free import measure_method
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
        "cascade-released": "released",
        **{
            method: method
            for method in (
                "frozen", "frozen-cascade", "spt", "spt-cascade", "otseg-plus", "otseg-cascade",
                "clip-rc", "clip-rc-cascade", "rpn", "rpn-cascade",
            )
        },
    }.items()
}  # fmt: skip
"""Recipes by what the page calls them."""
SIDES = (96, 144)
"""Sides in pixels at which methods without training are tried: that of the CLIP's pretraining, and
one with more patches."""
ROOM = 4
"""By how many pixels a scene is larger than a window, which shifts by as many: half a patch."""
Key = TypeVar("Key", bound=Hashable)
MOST_RATES = 6
"""Learning rates that are tried for a method."""
OFFSETS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def main() -> None:
    arguments = parse_arguments()
    before = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    result = begin(arguments, before)
    for method in arguments.methods:
        result["methods"][method] = measure(arguments, method)
        in_order = [name for name in METHODS if name in result["methods"]]
        result["methods"] = {name: result["methods"][name] for name in in_order}
        write_text(arguments.json, json.dumps(result, indent=2) + "\n")
        write_text(arguments.page, markdown(result))
    print(markdown(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--search-steps", type=int, default=200, help="of the rates' trial runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3, 4e-3, 8e-3])
    parser.add_argument("--scenes", type=int, default=100, help="scenes of each part")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/picturebook.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/picturebook.md"))
    return parser.parse_args()


def begin(arguments: argparse.Namespace, before: dict[str, Any]) -> dict[str, Any]:
    """Everything that the page shows but the methods of `arguments`; `before` is the result of an
    earlier call, or empty."""
    settings = {
        key: getattr(arguments, key)
        for key in ("steps", "search_steps", "seeds", "rates", "scenes")
    }
    settings["crop"] = load_recipe(METHODS["cascade"]).inference.crop
    kept = before if before.get("settings") == settings else {}
    return {
        "settings": settings,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        },
        "untrained": kept.get("untrained") or untrained(arguments.scenes),
        "methods": kept.get("methods", {}),
    }


def measure(arguments: argparse.Namespace, method: str) -> dict[str, Any]:
    """A method's search, the learning rate that was taken and a row for each seed."""
    tried: dict[float, float] = {}
    rates = list(arguments.rates)
    while rates:
        runs = {rate: Run(arguments, method, rate, 0, arguments.search_steps) for rate in rates}
        tried |= {rate: row["h"] for rate, row in run_all(validated, runs, arguments.jobs).items()}
        rates = lower_rates(tried)
    best = max(tried, key=tried.__getitem__)
    print(f"{method}: hIoU on the validation part by learning rate {tried}; takes {best}")
    final = {
        seed: Run(arguments, method, best, seed, arguments.steps) for seed in range(arguments.seeds)
    }
    rows = run_all(tested, final, arguments.jobs)
    return {
        "search": dict(sorted(tried.items())),
        "lr": best,
        "seeds": [rows[seed] for seed in range(arguments.seeds)],
    }


def lower_rates(tried: dict[float, float]) -> list[float]:
    """The rate to try next, if the lowest one was the best so far."""
    lowest = min(tried)
    best = max(tried, key=tried.__getitem__)
    return [lowest / 2] if best == lowest and len(tried) < MOST_RATES else []


@dataclass(frozen=True)
class Run:
    """One training."""

    arguments: argparse.Namespace
    method: str
    rate: float
    seed: int
    steps: int

    def bundle(self) -> Bundle:
        """The trained model; trained now unless it was before."""
        model = self.folder / "model"
        if not (model / "config.json").exists():
            overrides = [
                f"train.steps={self.steps}",
                f"train.lr={self.rate!r}",
                f"train.seed={self.seed}",
                "train.validate_every=0",
            ]
            recipe = load_recipe(METHODS[self.method], overrides)
            resume = (self.folder / "recipe.yaml").exists()
            train(recipe, self.folder, resume=resume, quiet=True)
        return load_bundle(model)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        work: Path = self.arguments.work
        return work / f"{self.method}-{self.rate:g}-{self.seed}-{self.steps}"


def run_all(measure: Callable[[Run], Row], runs: dict[Key, Run], jobs: int) -> dict[Key, Row]:
    """What `measure` finds for each run, `jobs` at a time with one core each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        pending = {key: pool.submit(stored, measure, run) for key, run in runs.items()}
        found = {}
        for key, future in pending.items():
            found[key] = future.result()
            print(f"{runs[key].folder.name}: h {found[key]['h']:.1f}", flush=True)
    return found


def stored(measure: Callable[[Run], Row], run: Run) -> Row:
    """What `measure` finds, kept in the run's folder."""
    file = run.folder / f"{measure.__name__}-{run.arguments.scenes}.json"
    if not file.exists():
        write_text(file, json.dumps(measure(run)))
    row: Row = json.loads(file.read_text())
    return row


def validated(run: Run) -> Row:
    """The validation part, at the offset with the best hIoU there."""
    bundle = run.bundle()
    scenes = run.arguments.scenes
    rows = by_offset(trained_method(bundle), text_of(bundle), "val", scenes)
    return max(rows.values(), key=lambda row: row["h"])


def tested(run: Run) -> Row:
    """The test part at the offset that the calibration part prefers, and the control."""
    bundle, scenes = run.bundle(), run.arguments.scenes
    text, model = text_of(bundle), trained_method(bundle)
    calibration = by_offset(model, text, "calibration", scenes)
    offset = max(calibration, key=lambda value: calibration[value]["h"])
    row = by_offset(model, text, "test", scenes, [offset])[offset]
    exchanged = exchange_unseen(text, bundle.classes.unseen_indices)
    control = by_offset(model, exchanged, "test", scenes, [offset])[offset]
    return row | {"offset": offset, "control S": control["S"], "control U": control["U"]}


def untrained(scenes: int) -> dict[str, Row]:
    """CLIP and the best of the methods without training, on the test part, by what the page calls
    them. Both at the side that is best on the calibration part."""
    found = {
        (method, side): untrained_at(method, side, "calibration", scenes)["h"]
        for method in TRAINING_FREE
        for side in SIDES
    }
    side = max(SIDES, key=lambda side: found["clip", side])
    method, other_side = max(found, key=found.__getitem__)
    return {
        f"CLIP, {side} px": untrained_at("clip", side, "test", scenes),
        f"best without training: {method}, {other_side} px": untrained_at(
            method, other_side, "test", scenes
        ),
    }


def untrained_at(method: str, side: int, part: Part, scenes: int) -> Row:
    """A method without training on windows of `side` pixels, names in the single template."""
    sizes = {"crop": side, "stride": side, "short_side": side + ROOM}
    overrides = [f"inference.{key}={size}" for key, size in sizes.items()]
    recipe = load_recipe(f"{method}/picturebook", overrides)
    clip = load_clip(load_recipe(METHODS["cascade"]).model.clip)
    dataset = open_dataset(recipe.data, part, scenes)
    found = measure_method(clip, recipe, dataset, torch.device("cpu"))
    print(f"{method} at {side} px, {part} part: {found.metrics.hiou:.3f}", flush=True)
    return as_row(found.metrics, dataset.classes.unseen)


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
            prepare(batch.images, inference, method.normalisation),
            text,
            **window_options(inference),
            output_size=(batch.labels.shape[1], batch.labels.shape[2]),
        )  # (B, C, H, W)
        for offset, metric in metrics.items():
            metric.update((scores - offset * seen[:, None, None]).argmax(dim=1), batch.labels)
    return {offset: as_row(metric.compute(), classes.unseen) for offset, metric in metrics.items()}


def as_row(result: Metrics, unseen: tuple[str, ...]) -> Row:
    """Pixel accuracy, S, U, h and the means of things and stuff, in percent."""
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
        "h": result.hiou,
        **groups,
    }
    return {name: 100.0 * value for name, value in row.items()}


if __name__ == "__main__":
    main()
