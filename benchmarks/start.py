"""What it costs from the shell to the first mask: `python -m benchmarks.start [OTHER_CHECKOUT]`.

Each step is a process of its own, and steps run in turns after a first round that doesn't count.
Costs are processor time of the whole process, so that other work on the machine counts little. With
another checkout of this repository, its costs stand beside, measured in the same rounds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parents[1]
ROUNDS = 3
SEGMENTER = "from cascade_clip import Segmenter"
SEGMENT = ["-m", "cascade_clip", "segment", str(HERE / "examples/scene.png")]
SEGMENT += ["--model", "picturebook", "--classes", "cat, house, grass, sky"]
STEPS = {
    "`import cascade_clip`": ["-c", "import cascade_clip"],
    "`from cascade_clip import Segmenter`": ["-c", SEGMENTER],
    'and `Segmenter.from_pretrained("picturebook")`': [
        "-c",
        f"{SEGMENTER}; Segmenter.from_pretrained('picturebook')",
    ],
    "`cascade-clip segment`, one picture, four names": SEGMENT,
}
LIBRARIES = {f"`import {name}` alone": ["-c", f"import {name}"] for name in ("torch", "open_clip")}


def main() -> None:
    checkouts = [HERE, *map(Path, sys.argv[1:])]
    found: dict[tuple[str, Path], list[float]] = {}
    for number in range(ROUNDS + 1):
        for name, arguments in (STEPS | LIBRARIES).items():
            for checkout in checkouts if name in STEPS else checkouts[:1]:
                seconds = processor_seconds(arguments, checkout)
                if number:
                    found.setdefault((name, checkout), []).append(seconds)
    print("| step | s |" + " other, s | share |" * (len(checkouts) - 1))
    print("|---|---:|" + "---:|---:|" * (len(checkouts) - 1))
    for name in STEPS | LIBRARIES:
        own, *others = (
            found[name, checkout] for checkout in checkouts if (name, checkout) in found
        )
        cells = [f"{median(own):.2f}"]
        for other in others:
            share = median(a / b for a, b in zip(own, other, strict=True))
            cells += [f"{median(other):.2f}", f"{share:.0%}"]
        print(f"| {name} | {' | '.join(cells)} |")


def processor_seconds(arguments: list[str], checkout: Path) -> float:
    """Of a Python process that imports the package from `checkout`."""
    path = os.pathsep.join([str(checkout / "src"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as folder:
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
