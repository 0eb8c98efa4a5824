"""An idea for a method, tried out before it becomes a part of the package.

    python examples/new_method.py

puts a head of one's own behind the image encoder of the embedded model and measures both on drawn
scenes. docs/adding-a-method.md makes a method of such a head, with settings, recipes and training.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.evaluate import evaluate_bundle
from cascade_clip.model.heads.head import Head
from cascade_clip.model.protocol import Levels, Output, sum_of_stages

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--pictures", type=int, default=40)
arguments = parser.parse_args()


class NearestName(Head):
    """Cosine similarity of patches and names, summed over the levels: nothing is trained."""

    def forward(self, levels: Levels, text: Tensor) -> Output:
        names = text.mean(dim=1)  # (C, d)
        maps = (10 * names @ patches.transpose(1, 2) for patches in levels.features)  # (B, C, N)
        return sum_of_stages(tuple(one.unflatten(2, levels.grid) for one in maps), levels)


bundle = load_bundle("picturebook")
pictures = open_dataset(bundle.recipe.data, "test", arguments.pictures)
for name, head in (("Cascade-CLIP", bundle.network.head), ("nearest name", NearestName())):
    bundle.network.head = head.eval()
    measured = evaluate_bundle(bundle, pictures, bundle.recipe, torch.device("cpu"))
    seen, unseen, both = measured.miou_seen, measured.miou_unseen, measured.hiou
    print(f"{name}: S {seen:.1%}, U {unseen:.1%}, h {both:.1%}")
