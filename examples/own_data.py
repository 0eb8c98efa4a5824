"""Training on a folder of one's own: drawn scenes stand for photographs and their masks.

    python examples/own_data.py --out own-data

takes some five minutes on a CPU. What the folder holds, and what to change for photographs:
docs/own-data.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_clip import Segmenter, load_recipe
from cascade_clip.picturebook.export import export_voc
from cascade_clip.training.run import train

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("own-data"))
parser.add_argument("settings", nargs="*", help="settings of the recipe, e.g. train.steps=100")
arguments = parser.parse_args()

data = arguments.out / "data"
export_voc(data, 300, seed=0, size=96)  # pictures, masks, classes.txt and lists, as VOC has them
(data / "split.yaml").write_text("unseen: [cat, boat, umbrella, sand]\n", encoding="utf-8")

recipe = load_recipe(  # for photographs: cascade-clip/voc20/inductive, on OpenAI's ViT-B/16
    "cascade-clip/picturebook",
    ["data.name=folder", f"data.root={data}", "train.steps=300", *arguments.settings],
)
model = train(recipe, arguments.out / "run").folder

picture = next((data / "JPEGImages").glob("*.jpg"))
result = Segmenter.from_pretrained(model)(picture, "boat, cat, house, grass, sand, sky")
for entry in result.legend:
    known = "masks in training" if entry.seen else "by its name alone"
    print(f"{entry.name:6} {entry.share:4.0%}  {known}")
print(result.save(arguments.out / "masks.png"))
