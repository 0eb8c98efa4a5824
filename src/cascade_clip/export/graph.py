"""What is exported: the network between normalised pictures and scores on the patch grid."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cascade_clip.export.request import ExportPrecision
from cascade_clip.export.spectral import RealSpectralPrompt
from cascade_clip.model.fast.precision import ClipNetwork
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.spectral_prompts import SpectralPrompt

IMAGE, TEXT, OFFSETS = "image", "text_embeddings", "offsets"
MASK_LOGITS, SCORES = "mask_logits", "scores"


class DynamicGraph(nn.Module):
    """Pictures and classes in, mask logits and scores out; float32 at both ends.

    With a `logit_scale` scores are a softmax over the classes of logits times it, else sigmoids.
    """

    def __init__(
        self,
        network: ClipNetwork,
        precision: ExportPrecision = "fp32",
        logit_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.network = exportable(network, precision)
        self.logit_scale = logit_scale
        self.inner = torch.float16 if precision == "fp16" else torch.float32

    def forward(
        self, image: Tensor, text_embeddings: Tensor, offsets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Normalised pictures (B, 3, H, W), sides multiples of the patch size, text embeddings
        (C, d), or (C, K, d), and offsets (C,), to mask logits and scores (B, C, h, w) on the patch
        grid, offsets included.
        """
        output = self.network(image.to(self.inner), text_embeddings.to(self.inner))
        mask_logits = output.mask_logits.float()  # (B, C, h, w)
        return mask_logits, scores_of(mask_logits, offsets, self.logit_scale)


class FixedGraph(nn.Module):
    """As `DynamicGraph`, for classes that are part of the graph."""

    text_embeddings: Tensor
    offsets: Tensor

    def __init__(
        self,
        network: ClipNetwork,
        text_embeddings: Tensor,
        offsets: Tensor,
        precision: ExportPrecision = "fp32",
        logit_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.dynamic = DynamicGraph(network, precision, logit_scale)
        self.register_buffer("text_embeddings", text_embeddings.detach().clone())
        self.register_buffer("offsets", offsets.detach().clone())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pictures (B, 3, H, W) to mask logits and scores (B, C, h, w)."""
        return self.dynamic(image, self.text_embeddings, self.offsets)


def scores_of(mask_logits: Tensor, offsets: Tensor, logit_scale: float | None) -> Tensor:
    """Scores (B, C, h, w) on the patch grid."""
    if logit_scale is None:
        return mask_logits.sigmoid() + offsets[:, None, None]
    return (logit_scale * mask_logits).softmax(dim=1) + offsets[:, None, None]


def exportable(network: ClipNetwork, precision: ExportPrecision) -> ClipNetwork:
    """A copy on the CPU, in evaluation mode, that computes in `precision` and without complex
    numbers."""
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    if precision == "fp16":
        copied = copied.half()
    if isinstance(copied, SegmentationNetwork):
        prompt = copied.encoder.spectral_prompt
        if isinstance(prompt, SpectralPrompt):
            copied.encoder.spectral_prompt = RealSpectralPrompt(prompt)
    return copied
