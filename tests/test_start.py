"""What is imported on the way to a mask, and what isn't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from cascade_clip.picturebook import draw_scene

SLOW = {"lightning", "open_clip", "pandas", "timm", "torchvision", "transformers", "wandb"}
SLOW |= {"scipy.ndimage", "sympy", "torch._dynamo", "torchmetrics"}
PROGRAM = f"""\
import sys
import cascade_clip
print(sorted({{"numpy", "torch"}} & set(sys.modules)))
from cascade_clip.cli.app import main
try:
    main()
finally:
    print(sorted({SLOW!r} & set(sys.modules)), "torch" in sys.modules)
"""


def test_a_mask_needs_none_of_the_slow_imports(tmp_path: Path) -> None:
    Image.fromarray(draw_scene(0, 0, 64).image).save(tmp_path / "scene.png")
    arguments = ["segment", "scene.png", "--model", "picturebook", "--classes", "cat, sky"]
    command = [sys.executable, "-c", PROGRAM, *arguments, "--out", "masks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert (first, last) == ("[]", "[] True")
