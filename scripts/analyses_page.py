"""Writes `docs/analyses.md` and its pictures: `python scripts/analyses_page.py`.

Runs the three commands of `cascade-clip analyze` on the embedded model (two or three minutes on one
core); every number on the page is taken from what they write.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cascade_clip.analysis.bootstrap import RESAMPLES
from cascade_clip.analysis.output import FIGURES_HEADER

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "analyses.md"
MOST_BYTES = 150_000
WIDTH = 1400
"""Of a picture, in pixels, at most."""

COMMANDS = {
    "cka": ["analyze", "cka", "picturebook", "--scenes", "288"],
    "localization": ["analyze", "localization", "picturebook", "--scenes", "200"],
    "stages": ["analyze", "stages", "picturebook", "--scenes", "300"],
}

PICTURES = {
    "cka": ["cka"],
    "localization": ["localization", "maps-1"],
    "stages": ["stages", "pictures", "weights", "offsets", "confusion", "gains", "reliability"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/analyses"), help="for results")
    parser.add_argument("--keep", action="store_true", help="take the results that lie there")
    arguments = parser.parse_args()
    results = {}
    for name, command in COMMANDS.items():
        out = arguments.work / name
        if not arguments.keep:
            call = [sys.executable, "-m", "cascade_clip", *command, "--out", str(out)]
            subprocess.run(call, check=True)
        results[name] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        for picture in PICTURES[name]:
            shrink(out / f"{picture}.png", IMAGES / image_name(name, picture))
    PAGE.write_text(page(results), encoding="utf-8")


def image_name(command: str, picture: str) -> str:
    """`analyses-cka.png`, `analyses-stages-offsets.png`, ..."""
    return f"analyses-{command if picture == command else f'{command}-{picture}'}.png"


def shrink(source: Path, target: Path) -> None:
    """The picture in few colours and of a size that a repository can bear."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    width = min(WIDTH, picture.width)
    for share in (1.0, 0.8, 0.6):
        size = (round(width * share), round(picture.height * width * share / picture.width))
        small = picture.resize(size, Image.Resampling.LANCZOS)
        few = small.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(target, optimize=True)
        if target.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{target} has {target.stat().st_size} bytes, more than {MOST_BYTES}")


