"""What grows with classes, pixels, pictures and processes: `python -m benchmarks.scale [PART ...]`.

With the embedded model, whose network costs little, so that what surrounds it shows: from decoded
pixels to labels of their size. Times are processor time of one thread, medians of rounds in turns;
peak memory above model and picture is that of a process of its own. `pictures` sends many small
pictures of changing sizes and names through one `Segmenter` and notes the process's memory.
`processes` measures `label` and `evaluate` by wall clock, so nothing else may run beside it. Writes
the JSON, and tables and plot of docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.pages import fill
from benchmarks.performance import memory
from benchmarks.performance.hardware import environment
from benchmarks.performance.timing import in_turns
from numpy.typing import NDArray
from rich.progress import track

from cascade_clip import Segmenter
from cascade_clip.config import InferenceSettings
from cascade_clip.io.files import write_text, write_whole
from cascade_clip.report.plots import GRID, LINE_COLOURS, panels, png_of

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
PAGE, PLOT = ROOT / "docs/scale.md", ROOT / "docs/images/scale.png"
CLASSES = (20, 171, 847, 5000)
SIDES = {
    0.3: (480, 640),
    1.0: (864, 1152),
    3.1: (1536, 2048),
    12.2: (3024, 4032),
    48.8: (6048, 8064),
}
"""Pixels in millions: (height, width)."""
USUAL_CLASSES, USUAL_SIZE = 20, SIDES[0.3]
WORKERS = (1, 2)
LABEL = ("label", "scenes/JPEGImages", "--classes", "scenes/classes.txt")
EVALUATE = ("evaluate", "picturebook", "--quiet")


def classes_and_pixels(arguments: argparse.Namespace) -> dict[str, Any]:
    cases = {("classes", n): (n, USUAL_SIZE) for n in CLASSES}
    cases |= {("megapixels", n): (USUAL_CLASSES, size) for n, size in SIDES.items()}
    segmenter = Segmenter.from_pretrained("picturebook")
    ways = {case: partial(label, segmenter, *given) for case, given in cases.items()}
    samples = in_turns({str(case): run for case, run in ways.items()}, arguments.rounds, CPU)
    found: dict[str, Any] = {"classes": {}, "megapixels": {}}
    for case, given in cases.items():
        found[case[0]][str(case[1])] = {
            "seconds": statistics.median(samples[str(case)].processor),
            "peak_mib": peak_memory(*given),
        }
        print(*case, found[case[0]][str(case[1])], flush=True)
    return found


def label(segmenter: Segmenter, classes: int, size: tuple[int, int]) -> None:
    segmenter(picture(size), [f"name {index}" for index in range(classes)])


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Coloured squares (H, W, 3), the same at every size."""
    squares = np.random.RandomState(seed).randint(0, 255, (12, 16, 3), np.uint8)
    rows, columns = (
        np.arange(side) * count // side for side, count in zip(size, (12, 16), strict=True)
    )
    return squares[rows][:, columns]


