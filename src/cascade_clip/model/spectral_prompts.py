"""Spectral prompts: what a learned filter finds in the patches, added to the patches.

SPT-SEG (Spectral Prompt Tuning, arXiv 2312.12754). The public code fixes the filter to a 32 x 32
grid; here it belongs to a reference grid and serves any other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.support.devices import without_autocast

SPECTRAL_BLOCKS = 2
"""Spectral prompts are added before this many first blocks, as in the public code."""


class SpectralPrompt(nn.Module):
    """Adds to each patch token what a global filter makes of patches times class token.

    The filter is one complex response per frequency and channel, shared by all blocks. It is stored
    for the frequencies of `reference_grid`; on another grid it is interpolated linearly at that
    grid's own frequencies, in cycles per patch. So a pattern of a given size in patches meets the
    same response on every grid, and on the reference grid nothing changes.

    It starts normal with std 0.02. The public code does not say whether it trains (its name lacks
    the word "prompt", by which ZegCLIP's code chooses); here it does.
    """

    def __init__(self, width: int, reference_grid: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = reference_grid
        self.reference_grid = reference_grid
        self.response = nn.Parameter(0.02 * torch.randn(rows, columns // 2 + 1, width, 2))

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Class token and patches (B, 1 + N, D) of a grid (h, w) to the same shape."""
        class_token, patches = tokens[:, :1], tokens[:, 1:]
        matched = (patches * class_token).unflatten(1, grid)  # (B, h, w, D)
        with without_autocast(tokens.device):  # FFTs need float32
            spectrum = torch.fft.rfft2(matched.float(), dim=(1, 2), norm="ortho")
            filtered = spectrum * self.response_on(grid)  # (B, h, w // 2 + 1, D)
            prompt = torch.fft.irfft2(filtered, s=grid, dim=(1, 2), norm="ortho")  # (B, h, w, D)
        return torch.cat([class_token, patches + prompt.flatten(1, 2).to(patches)], dim=1)

    def response_on(self, grid: tuple[int, int]) -> Tensor:
        """The complex response (h, w // 2 + 1, D) at the frequencies of a grid (h, w)."""
        response = self.response.float()
        if torch.compiler.is_exporting() or grid != self.reference_grid:
            device = response.device
            rows = between_rows(torch.fft.fftfreq(grid[0], device=device), self.reference_grid[0])
            columns = between_columns(
                torch.fft.rfftfreq(grid[1], device=device), self.reference_grid[1]
            )
            response = torch.einsum("hr,wc,rcdz->hwdz", rows, columns, response)
        return torch.view_as_complex(response.contiguous())


def between_rows(frequencies: Tensor, length: int) -> Tensor:
    """Weights (F, length) that interpolate a full spectrum, which is periodic, at `frequencies` in
    cycles per patch."""
    place = frequencies * length
    low = place.floor()
    upper = F.one_hot((low.long() + 1) % length, length)
    lower = F.one_hot(low.long() % length, length)
    share = (place - low)[:, None]
    return (1 - share) * lower + share * upper


def between_columns(frequencies: Tensor, length: int) -> Tensor:
    """Weights (F, length // 2 + 1) for a half spectrum, constant beyond its last frequency."""
    last = length // 2
    place = (frequencies * length).clamp(max=last)
    low = place.floor().long()
    lower = F.one_hot(low, last + 1)
    upper = F.one_hot((low + 1).clamp(max=last), last + 1)
    share = (place - low)[:, None]
    return (1 - share) * lower + share * upper