def page(results: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    values = {
        f"{part}_{name}": text(results[name])
        for name in COMMANDS
        for part, text in (("table", table), ("found", figures), ("setup", setup))
    }
    values["resamples"] = str(RESAMPLES)
    values |= {f"command_{name}": shown(command) for name, command in COMMANDS.items()}
    return TEMPLATE.format(**values)


def table(result: dict[str, Any]) -> str:
    rows = [result["header"], ["---"] + ["---:"] * (len(result["header"]) - 1), *result["rows"]]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", result["note"]])


def figures(result: dict[str, Any]) -> str:
    rows = [FIGURES_HEADER, ("---", "---:", "---:"), *result["figures"]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def setup(result: dict[str, Any]) -> str:
    measured = result["setup"]
    return f"{measured['pictures']} pictures of {measured['data']} ({measured['part']})"


def shown(command: Sequence[str]) -> str:
    return f"```sh\ncascade-clip {' '.join(command)}\n```"


TEMPLATE = """# Looking into a model

<!-- Written by `python scripts/analyses_page.py`; don't edit. -->

`cascade-clip analyze` measures what the Cascade-CLIP paper argues with: that middle blocks of
CLIP hold detail the last one has lost, that blocks far apart don't fit together, and that a
cascade of decoders gains by using both. It has three commands, for any model, any CLIP and any
data (`--data`, `--root` as in `evaluate`). Each prints tables and writes an HTML page that stands
by itself, PNG, CSV and JSON (to `MODEL/analysis-...`, or `--out`). `--against` names what a model
is held against: `raw-clip` (the same CLIP without any training, the default), another run, or
`none`. `cka` and `localization` look at a CLIP without a model, too:
`cascade-clip analyze localization --clip ViT-B-16/openai --data FOLDER`.

**Caution.** Everything below is measured on the embedded model. Its CLIP was taught by captions
of drawn scenes; it is small and is not OpenAI's, and the scenes have flat colours and sharp
outlines. What holds here need not hold for a CLIP of photographs: run the commands on yours.

Intervals are 95 %: pictures (for CKA: batches) are drawn anew with replacement {resamples} times,
and differences are taken between numbers from the same draw. They say how much depends on the
pictures; how much depends on the seed of the training, only several trainings can say.

## Do blocks see alike? `analyze cka`

{command_cka}

![CKA between all blocks, before and after training](images/analyses-cka.png)

Measured on {setup_cka}.

Left: CLIP before tuning; middle: the trained model; right: the difference. The frame marks the
last block with all others, rings mark neighbours; the paper's Fig. 4 shows the two maps on the
left for OpenAI's ViT-B/16.

{table_cka}

{found_cka}

*What is compared.* Each picture is scaled as for inference, and the square window in its middle
goes through the image encoder. Of each block its output is taken, before any LayerNorm, without
prompt tokens. `--features patches` (default) strings all patch tokens of a picture to one vector,
as is usual for feature maps (Nguyen, Raghu and Kornblith, arXiv 2010.15327); `mean` averages
them; `class-token` takes that token alone. Which of these the Cascade-CLIP paper drew is not
known to us. Masks are not needed: `--data` may be any folder of pictures.

*How.* Linear CKA is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X^T and L = Y Y^T for the
features X and Y of the same n pictures. Each batch (`--batch`, 32) gives the unbiased estimate

HSIC₁(K, L) = [tr(K̃ L̃) + (1ᵀK̃1)(1ᵀL̃1) / ((n − 1)(n − 2)) − 2 (1ᵀK̃L̃1) / (n − 2)] / (n (n − 3)),

where K̃ and L̃ are K and L without their diagonal (Song et al., JMLR 13:1393, 2012, Eq. 5), and
the three terms are averaged over batches before the ratio is taken (arXiv 2010.15327, Eqs. 2 and
3). So memory is that of one batch. A batch needs four pictures.

## Where do blocks localise best? `analyze localization`

{command_localization}

![Average precision, IoU and boundary F over the blocks](images/analyses-localization.png)

Measured on {setup_localization}.

Full lines: the trained model with its 95 % interval; broken lines and open marks: CLIP before
tuning.

{table_localization}

{found_localization}

The paper shows (Figs. 1 and 6), but doesn't measure, that block 11 localises better than block
12.

![Cosine similarity to one patch, block by block](images/analyses-localization-maps-1.png)

The cross is the patch to which all others are compared, the white line the outline of its object.

*What is measured.* An object is all pixels of one class in the window of a picture, if they fill
1 % to 80 % of it. Its seed is the patch deepest inside it, so the choice depends on the truth
alone. Maps of cosine similarity on the patch grid are upsampled bilinearly to the pixels of the
window: to the seed by the blocks' output tokens (*seed patch*), by their projections to the joint
embedding space (*projected*), and to the text embedding of the object's class there (*class
name*). Only blocks that the model reads have projections: the last one CLIP's own, the others
those of the model (in the released setting these are random and never trained).

- *Average precision*: precision over recall as the map is cut ever lower; knows no threshold.
- *Best IoU*: of the map cut where it fits best. It needs the truth, and is an upper bound.
- *Boundary F*: of that mask's outline, within 0.75 % of the diagonal (Csurka et al., BMVC 2013).

## What does each stage do? `analyze stages`

{command_stages}

Measured on {setup_stages}.

{table_stages}

{found_stages}

![Metrics of each stage alone and without each stage](images/analyses-stages.png)

A stage is left out at test time, so the others keep what they learned in its company. The paper's
Table 15 trains such models anew, as `cascade-clip ablate stages` does.

![Masks of each stage](images/analyses-stages-pictures.png)

### Learned weights of the blocks

![Weights of the blocks, start and learned](images/analyses-stages-weights.png)

The paper's Table 17 has .13/.59/1.02 and .13/.59/1.01 after training, from the same start.

### Seen and unseen classes

![S, U and hIoU over the seen-score offset](images/analyses-stages-offsets.png)

The offset is subtracted from the scores of seen classes before the best class is taken. One pass
over the pictures gives the curve exactly, for all offsets at once: of each pixel only the best
seen and the best unseen class matter, and at how many offsets the first of them still wins.

![What became of seen and unseen pixels](images/analyses-stages-confusion.png)

### Gains and losses by class

![IoU by class, minus that of CLIP without training](images/analyses-stages-gains.png)

To compare a cascade with a single head: `cascade-clip analyze stages RUN --against OTHER_RUN`.

### Calibration

![Reliability diagram](images/analyses-stages-reliability.png)

The score of a pixel is that of its predicted class, a sigmoid, before any offset. On the dotted
line scores mean what they say. ECE is the expected calibration error over 15 bins (Guo et al.,
arXiv 1706.04599).
"""


if __name__ == "__main__":
    main()
