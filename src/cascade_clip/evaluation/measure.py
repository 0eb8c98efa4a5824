"""Measures a trained model on a data set, alone or next to CLIP without training."""

from __future__ import annotations

import time
from functools import partial

import torch
from rich.progress import Progress

from cascade_clip.checkpoint.native import Bundle
from cascade_clip.clip.text import TEMPLATES, encode_classes
from cascade_clip.config import Recipe
from cascade_clip.data.dataset import open_dataset
from cascade_clip.data.split import read_split
from cascade_clip.evaluation.contenders import Contender, raw_contender
from cascade_clip.evaluation.evaluate import evaluate
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.evaluation.run_report import Accuracies, Findings
from cascade_clip.evaluation.transfer import judge
from cascade_clip.notices import Console

RAW_CLIP = "raw CLIP"


def measure(
    bundle: Bundle,
    recipe: Recipe,
    *,
    split: str = "test",
    pictures: int | None = None,
    raw_clip: bool = False,
    quiet: bool = False,
) -> Findings:
    """Evaluates `bundle` as `recipe` says (its data, seen-score offset and templates), on at most
    `pictures` pictures, with a progress bar unless `quiet`.

    On other data than it was trained on, a class counts as seen if its name was trained on.

    Raises `UserError` for an unknown split and data that can't be read.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = open_dataset(recipe.data, read_split(split), pictures)
    judgement = judge(dataset.classes, bundle.classes, recipe.train.setting)
    contenders = {recipe.name: Contender(bundle.network, recipe)}
    if raw_clip:
        contenders[RAW_CLIP] = raw_contender(recipe)
    changed = recipe.data.templates != bundle.recipe.data.templates
    templates = TEMPLATES[recipe.data.templates] if changed else bundle.templates
    text = encode_classes(bundle.clip, dataset.classes.prompts, templates).to(device)
    rows: dict[str, Metrics] = {}
    accuracies = {name: Accuracies() for name in contenders}
    seconds: dict[str, float] = {}
    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        for name, contender in contenders.items():
            task = progress.add_task(name, total=len(dataset))
            start = time.perf_counter()
            rows[name] = evaluate(
                contender.network.to(device),
                dataset,
                text,
                contender.recipe,
                classes=judgement.classes,
                advance=partial(progress.advance, task),
                watch=accuracies[name],
            )
            seconds[f"evaluating {name}"] = time.perf_counter() - start
    return Findings(
        contender=contenders[recipe.name],
        rows=rows,
        judgement=judgement,
        dataset=dataset,
        split=split,
        text_embeddings=text,
        accuracies=accuracies[recipe.name],
        seconds=seconds,
    )
