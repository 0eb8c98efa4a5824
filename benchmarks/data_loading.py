"""Training pictures per second and core: `python -m benchmarks.data_loading`.

From JPEG and PNG files of 500 x 375 pixels to crops of 512 x 512 with all augmentation, by this
package and by the obvious pipeline of Pillow and NumPy, in turns. Time is that of the processor, in
one thread, with the files in the page cache. Written to `benchmarks/results/data_loading.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor, nn
from torchvision import tv_tensors

from cascade_clip.config import IMAGENET, Recipe
from cascade_clip.data.folder import FolderDataset
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.data.stream import TrainStream
from cascade_clip.data.transforms import TrainTransform
from cascade_clip.io.files import write_text

RESULT = Path(__file__).parent / "results" / "data_loading.json"
SIZE = (375, 500)
CROP = 512
CLASSES = 8
IGNORE = 255
REPEATS = 3
"""Each crop is made so often; the quickest counts, as other work on a machine only adds time."""

Bytes = NDArray[np.uint8]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.data or draw_folder(Path(folder), arguments.pictures)
        result = measure(FolderDataset(root, "train"), root, arguments.rounds)
    result["training_rate"] = arguments.training_rate
    result["cores_to_feed_it"] = math.ceil(arguments.training_rate / result["ours"]["median"])
    result |= describe_machine()
    text = json.dumps(result, indent=2) + "\n"
    write_text(arguments.out, text)
    print(table(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of pictures and masks (default: drawn)")
    parser.add_argument("--pictures", type=int, default=24, help="pictures to draw")
    parser.add_argument("--rounds", type=int, default=15, help="times through all pictures")
    parser.add_argument(
        "--training-rate", type=float, default=200.0, help="pictures that training takes per second"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def measure(dataset: FolderDataset, root: Path, rounds: int) -> dict[str, Any]:
    """Pictures per second of both pipelines, round by round, and what our steps take."""
    values = {
        "name": "loading",
        "data": {"name": "folder", "root": root},
        "inference": {"crop": CROP},
    }
    recipe = Recipe.model_validate(values | {"train": {"setting": "full"}})
    transform = TrainTransform(recipe, dataset.classes, IMAGENET.mean)
    stream = TrainStream(dataset, transform, seed=0, endless=False)
    plain = PlainPipeline(dataset)
    count = len(dataset)
    for position in range(count):  # fills caches
        stream[position], plain[position]
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(1, rounds + 1):
        methods: list[tuple[str, Any]] = [("ours", stream), ("plain", plain)]
        totals = {"ours": 0.0, "plain": 0.0}
        for position in range(number * count, (number + 1) * count):
            for name, pipeline in methods[:: 1 if position % 2 else -1]:
                totals[name] += timed(partial(pipeline.__getitem__, position))[0]
        for name, total in totals.items():
            seconds[name].append(total)
    rates = {name: [count / total for total in totals] for name, totals in seconds.items()}
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    return {
        "unit": "pictures per second of one core",
        "pictures": count,
        "mean_jpeg_bytes": round(
            statistics.mean(pair.picture.stat().st_size for pair in dataset.pairs)
        ),
        "rounds": rounds,
        "ours": spread(rates["ours"]),
        "plain": spread(rates["plain"]),
        "ratio": spread(ratios),
        "our_steps_ms": measure_steps(dataset, transform, rounds),
    }


def measure_steps(
    dataset: SegmentationDataset, transform: TrainTransform, rounds: int
) -> dict[str, float]:
    """Mean milliseconds of reading and of each step of the transform."""
    seconds: Counter[str] = Counter()
    count = rounds * len(dataset)
    for number in range(count):
        took, sample = timed(partial(dataset.__getitem__, number % len(dataset)))
        seconds["read"] += took
        values = tv_tensors.Image(sample.image), tv_tensors.Mask(sample.labels)
        for step in transform.steps.transforms:
            took, values = timed(partial(call_seeded, number, step, values))
            seconds[type(step).__name__] += took
    return {name: round(1000 * total / count, 3) for name, total in seconds.items()}


def call_seeded(seed: int, step: nn.Module, values: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return step(*values)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, the least of `REPEATS`, and what came out."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = action()
        seconds.append(time.process_time() - start)
    return min(seconds), result


class PlainPipeline:
    """The obvious way, step by step, with Pillow and NumPy."""

    def __init__(self, dataset: FolderDataset) -> None:
        self.pairs = dataset.pairs

    def __getitem__(self, position: int) -> Sample:
        rng = np.random.default_rng(position)
        picture, mask = self.pairs[position % len(self.pairs)]
        image, labels = Image.open(picture).convert("RGB"), Image.open(mask)
        factor = rng.uniform(0.5, 2) * CROP / min(image.size)
        size = round(image.width * factor), round(image.height * factor)
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        classes = np.asarray(labels.resize(size, Image.Resampling.NEAREST))
        pixels, classes = self.crop(pixels, classes, rng)
        if rng.random() < 0.5:
            pixels, classes = pixels[:, ::-1], classes[:, ::-1]
        pixels = self.distort(pixels, rng)
        bottom, right = CROP - classes.shape[0], CROP - classes.shape[1]
        pixels = np.pad(pixels, ((0, bottom), (0, right), (0, 0)))
        classes = np.pad(classes, ((0, bottom), (0, right)), constant_values=IGNORE)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return Sample(tensor, torch.from_numpy(classes.astype(np.int64)), picture.stem)

    def crop(self, pixels: Bytes, classes: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
        for _ in range(11):
            top = rng.integers(max(0, classes.shape[0] - CROP) + 1)
            left = rng.integers(max(0, classes.shape[1] - CROP) + 1)
            window = np.s_[top : top + CROP, left : left + CROP]
            values, counts = np.unique(classes[window], return_counts=True)
            counts = counts[values != IGNORE]
            if len(counts) > 1 and counts.max() < 0.75 * counts.sum():
                break
        return pixels[window], classes[window]

    def distort(self, pixels: Bytes, rng: np.random.Generator) -> Bytes:
        contrast_first = rng.random() < 0.5
        if rng.random() < 0.5:
            pixels = linear(pixels, 1, rng.uniform(-32, 32))
        if contrast_first and rng.random() < 0.5:
            pixels = linear(pixels, rng.uniform(0.5, 1.5), 0)
        saturate, turn = rng.random() < 0.5, rng.random() < 0.5
        if saturate or turn:
            hsv = np.array(Image.fromarray(np.ascontiguousarray(pixels)).convert("HSV"))
            if saturate:
                hsv[..., 1] = linear(hsv[..., 1], rng.uniform(0.5, 1.5), 0)
            if turn:  # Pillow counts hue from 0 to 255, and bytes wrap around
                hsv[..., 0] += np.array(rng.integers(-26, 26)).astype(np.uint8)
            pixels = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
        if not contrast_first and rng.random() < 0.5:
            pixels = linear(pixels, rng.uniform(0.5, 1.5), 0)
        return pixels


def linear(pixels: Bytes, factor: float, shift: float) -> Bytes:
    return np.clip(pixels.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)


def draw_folder(root: Path, count: int) -> Path:
    """A data set of pictures with the spectrum of photographs (amplitude 1/f) in regions."""
    for name in ("images", "masks"):
        (root / name).mkdir()
    names = [f"{number:03d}" for number in range(count)]
    (root / "classes.txt").write_text("".join(f"class {i}\n" for i in range(CLASSES)))
    for split in ("train", "val"):
        (root / f"{split}.txt").write_text("\n".join(names))
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        labels = draw_regions(rng, SIZE)
        image = draw_picture(rng, labels)
        Image.fromarray(image).save(root / "images" / f"{name}.jpg", quality=92)
        Image.fromarray(labels).save(root / "masks" / f"{name}.png")
    return root


def draw_picture(rng: np.random.Generator, labels: Bytes) -> Bytes:
    """(H, W, 3) with a colour for each label, and detail as fine as in photographs."""
    grey, *colour = (one_over_f(rng, labels.shape) for _ in range(4))
    base = rng.uniform(40, 215, (256, 3))[labels]
    detail = 40 * grey[..., None] + 12 * np.stack(colour, -1)
    return np.clip(base + detail, 0, 255).astype(np.uint8)


def draw_regions(rng: np.random.Generator, size: tuple[int, int]) -> Bytes:
    """Labels of `size`: the nearest of a few places decides, one region in six is ignored."""
    places = rng.uniform(0, 1, (int(rng.integers(2, 9)), 2)) * size
    grid = np.moveaxis(np.indices(size), 0, -1)  # (H, W, 2)
    nearest = np.linalg.norm(grid[:, :, None] - places, axis=-1).argmin(-1)
    classes = rng.integers(0, CLASSES, len(places))
    classes[rng.random(len(places)) < 1 / 6] = IGNORE
    return classes[nearest].astype(np.uint8)


def one_over_f(rng: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.float64]:
    """Of zero mean and unit deviation, with amplitudes that fall with frequency."""
    rows, columns = np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1])
    frequency = np.hypot(rows[:, None], columns[None])
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random(frequency.shape))
    values = np.fft.irfft2(phases / frequency, size)
    return (values - values.mean()) / values.std()


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }


def describe_machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "libjpeg-turbo": features.version("libjpeg_turbo"),
        },
    }


def processor_name() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        for line in cpus.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(result: dict[str, Any]) -> str:
    lines = [f"{result['pictures']} pictures, {result['rounds']} rounds, pictures/s of one core:"]
    for name in ("ours", "plain", "ratio"):
        numbers = result[name]
        lines.append(
            f"  {name:6} {numbers['median']:7.2f}  ({numbers['lowest']} to {numbers['highest']})"
        )
    steps = ", ".join(f"{name} {value}" for name, value in result["our_steps_ms"].items())
    lines.append(f"  our steps in ms: {steps}")
    lines.append(
        f"  {result['training_rate']:g} pictures/s of training take "
        f"{result['cores_to_feed_it']} cores"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
