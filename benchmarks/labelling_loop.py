"""What correcting a few labels changes on drawn scenes: the tables of docs/labelling-loop.md.

    python -m benchmarks.labelling_loop [--scenes 200] [--share 0.2] [KEY=VALUE ...]
    python -m benchmarks.labelling_loop --model picturebook --share 0.05 train.lr=0.001

Runs the commands of that page in a folder that is deleted afterwards. In the place of a person, the
drawn masks correct the labels of the least certain pictures. CLIP alone labels first, and training
begins anew; or a trained model does, and training goes on from it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from benchmarks.pages import fill
from PIL import Image

from cascade_clip.cli.app import app
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.io.lines import read_lines

BOOK, SIDE = 7, 100
CLIP = "picturebook"
TRAINING = ("train.steps=150", "train.validate_every=0")
LABELS = ("--format", "jsonl", "--review", "0", "--quiet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.2, help="Part that is corrected.")
    parser.add_argument("--model", help="Labels first; without it, CLIP alone does.")
    parser.add_argument("--page", type=Path, default=Path("docs/labelling-loop.md"))
    parser.add_argument("settings", nargs="*", help="Of training.")
    options = parser.parse_args()
    start = [] if options.model is None else [f"train.start_from={options.model}"]
    settings = [*TRAINING, *start, *options.settings]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.scenes, options.share, options.model, settings)
    fill(options.page, "loop" if options.model is None else "loop-on", found)


def measure(root: Path, scenes: int, share: float, model: str | None, settings: list[str]) -> str:
    """A table: mIoU of the first labels and of the second, in percent, by group of pictures."""
    book, first = root / "scenes", root / "labelled"
    run("picturebook", book, "--count", scenes, "--size", SIDE, "--seed", BOOK)
    label(book, first, *(("--clip", CLIP) if model is None else ("--model", model)))
    entries = [json.loads(line) for line in read_lines(first / "labelled.jsonl")[1:]]
    names = [entry["name"] for entry in sorted(entries, key=lambda entry: entry["confidence"])]
    count = max(1, round(share * scenes))
    again = correct_and_label_again(root, book, names[:count], settings)
    lines = ["| pictures | first labels | second labels |", "|---|---|---|"]
    for group, members in (
        (f"the {count} least certain, corrected", names[:count]),
        (f"the other {scenes - count}", names[count:]),
    ):
        before, after = miou(book, first, members), miou(book, again, members)
        lines.append(f"| {group} | {before:.1f} | {after:.1f} |")
    return "\n".join(lines)


def correct_and_label_again(
    root: Path, book: Path, corrected: list[str], settings: list[str]
) -> Path:
    """The folder of the second labels."""
    export = root / "export"  # what an annotation tool would give
    export.mkdir()
    for name in corrected:
        shutil.copy(book / "SegmentationClass" / f"{name}.png", export)
    shutil.copy(book / "classes.txt", export)
    data, trained, again = root / "corrected", root / "run", root / "labelled-2"
    run("prepare", "folder", data, "--from", export, "--pictures", book / "JPEGImages")
    recipe = ("cascade-clip/picturebook/full", "--no-report", "--quiet")
    run("train", *recipe, "data.name=folder", f"data.root={data}", *settings, "--out", trained)
    label(book, again, "--model", trained, "--again", data)
    return again


def label(book: Path, out: Path, *options: object) -> None:
    names = ("--classes", book / "classes.txt")
    run("label", book / "JPEGImages", *names, *options, *LABELS, "--out", out)


def run(*words: object) -> None:
    """A command, as if it were typed."""
    typed = [str(word) for word in words]
    print("$ cascade-clip", *typed, flush=True)
    if app(typed, standalone_mode=False):
        raise SystemExit("the command failed")


def miou(book: Path, labelled: Path, names: Collection[str]) -> float:
    """Of the labels of these pictures; in percent."""
    metrics = SegmentationMetrics(read_lines(book / "classes.txt"), unseen=())
    for name in names:
        masks = (labelled / "masks" / f"{name}.png", book / "SegmentationClass" / f"{name}.png")
        metrics.update(*(torch.from_numpy(np.array(Image.open(mask))) for mask in masks))
    return 100 * metrics.compute().miou


if __name__ == "__main__":
    main()
