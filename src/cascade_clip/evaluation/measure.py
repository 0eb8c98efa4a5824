"""Measures a trained model on a data set, alone or next to CLIP without training."""

from __future__ import annotations

import time
from functools import partial

from rich.progress import Progress

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config import Recipe
from cascade_clip.data.labels import ignored_label
from cascade_clip.data.part import Part
from cascade_clip.data.samples import SegmentationDataset
from cascade_clip.evaluation.evaluate import evaluate
from cascade_clip.evaluation.findings import Accuracies, Findings
from cascade_clip.evaluation.methods import Method, raw_clip_method
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.evaluation.share import Share
from cascade_clip.evaluation.transfer import judge
from cascade_clip.model.fast.precision import at_precision, choose_precision
from cascade_clip.support.devices import choose_device
from cascade_clip.support.messages import Console
from cascade_clip.support.parallel import usable_cores

RAW_CLIP = "raw CLIP"
WORKERS = 4
"""Processes that read pictures for a GPU, on as many cores."""


def measure(
    bundle: Bundle,
    recipe: Recipe,
    dataset: SegmentationDataset,
    *,
    part: Part = "test",
    raw_clip: bool = False,
    workers: int | None = None,
    run: RunOptions | None = None,
    quiet: bool = False,
) -> Findings:
    """Evaluates `bundle` as `recipe` says (its seen-score offset and templates) on `dataset`, the
    `part` of its data, with a progress bar unless `quiet`.

    `workers` processes read the pictures, or this one if 0; by default several where there is a
    GPU, which would wait for them. On a CPU they would only take cores from the network.

    On other data than it was trained on, a class counts as seen if its name was trained on.
    Processes of one group divide the pictures among themselves, and all find the same.

    In lower precision, a copy of the network is measured; raw CLIP stays in fp32.

    Raises `UserError` for data that can't be read, and a device or precision that is not to be had.
    """
    run = run or RunOptions()
    device = choose_device(run.device)
    precision = choose_precision(run.precision, device)
    if workers is None:
        workers = 0 if device.type == "cpu" else min(WORKERS, usable_cores())
    share = Share.of_this_process(dataset)
    judgement = judge(dataset.classes, bundle.classes, recipe.train.setting)
    network = at_precision(bundle.network.to(device), precision)
    methods = {recipe.name: Method(network, recipe, bundle.normalisation)}
    if raw_clip:
        methods[RAW_CLIP] = raw_clip_method(recipe)
    changed = recipe.data.templates != bundle.recipe.data.templates
    templates = TEMPLATES[recipe.data.templates] if changed else bundle.templates
    text = bundle.text(dataset.classes.prompts, templates).to(device)
    rows: dict[str, Metrics] = {}
    ignored = ignored_label(len(dataset.classes.names))
    accuracies = {name: Accuracies(ignored=ignored) for name in methods}
    seconds: dict[str, float] = {}
    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        for name, method in methods.items():
            task = progress.add_task(name, total=len(share))
            start = time.perf_counter()
            rows[name] = evaluate(
                method.network.to(device),
                share,
                text,
                method.recipe,
                method.normalisation,
                classes=judgement.classes,
                workers=workers,
                advance=partial(progress.advance, task),
                watch=accuracies[name],
            )
            seconds[f"evaluating {name}"] = time.perf_counter() - start
    return Findings(
        method=methods[recipe.name],
        rows=rows,
        judgement=judgement,
        dataset=dataset,
        part=part,
        text_embeddings=text,
        accuracies=Accuracies(share.gather(accuracies[recipe.name].values)),
        precision=precision,
        seconds=seconds,
    )
