"""How much faster merged tokens are, and what they change: `inference.token_merging`.

    python -m benchmarks.token_merging [--pictures 100] [--rounds 3] [--page docs/performance.md]

Of the embedded model and of SC-CLIP on its CLIP: how many pixels of drawn test scenes keep the
class that all tokens give, mIoU against the truth, and speed. Of a ViT-B/16 with random weights,
whose labels say nothing, speed alone: Cascade-CLIP on 512 x 512 pixels with 171 names, beside the
plain translation of the method, and SC-CLIP on two windows of 336 x 336. On one thread, all ways in
turns; ratios of processor time within a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from benchmarks.pages import fill
from benchmarks.performance import subjects
from benchmarks.performance.hardware import environment
from benchmarks.performance.timing import compare, in_turns

from cascade_clip import Segmenter
from cascade_clip.config.training_free import ScClipSettings
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.inference.token_merging import merging_tokens
from cascade_clip.model.fast.precision import Precision
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.training_free.network import TrainingFreeNetwork
from cascade_clip.support.processor import (
    adds_8_bit_products_in_32_bits,
    cpu_features,
    why_slower,
)

CPU = torch.device("cpu")
SHARES = (0.0, 0.05, 0.1, 0.125, 0.15, 0.2)
TIMED = 8
"""Pictures of one timed run with the embedded CLIP."""

Columns = dict[str, list[str]]
"""A table's cells, one for each share, by heading."""


def on_scenes(load: Callable[..., Segmenter], pictures: int, rounds: int) -> Columns:
    data = open_dataset(Segmenter.from_pretrained().recipe.data, "test", pictures)
    samples = [data[index] for index in range(pictures)]
    images = [sample.image.permute(1, 2, 0).numpy() for sample in samples]
    truth = torch.stack([sample.labels for sample in samples])
    labels, miou, runs = [], [], {}
    for share in SHARES:
        segmenter = load(inference={"token_merging": share})
        query = segmenter.query(list(data.classes.prompts))
        found = segmenter.predictor.labels_of_each(images, query)
        labels.append(torch.stack([torch.from_numpy(own) for own, _ in found]))
        metrics = SegmentationMetrics(data.classes.names, ())
        metrics.update(labels[-1], truth)
        miou.append(f"{100 * metrics.compute().miou:.1f}")
        runs[str(share)] = partial(segmenter.predictor.labels_of_each, images[:TIMED], query)
    same = [f"{(own == labels[0]).double().mean():.1%}" for own in labels]
    faster = list(ratios(runs, rounds, "0.0").values())
    return {"same class": same, "mIoU": miou, "times faster": faster}


@torch.inference_mode()
def cascade_on_vit_b(rounds: int) -> Columns:
    """Beside the plain translation, in float32 and what else is fast on this CPU."""
    shape = subjects.at_resolution(subjects.SHAPES["ViT-B/16"], 512)
    plain = subjects.build_network(shape, CPU)
    picture = subjects.random_pictures(1, (512, 512), CPU)
    text = subjects.random_text(shape, subjects.CLASSES, CPU)
    reference = subjects.Reference(plain, shape, subjects.Options())
    runs = {"reference": partial(reference.labels, picture, text)}
    precisions = [kind for kind in get_args(Precision) if not why_slower(kind, cpu_features())]
    for kind in precisions:
        for share in SHARES:
            network = merging_tokens(plain, share)
            assert isinstance(network, SegmentationNetwork)
            ours = subjects.Ours(network, shape, subjects.Options(precision=kind))
            runs[f"{kind} {share}"] = partial(ours.labels, picture, text)
    ratio = ratios(runs, rounds, "reference")
    return {
        f"Cascade-CLIP, {kind}": [ratio[f"{kind} {share}"] for share in SHARES]
        for kind in precisions
    }


@torch.inference_mode()
def sc_clip_on_vit_b(rounds: int) -> list[str]:
    """Beside all tokens."""
    shape = subjects.SHAPES["ViT-B/16"]
    visual = subjects.build_network(shape, CPU).encoder.visual
    network = TrainingFreeNetwork(visual, ScClipSettings()).eval()
    windows = subjects.random_pictures(2, (336, 336), CPU)
    text = subjects.random_text(shape, 20, CPU)
    runs = {str(share): partial(merging_tokens(network, share), windows, text) for share in SHARES}
    return list(ratios(runs, rounds, "0.0").values())


def ratios(runs: Mapping[str, Callable[[], object]], rounds: int, baseline: str) -> dict[str, str]:
    rows = compare(in_turns(runs, rounds, CPU), baseline)
    return {name: f"{row['ratio']:.2f}" for name, row in rows.items()}


def table(columns: Columns) -> str:
    rows = [columns, ["---:"] * len(columns), *zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    shares: Columns = {
        "`token_merging`": [f"{share:g}" for share in SHARES],
        "patches at the end": [f"{1 - 4 * share:.0%}" for share in SHARES],
    }
    scenes = dict(shares)
    for title, load in (
        ("embedded model", Segmenter.from_pretrained),
        ("SC-CLIP", partial(Segmenter.from_clip, "picturebook")),
    ):
        cells = on_scenes(load, options.pictures, options.rounds)
        scenes |= {f"{title}: {name}": own for name, own in cells.items()}
    large = shares | cascade_on_vit_b(options.rounds)
    large["SC-CLIP, than all tokens"] = sc_clip_on_vit_b(options.rounds)
    machine = environment(CPU)
    place = f"{machine['processor']} with {', '.join(machine['instructions'])}, one thread"
    measured = f"{place}; {options.pictures} scenes, {options.rounds} rounds."
    if not adds_8_bit_products_in_32_bits(cpu_features()):
        measured += " Without AVX512-VNNI, int8 has weights of 7 bits and gains little."
    both = (
        f"{table(scenes)}\n\nViT-B/16, times faster than the plain translation:\n\n{table(large)}"
    )
    print(both)
    fill(options.page, "token-merging", f"{both}\n\n{measured}")


if __name__ == "__main__":
    main()
