"""How many pixels keep their class in lower precision, on the model within the package.

With random weights the best two classes are nearly tied almost everywhere, so agreement there says
little. The embedded model has learned to decide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.performance.parts import Context, worthwhile

from cascade_clip.data.factory import open_dataset
from cascade_clip.segmenter import Segmenter

PICTURES = 100
MARGIN = 0.05


def agreements(context: Context) -> dict[str, dict[str, float]]:
    """Precision -> shares of pixels: same class as fp32; the same among pixels whose best score in
    fp32 lies at least `MARGIN` over the second; right ones."""
    labels: dict[str, list[npt.NDArray[np.int16]]] = {}
    kinds = ("fp32", "bf16", "int8") if context.device.type == "cpu" else ("fp32", "bf16")
    kinds = worthwhile(kinds, context.device)
    full = Segmenter.from_pretrained(device=context.device)
    data = open_dataset(full.recipe.data, "test", PICTURES)
    samples = [data[index] for index in range(PICTURES)]
    pictures = [sample.image.permute(1, 2, 0).numpy() for sample in samples]
    truth = np.stack([sample.labels.numpy() for sample in samples])
    for kind in kinds:
        context.progress(f"agreement: {kind}")
        segmenter = Segmenter.from_pretrained(device=context.device, precision=kind)
        labels[kind] = [result.labels for result in segmenter(pictures)]
    decided = np.stack([_margin(result.scores) >= MARGIN for result in full(pictures)])
    expected = np.stack(labels["fp32"])
    return {
        kind: {
            "agreement": float(np.mean(np.stack(own) == expected)),
            "agreement_of_decided": float(np.mean((np.stack(own) == expected)[decided])),
            "decided": float(np.mean(decided)),
            "pixel_accuracy": float(np.mean((np.stack(own) == truth)[truth < 255])),
        }
        for kind, own in labels.items()
    }


def _margin(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Between the best and the second score of each pixel: (C, H, W) to (H, W)."""
    best = torch.from_numpy(scores).topk(2, dim=0).values  # (2, H, W)
    margin: npt.NDArray[np.float32] = (best[0] - best[1]).numpy()
    return margin
