"""Whether an exported file computes what the network computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_clip.config import InferenceSettings, Normalisation
from cascade_clip.errors import UserError
from cascade_clip.export.graph import IMAGE, OFFSETS, TEXT, scores_of
from cascade_clip.export.metadata import ExportedConfig
from cascade_clip.export.network import ExportedNetwork
from cascade_clip.export.request import ExportPrecision
from cascade_clip.model.fast.precision import ClipNetwork
from cascade_clip.ops.images import normalise, resize_bilinear
from cascade_clip.picturebook import draw_scene

TOLERANCES: dict[ExportPrecision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest allowed difference of a mask logit, as a share of the largest one in absolute value (at
least 1); and of a score."""


@dataclass(frozen=True)
class ExportAgreement:
    """What was found over all checked sizes."""

    logits: float
    """Largest difference of a mask logit, as a share of the largest one (at least 1)."""
    scores: float
    """Largest difference of a score."""
    labels: float
    """Share of patches with the same best class, 0..1."""
    sizes: tuple[tuple[int, int, int], ...]
    """(B, H, W) of the pictures."""
    tolerance: float


@torch.inference_mode()
def check_exported(
    exported: ExportedNetwork,
    network: ClipNetwork,
    text_embeddings: Tensor,
    offsets: Tensor,
    inference: InferenceSettings,
    normalisation: Normalisation,
) -> ExportAgreement:
    """Compares file and network over several picture and batch sizes, around the window's, and
    numbers of classes where these are free; the pictures are drawn scenes.

    `text_embeddings`, (C, d) or (C, K, d), and `offsets` (C,) are those of fixed classes, or any
    others.

    Raises `UserError` if they differ by more than the precision's tolerance.
    """
    dynamic = exported.config.classes is None
    logits, scores, agreed, sizes = [0.0], [0.0], [], []
    for number, size in enumerate(_sizes(inference.crop, exported.config)):
        image = _pictures(size, normalisation)  # (B, 3, H, W)
        count = max(1, len(text_embeddings) - number) if dynamic else len(text_embeddings)
        text, offset = text_embeddings[:count], offsets[:count]
        inputs = {IMAGE: image, TEXT: text, OFFSETS: offset} if dynamic else {IMAGE: image}
        mask_logits, its_scores = exported.run(inputs)
        expected = network(image, text).mask_logits
        expected_scores = scores_of(expected, offset, inference.softmax_scale)
        scale = max(1.0, float(expected.abs().max()))
        logits.append(float((mask_logits - expected).abs().max()) / scale)
        scores.append(float((its_scores - expected_scores).abs().max()))
        agreed.append((its_scores.argmax(dim=1) == expected_scores.argmax(dim=1)).flatten())
        sizes.append(size)
    labels = float(torch.cat(agreed).float().mean())
    tolerance = TOLERANCES[exported.config.precision]
    found = ExportAgreement(_worst(logits), _worst(scores), labels, tuple(sizes), tolerance)
    if not (found.logits <= tolerance and found.scores <= tolerance):  # NaN fails, too
        raise UserError(
            f"the exported graph differs from the network: mask logits by {found.logits:.1e} of "
            f"the largest one, scores by {found.scores:.1e}; at most {tolerance:.0e} is allowed in "
            f"{exported.config.precision}, so nothing was written; use another precision or format"
        )
    return found


def _sizes(crop: int, config: ExportedConfig) -> Iterator[tuple[int, int, int]]:
    """(B, H, W): the window itself, wide and high ones, and a strip one patch high."""
    if config.image_size is not None:
        yield from ((batch, *config.image_size) for batch in (1, 3))
        return
    patch_size = config.patch_size
    rows, columns = (max(2, crop // patch) for patch in patch_size)
    grids = ((1, rows, columns), (2, rows // 2, columns + 1), (3, rows, columns // 2), (1, 1, 3))
    for batch, height, width in grids:
        yield batch, height * patch_size[0], width * patch_size[1]


def _pictures(size: tuple[int, int, int], normalisation: Normalisation) -> Tensor:
    """Drawn scenes as the network sees them, (B, 3, H, W)."""
    batch, height, width = size
    drawn = torch.stack(
        [torch.from_numpy(draw_scene(0, index, (128, 128)).image) for index in range(batch)]
    )  # (B, 128, 128, 3)
    resized = resize_bilinear(drawn.permute(0, 3, 1, 2), [height, width])
    return normalise(resized, normalisation.mean, normalisation.std)


def _worst(differences: list[float]) -> float:
    """The largest; NaN if any is, so that no limit holds."""
    return float(torch.tensor(differences).max())
