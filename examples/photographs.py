"""Photographs with any CLIP and no training, with the masks beside them.

    python examples/photographs.py photos/*.jpg --classes "dog, sofa|couch, person, wall, floor"

The first call downloads CLIP's weights (600 MB). `--clip picturebook` needs no network, but knows
drawn scenes only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_clip import Segmenter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("pictures", nargs="+", type=Path)
parser.add_argument("--classes", required=True)
parser.add_argument("--clip", default="ViT-B-16/openai")
parser.add_argument("--out", type=Path, default=Path("segmented"))
arguments = parser.parse_args()

segmenter = Segmenter.from_clip(arguments.clip)
arguments.out.mkdir(parents=True, exist_ok=True)
for picture in arguments.pictures:
    result = segmenter(picture, arguments.classes, background=True)
    masks = result.save(arguments.out / f"{picture.stem}.png")
    shares = ", ".join(f"{entry.name} {entry.share:.0%}" for entry in result.legend)
    print(f"{masks}: {shares}; none of them {result.background_share:.0%}")
