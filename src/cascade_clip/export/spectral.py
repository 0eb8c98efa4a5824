"""The spectral prompt without complex numbers, which exported graphs can't hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cascade_clip.model.spectral_prompts import SpectralPrompt, between_columns, between_rows


class RealSpectralPrompt(SpectralPrompt):
    """What `prompt` computes, its Fourier transforms being products with cosines and sines.

    These matrices are computed from the grid, so the graph serves any. A patch grid is small: for
    h x w patches of width D the products take some 8 D h w (h + w) multiplications.
    """

    def __init__(self, prompt: SpectralPrompt) -> None:
        super().__init__(prompt.response.shape[2], prompt.reference_grid)
        response = prompt.response.detach().cpu().float().clone()
        self.response = nn.Parameter(response, requires_grad=False)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Class token and patches (B, 1 + N, D) of a grid (h, w) to the same shape."""
        class_token, patches = tokens[:, :1], tokens[:, 1:]
        matched = (patches * class_token).unflatten(1, grid).float()  # (B, h, w, D)
        prompt = self._filter(matched, grid).flatten(1, 2)  # (B, N, D)
        return torch.cat([class_token, patches + prompt.to(patches.dtype)], dim=1)

    def _filter(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches (B, h, w, D), filtered in frequency: f = row, g = column frequency."""
        height, width = grid
        rows = torch.arange(height, device=patches.device)
        columns = torch.arange(width // 2 + 1, device=patches.device)
        row_cos, row_sin = _waves(rows, height)  # (h, h)
        column_cos, column_sin = _waves(columns, width)  # (w // 2 + 1, w)

        real = torch.einsum("bhwd,gw->bhgd", patches, column_cos)
        imaginary = -torch.einsum("bhwd,gw->bhgd", patches, column_sin)
        real, imaginary = _turn(real, imaginary, row_cos, -row_sin)  # (B, f, g, D)

        response = self._response(rows, columns, grid)  # (f, g, D, 2)
        real, imaginary = (
            real * response[..., 0] - imaginary * response[..., 1],
            real * response[..., 1] + imaginary * response[..., 0],
        )

        real, imaginary = _turn(real, imaginary, row_cos, row_sin)  # (B, h, g, D)
        # Half a spectrum stands for the whole: all columns but the first (and the middle one of an
        # even width) occur twice, mirrored.
        once = (columns == 0) | (2 * columns == width)
        weight = torch.where(once, 1.0, 2.0)[:, None] / (height * width)
        return torch.einsum("bhgd,gw->bhwd", weight * real, column_cos) - torch.einsum(
            "bhgd,gw->bhwd", weight * imaginary, column_sin
        )

    def _response(self, rows: Tensor, columns: Tensor, grid: tuple[int, int]) -> Tensor:
        """As `SpectralPrompt.response_on`, real and imaginary part side by side."""
        height, width = grid
        signed = torch.where(2 * rows < height, rows, rows - height)  # as `torch.fft.fftfreq`
        along_rows = between_rows(signed / height, self.reference_grid[0])
        along_columns = between_columns(columns / width, self.reference_grid[1])
        return torch.einsum("fr,gc,rcdz->fgdz", along_rows, along_columns, self.response)


def _waves(frequencies: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (F, length) of 2 pi f n / length."""
    turns = (frequencies[:, None] * torch.arange(length, device=frequencies.device)) / length
    angle = 2 * math.pi * (turns - turns.floor())  # small angles keep float32 exact
    return angle.cos(), angle.sin()


def _turn(real: Tensor, imaginary: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Products of complex values (B, h, g, D) with cos + i sin (f, h), along h: (B, f, g, D)."""

    def product(values: Tensor, wave: Tensor) -> Tensor:
        return torch.einsum("bhgd,fh->bfgd", values, wave)

    return (
        product(real, cos) - product(imaginary, sin),
        product(real, sin) + product(imaginary, cos),
    )
