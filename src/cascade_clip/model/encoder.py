"""The CLIP image encoder, tuned by prompts, seen at several blocks.

Steps and names follow ZegCLIP (arXiv 2212.03588, section 3.2) and Cascade-CLIP (arXiv 2406.00670,
section 3.2); the released code's own behaviour is an option of `EncoderSettings` where it differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from cascade_clip.config import EncoderSettings
from cascade_clip.errors import UserError
from cascade_clip.model.embedding import (
    LevelProjections,
    check_form,
    embed_patches,
    project_to_unit,
    resize_grid,
    value_path,
)
from cascade_clip.model.fast.blocks import RunBlock, fast_blocks, plain_block
from cascade_clip.model.fast.caching import WeightCache
from cascade_clip.model.fast.merging import PatchMerging
from cascade_clip.model.prompts import Prompts, Regions, RelationshipPrompts
from cascade_clip.model.protocol import Levels
from cascade_clip.model.spectral_prompts import SPECTRAL_BLOCKS, SpectralPrompt


class ImageEncoder(nn.Module):
    """Images to patch embeddings at `level_blocks` (1-based), in the joint embedding space.

    `visual` is open_clip's `VisionTransformer`. It stays frozen and in evaluation mode, except for
    the weights that `settings.tuning` trains; the encoder works on the module itself, not a copy.

    With `spectral-prompts`, deep prompts are joined by a spectral prompt, with
    `relationship-prompts` by one token per class, which needs the text; their reference grid is the
    stored grid or else CLIP's own. All three end in the trainable LayerNorm `prompt_norm`; as in
    the released code, shallow prompts and the variants without prompts have none.

    With `regions`, region tokens come behind the patches, and levels hold their embeddings, too;
    as in CLIP-RC's released code they skip `prompt_norm`.

    With `checkpoint_activations` set, only what lies between the blocks is kept for the backward
    pass, which computes the rest again. `token_merging` is the share of `PatchMerging`, for
    inference; recipes refuse it where blocks see more than class token, patches and deep prompts.

    Raises `UserError` for level blocks beyond the depth, more tuned blocks than there are, and
    image encoders of another form.
    """

    visual: Any

    def __init__(
        self, visual: nn.Module, settings: EncoderSettings, level_blocks: tuple[int, ...]
    ) -> None:
        super().__init__()
        check_form(visual)
        trunk: Any = visual.eval()  # its parts have open_clip's types
        blocks, tuning, side = trunk.transformer.resblocks, settings.tuning, settings.stored_grid
        self.visual, self.settings, self.depth = trunk, settings, len(blocks)
        _check_depth(self.depth, settings, level_blocks)
        self.level_blocks = tuple(sorted(level_blocks))
        self.inner_blocks = tuple(b for b in self.level_blocks if b < self.depth)
        self.patch_size: tuple[int, int] = trunk.conv1.kernel_size
        self.width: int = trunk.proj.shape[0]
        self.embed_dim: int = trunk.proj.shape[1]
        self.position_grids = (tuple(trunk.grid_size), *([(side, side)] if side else []))

        trunk.requires_grad_(tuning == "full")
        blocks[self.depth - settings.tuned_blocks :].requires_grad_(True)
        deep = tuning in {"deep-prompts", "spectral-prompts", "relationship-prompts"}
        self.prompts: Prompts | None = None
        if deep or tuning == "shallow-prompts":
            self.prompts = Prompts(self.depth if deep else 1, self.width, self.patch_size, settings)
        self.spectral_prompt: SpectralPrompt | None = None
        if tuning == "spectral-prompts":
            self.spectral_prompt = SpectralPrompt(self.width, self.position_grids[-1])
        self.regions: Regions | None = None
        if settings.regions is not None:
            start = trunk.class_embedding + trunk.positional_embedding[0]  # (D,)
            self.regions = Regions(settings.regions, start)
        self.relationship_prompts: RelationshipPrompts | None = None
        if tuning == "relationship-prompts":
            self.relationship_prompts = RelationshipPrompts(
                self.width, self.patch_size, self.position_grids[-1]
            )
        self.prompt_norm = nn.LayerNorm(self.width, eps=1e-6) if deep else nn.Identity()
        self.level_projections: LevelProjections | nn.Identity = nn.Identity()
        if self.inner_blocks and settings.level_projection != "value-path":
            self.level_projections = LevelProjections(
                len(self.inner_blocks), trunk.ln_post, trunk.proj, settings.level_projection
            )
        self.cache = WeightCache()
        self.checkpoint_activations = False
        self.token_merging = 0.0

    def forward(self, image: Tensor, text: Tensor | None = None) -> Levels:
        """Normalised images (B, 3, H, W), sides divisible by the patch size, to `Levels`.

        Text embeddings (C, d) or (C, 1, d), which relationship prompts need; others ignore them.
        """
        embedded, grid = self.embed(image)  # (B, 1 + N, D)
        count = embedded.shape[1]
        merging = PatchMerging(self.token_merging, self.depth)
        inner: list[Tensor] = []
        regions: list[Tensor] = []
        for number, tokens in enumerate(self.run_blocks(embedded, grid, text, merging), start=1):
            if number in self.inner_blocks:
                patches = self.prompt_norm(tokens[:, 1:count])  # (B, N, D), fewer if merged
                if self.regions is not None:
                    regions.append(self.project_level(len(inner), tokens[:, count:]))  # (B, R, d)
                inner.append(merging.copied(self.project_level(len(inner), patches)))  # (B, N, d)
        if self.depth not in self.level_blocks:
            return Levels(inner, self.level_blocks, self.project(tokens[:, 0]), grid, regions)
        last = self.project(tokens[:, :count])  # (B, 1 + N, d), fewer if merged
        if self.regions is not None:
            own = self.visual.ln_post(tokens[:, count:])  # (B, R, D)
            regions.append(project_to_unit(own, self.visual.proj))
        inner.append(merging.copied(last[:, 1:]))  # (B, N, d)
        return Levels(inner, self.level_blocks, last[:, 0], grid, regions)

    def embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with their positions (B, 1 + N, D), and the grid (h, w)."""
        visual, position = self.visual, self.visual.positional_embedding  # (1 + N0, D)
        patches, grid = embed_patches(visual, image)  # (B, N, D)
        patches = patches + self.cache.get(resize_positions, position, (*self.position_grids, grid))
        class_position = position[0]  # (D,)
        if self.settings.class_embedding_twice:
            class_position = class_position + visual.class_embedding
        class_token = (visual.class_embedding + class_position).expand(image.shape[0], 1, -1)
        return visual.ln_pre(torch.cat([class_token, patches], dim=1)), grid  # (B, 1 + N, D)

    def run_blocks(
        self,
        tokens: Tensor,
        grid: tuple[int, int],
        text: Tensor | None = None,
        merging: PatchMerging | None = None,
    ) -> Iterator[Tensor]:
        """Class token and patches (B, 1 + N, D), and regions behind them if there are any
        (B, 1 + N + R, D), after each block in turn, prompts left out. With `merging`, patches get
        fewer."""
        merging = merging or PatchMerging(0.0, self.depth)
        batch, mask = tokens.shape[0], None
        if self.regions is not None:
            regions = self.visual.ln_pre(self.regions.tokens)  # (R, D)
            tokens = torch.cat([tokens, regions.expand(batch, -1, -1)], dim=1)
            mask = self.regions.attention_mask(grid, self.settings.prompts)
        count = tokens.shape[1]
        prompts = self.prompts(batch) if self.prompts is not None else []  # (B or 1, P, D) each
        if self.settings.tuning == "shallow-prompts":  # placed once and carried along
            carried = prompts.pop().expand(batch, -1, -1)
            tokens = torch.cat([tokens, carried], dim=1)  # (B, 1 + N + P, D)
        if mask is not None:
            mask = mask[: tokens.shape[1]]  # deep prompts attend to nothing
        for index, (block, own) in enumerate(zip_longest(self.blocks(tokens.device), prompts)):
            if self.spectral_prompt is not None and index < SPECTRAL_BLOCKS:
                tokens = self.spectral_prompt(tokens, grid)
            if index > 0 and self.relationship_prompts is not None:
                related = self.relate(tokens, text, grid)  # (B, C, D)
                own = torch.cat([own.expand(batch, -1, -1), related], dim=1)  # (B, P + C, D)
            bias = merging.bias(0 if own is None else own.shape[1])
            tokens = block(tokens, own, mask if bias is None else bias)
            yield tokens[:, :count]
            tokens = merging.after_block(index + 1, tokens)

    def relate(self, tokens: Tensor, text: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """The relationship prompts (B, C, D) that tokens (B, 1 + N, D) after one block give to the
        next, for text embeddings (C, d) or (C, 1, d)."""
        assert self.prompts is not None and self.relationship_prompts is not None
        if text is None:
            raise ValueError("relationship prompts need the text embeddings of the classes")
        related = self.relationship_prompts(self.project(tokens), text, grid)
        return self.prompts.project(related)

    def blocks(self, device: torch.device) -> list[RunBlock]:
        """The transformer blocks (`model/block.py`), as is fastest on a device."""
        resblocks = self.visual.transformer.resblocks
        return fast_blocks(resblocks, self.cache, device, self.checkpoint_activations)

    def project_level(self, level: int, patches: Tensor) -> Tensor:
        """Patch tokens (B, N, D) of intermediate level `level` to unit vectors (B, N, d)."""
        if self.settings.level_projection != "value-path":
            return self.level_projections(level, patches)
        tokens = value_path(plain_block(self.visual.transformer.resblocks[-1]), patches)
        return project_to_unit(self.visual.ln_post(tokens), self.visual.proj)

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) of the last block to unit vectors (..., d), through CLIP's own head."""
        return project_to_unit(self.visual.ln_post(self.prompt_norm(tokens)), self.visual.proj)

    def train(self, mode: bool = True) -> ImageEncoder:
        """Sets the mode of everything but the CLIP encoder, which stays in evaluation mode."""
        super().train(mode)
        self.visual.eval()
        return self


def resize_positions(position: Tensor, grids: tuple[tuple[int, int], ...]) -> Tensor:
    """Position embeddings (1 + N0, D) of a class token and the first of `grids`, whose patches are
    resized to the others in turn, to those of the last one's patches (N, D)."""
    return resize_grid(position[1:], grids)


def _check_depth(depth: int, settings: EncoderSettings, level_blocks: tuple[int, ...]) -> None:
    beyond = [block for block in sorted(level_blocks) if block > depth]
    if beyond:
        raise UserError(
            f"stages name block {', '.join(map(str, beyond))}, but the image encoder has {depth} "
            f"blocks; use blocks 1 to {depth}"
        )
    if settings.tuned_blocks > depth:
        raise UserError(
            f"tuned_blocks is {settings.tuned_blocks}, but the image encoder has {depth} blocks"
        )