def peak_memory(classes: int, size: tuple[int, int]) -> float:
    command = [sys.executable, "-m", "benchmarks.scale", "--probe", *map(str, (classes, *size))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak_here(classes: int, height: int, width: int) -> float:
    """MiB, after the names are encoded and a small picture was labelled."""
    segmenter = Segmenter.from_pretrained("picturebook")
    label(segmenter, classes, (96, 96))
    before = memory.start(CPU)
    label(segmenter, classes, (height, width))
    return (memory.peak(CPU) - before) / memory.MIB


def many_pictures(arguments: argparse.Namespace) -> dict[str, Any]:
    """Memory of this process in MiB after each twentieth of the pictures, each a single window."""
    usual = Segmenter.from_pretrained("picturebook")
    recipe = usual.recipe.model_copy(
        update={"inference": InferenceSettings(crop=96, stride=96, short_side=96, long_side=96)}
    )
    segmenter = Segmenter(usual.network, usual.clip, usual.trained_classes, recipe)
    random = np.random.RandomState(0)
    curve = []
    begin = time.process_time()
    for number in track(range(arguments.pictures), "pictures"):
        height, width = random.randint(64, 160, 2)
        names = [f"name {index}" for index in random.randint(0, 2000, 5)]
        segmenter(picture((height, width), number), list(dict.fromkeys(names)))
        if (number + 1) % (arguments.pictures // 20) == 0:
            curve.append(memory.status("VmRSS") / memory.MIB)
    seconds = time.process_time() - begin
    return {"pictures": {"count": arguments.pictures, "mib": curve, "seconds": seconds}}


def processes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall-clock seconds, start included, of `cascade-clip label` over a folder and `evaluate` over
    as many scenes: in one process, by Ray's workers, by torchrun."""
    found: dict[str, list[float]] = {}
    scenes = str(arguments.scenes)
    one = [sys.executable, "-m", "cascade_clip"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
    evaluate = [*EVALUATE, "--scenes", scenes]
    ways = {"`label`, one process": [*one, *LABEL], "`evaluate`, one process": [*one, *evaluate]}
    for count in WORKERS:
        ray = ["--engine", "ray", "--workers", str(count)]
        ways[f"`label`, Ray with workers: {count}"] = [*one, *LABEL, *ray]
        several = [*torchrun, str(count), "-m", "cascade_clip"]
        ways[f"`evaluate`, torchrun with processes: {count}"] = [*several, *evaluate]
    with tempfile.TemporaryDirectory() as folder:
        run = partial(subprocess.run, check=True, capture_output=True, cwd=folder)
        run([*one, "picturebook", "scenes", "--count", scenes, "--size", "100"])
        for number in range(arguments.rounds):
            for index, (name, command) in enumerate(ways.items()):
                begin = time.perf_counter()
                run([*command, "--out", f"{number}-{index}"])
                found.setdefault(name, []).append(time.perf_counter() - begin)
                print(name, found[name][-1], flush=True)
    seconds = {name: statistics.median(values) for name, values in found.items()}
    return {"processes": {"scenes": arguments.scenes, "seconds": seconds}}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "classes-and-pixels": classes_and_pixels,
    "pictures": many_pictures,
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=3_000)
    parser.add_argument("--scenes", type=int, default=200, help="of `processes`")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/scale.json")
    parser.add_argument("--probe", nargs=3, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.probe:
        print(peak_here(*arguments.probe))
        return
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for part in arguments.parts or PARTS:
        result |= PARTS[part](arguments) | {"environment": environment(CPU)}
        write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    print(tables(result))
    if arguments.out.parent == ROOT / "benchmarks/results":
        fill(PAGE, "scale", tables(result))
        write_whole(PLOT, lambda path: path.write_bytes(plot(result)))


def tables(result: Mapping[str, Any]) -> str:
    lines = []
    for name, title in (("classes", "classes"), ("megapixels", "million pixels")):
        if name in result:
            lines += [f"| {title} | s | peak memory, MiB |", "|---:|---:|---:|"]
            lines += [
                f"| {float(count):,g} | {row['seconds']:.2f} | {row['peak_mib']:.0f} |"
                for count, row in result[name].items()
            ]
            lines += ["", f"{slope_in_words(result[name], title)}", ""]
    if "pictures" in result:
        many = result["pictures"]
        first, last = many["mib"][0], many["mib"][-1]
        lines += [
            f"{many['count']:,} pictures through one `Segmenter`: the process has {first:.0f} MiB "
            f"after the first twentieth of them, {last:.0f} MiB at the end.",
            "",
        ]
    if "processes" in result:
        labelled = result["processes"]
        lines += [f"| {labelled['scenes']} scenes | s by wall clock |", "|---|---:|"]
        lines += [f"| {name} | {seconds:.0f} |" for name, seconds in labelled["seconds"].items()]
        lines.append("")
    machine = result["environment"]
    lines.append(
        f"{machine['processor']} with {', '.join(machine['instructions'])}, {machine['cpu_cores']} "
        f"cores; torch {machine['packages']['torch']}."
    )
    return "\n".join(lines)


def slope_in_words(rows: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Between the last two points: what twice as much costs."""
    (x0, y0), (x1, y1) = [(float(x), row["seconds"]) for x, row in rows.items()][-2:]
    slope = math.log(y1 / y0) / math.log(x1 / x0)
    return f"At the end, twice as many {title} take {2**slope:.2f} times as long."


def plot(result: Mapping[str, Any]) -> bytes:
    figure, (classes, pixels, memory_axes) = panels(3, (11, 3))
    for axes, name in ((classes, "classes"), (pixels, "megapixels")):
        rows = result[name]
        axes.loglog(
            [float(x) for x in rows],
            [row["seconds"] for row in rows.values()],
            "o-",
            color=LINE_COLOURS[0],
        )
        axes.set_title("seconds a picture", fontsize=10.5, loc="left")
        axes.set_xlabel({"megapixels": "million pixels"}.get(name, name))
        axes.grid(color=GRID, which="both")
    many = result["pictures"]
    points = [many["count"] * (index + 1) / len(many["mib"]) for index in range(len(many["mib"]))]
    memory_axes.plot(points, many["mib"], color=LINE_COLOURS[0])
    memory_axes.set_ylim(0, 1.2 * max(many["mib"]))
    memory_axes.set_title("memory of the process, MiB", fontsize=10.5, loc="left")
    memory_axes.set_xlabel("pictures so far")
    memory_axes.grid(color=GRID)
    return png_of(figure)


if __name__ == "__main__":
    main()
