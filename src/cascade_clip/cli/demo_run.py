"""The demonstration: trains on the picture book's seen classes and shows what came of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.cli.progress import picture_bar
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import dump_recipe, load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.samples import Sample
from cascade_clip.errors import UserError
from cascade_clip.evaluation.evaluate import evaluate
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.methods import (
    Method,
    make_examples,
    raw_clip_method,
    stage_methods,
    trained_method,
)
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.io.folder_lock import LOCK_FILE
from cascade_clip.picturebook import STUFF, THINGS
from cascade_clip.report import html
from cascade_clip.report.chosen import choose_scenes, visible_labels
from cascade_clip.report.sections import (
    classes_section,
    curves_section,
    metrics_section,
    pictures_section,
    read_history,
    settings_section,
    write_report,
)
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.support.environment import describe_environment
from cascade_clip.support.messages import Console
from cascade_clip.training.run import train
from cascade_clip.training.run_folder import RECIPE_FILE

GROUPS = {"things": THINGS, "stuff": STUFF}
METHODS = {
    "cascade": "cascade-clip/picturebook/inductive",
    "single": "zegclip/picturebook/inductive",
}
RAW = "raw CLIP"
POOL = 60
"""Fresh scenes among which those of the report are looked for."""


@dataclass(frozen=True)
class DemoSettings:
    """How much the demonstration does."""

    steps: int = 300
    """Training steps of each method: fewer than the recipes say, to be done in some minutes."""
    scenes: int = 100
    """Scenes that are evaluated."""
    shown: int = 8
    """Scenes in the report's table of pictures."""
    typed: int = 3
    """Scenes segmented with names of their own."""
    overrides: tuple[str, ...] = field(default=())
    """Settings for both recipes, as `key=value`."""

    @classmethod
    def quick(cls) -> DemoSettings:
        """Too little to learn much: shows that everything works."""
        return cls(steps=40, scenes=24, shown=4)

    def with_steps(self, steps: int) -> DemoSettings:
        """The same with another number of training steps."""
        return replace(self, steps=steps)


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found, and where the report lies."""

    rows: Mapping[str, Metrics]
    classes: ClassSet
    report: Path


def run_demo(out: Path, settings: DemoSettings, quiet: bool = False) -> DemoResult:
    """Trains cascade and single head, measures both next to raw CLIP, segments fresh scenes and
    writes `out/report.html`. Models of an earlier demonstration in `out` are replaced.

    Raises `UserError` if `out` holds something else in the way.
    """
    clock = Clock(Console(stderr=True, quiet=quiet))
    bundles = {}
    for name, recipe_name in METHODS.items():
        recipe = _recipe(recipe_name, settings)
        with clock.measure(f"training {name} ({recipe.train.steps} steps)"):
            bundles[name] = load_bundle(train(recipe, _fresh_run(out / name), quiet=quiet).folder)
    cascade = bundles["cascade"]
    recipe, classes = cascade.recipe, cascade.classes
    methods = {name: trained_method(bundle) for name, bundle in bundles.items()}
    methods[RAW] = raw_clip_method(recipe)
    text = cascade.text(classes.names)  # (C, d)
    rows = {}
    for name, method in methods.items():
        with clock.measure(f"evaluating {name} ({settings.scenes} scenes)"):
            rows[name] = _evaluate(method, text, settings.scenes, quiet)
    with clock.measure("segmenting fresh scenes"):
        fresh = open_dataset(recipe.data, "test", settings.scenes + POOL)
        pool = [fresh[settings.scenes + index] for index in range(POOL)]
        shown = choose_scenes(pool, classes, settings.shown)
        seen_by = {
            "cascade": methods["cascade"],
            **stage_methods(cascade),
            RAW: methods[RAW],
        }
        examples = make_examples(shown, seen_by, text, classes)
        rest = [sample for sample in pool if all(sample is not other for other in shown)]
        typed = _segment_typed(cascade, choose_scenes(rest, classes, settings.typed), out)
    sections = [
        metrics_section(rows, classes, GROUPS),
        html.paragraph(
            "One seed: gaps of a few points between two trained networks mean little.", note=True
        ),
        _pictures(examples, classes),
        _typed_section(typed),
        classes_section(rows, classes),
        curves_section({name: read_history(out / name / "metrics.csv") for name in METHODS}),
        settings_section(
            {name: dump_recipe(bundle.recipe) for name, bundle in bundles.items()},
            clock.seconds,
            describe_environment(),
        ),
    ]
    report = write_report(
        out / "report.html", "Cascade-CLIP on the picture book", _lead(classes), sections
    )
    return DemoResult(rows, classes, report)


class Clock:
    """Says what is being done and keeps how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Times a part of the work."""
        self.console.print(f"[bold]{what}[/bold]", highlight=False)
        start = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - start


def _recipe(name: str, settings: DemoSettings) -> Recipe:
    planned = load_recipe(name, settings.overrides).train
    warmup = min(planned.warmup_steps, settings.steps // 5)
    overrides = [f"train.steps={settings.steps}", f"train.warmup_steps={warmup}"]
    return load_recipe(name, [*settings.overrides, *overrides])


def _fresh_run(folder: Path) -> Path:
    """The folder for a new run; an earlier run there is removed."""
    if (folder / RECIPE_FILE).is_file():
        shutil.rmtree(folder)
    elif folder.is_file() or any(file.name != LOCK_FILE for file in folder.glob("*")):
        raise UserError(f"{folder} exists and is no run of a demonstration; choose another --out")
    return folder


def _evaluate(method: Method, text: Tensor, scenes: int, quiet: bool) -> Metrics:
    dataset = open_dataset(method.recipe.data, "test", scenes)
    with picture_bar("", scenes, quiet) as advance:
        return evaluate(
            method.network, dataset, text, method.recipe, method.normalisation, advance=advance
        )


def _segment_typed(bundle: Bundle, samples: Sequence[Sample], out: Path) -> list[Segmentation]:
    """Each scene with the names of what it shows and two that it doesn't; scenes and overlays are
    written to `out/scenes`."""
    segmenter = Segmenter.of(bundle)
    results = []
    for number, sample in enumerate(samples, start=1):
        shown = visible_labels(sample)
        absent = [index for index in range(len(bundle.classes.names)) if index not in shown]
        asked = [*shown, *absent[number::7][:2]]
        result = segmenter(sample.image, [bundle.classes.names[index] for index in asked])
        path = out / "scenes" / f"scene-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(result.image).save(path)
        result.save(path.with_name(f"scene-{number}-overlay.png"))
        results.append(replace(result, name=str(path)))
    return results


def _pictures(examples: Sequence[Example], classes: ClassSet) -> str:
    note = (
        "Fresh scenes, chosen by what they show (each unseen class, if it can be had), not by how "
        "well they went. Next to the whole cascade stand the arg-max of each of its stages alone "
        "and CLIP without any training. Under each mask: the share of pixels that are right."
    )
    return pictures_section("What the networks see", note, examples, classes)


def _typed_section(results: Sequence[Segmentation]) -> str:
    figures = [
        html.figure(result.overlay(), f'--classes "{", ".join(result.classes)}"')
        for result in results
    ]
    return html.section(
        "Names typed at run time",
        html.paragraph(
            "Each scene was asked for the names below it, some of which it doesn't show."
        ),
        html.cards(figures),
    )


def _lead(classes: ClassSet) -> str:
    return (
        "Every scene here is drawn by the program. A small CLIP has read phrases about such "
        "scenes, of all classes, but has never seen a mask. Two networks on top of it were then "
        f"trained with the masks of {len(classes.seen)} classes; the masks of "
        f"{len(classes.unseen)} others ({', '.join(classes.unseen)}) were withheld. Below, both "
        "segment scenes they have not met, and every pixel may become any class, seen or unseen."
    )
