"""The CLIP image encoder, tuned by prompts, seen at several blocks.

Steps and names follow ZegCLIP (arXiv 2212.03588, section 3.2) and Cascade-CLIP (arXiv 2406.00670,
section 3.2); the released code's own behaviour is an option of `EncoderSettings` where it differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config import EncoderSettings
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import (
    can_be_lowered,
    lower_blocks,
    run_block,
    run_block_again_in_backward,
)
from cascade_clip.model.fast.caching import WeightCache
from cascade_clip.model.levels import Levels
from cascade_clip.model.projection import LevelProjections, project_to_unit
from cascade_clip.model.prompts import Prompts
from cascade_clip.model.spectral_prompts import SPECTRAL_BLOCKS, SpectralPrompt


class ImageEncoder(nn.Module):
    """Images to patch embeddings at `level_blocks` (1-based), in the joint embedding space.

    `visual` is open_clip's `VisionTransformer`. It stays frozen and in evaluation mode, except for
    the weights that `settings.tuning` trains; the encoder works on the module itself, not a copy.

    With `spectral-prompts`, deep prompts are joined by a spectral prompt, whose reference grid is
    the stored grid or else CLIP's own. Both end in the trainable LayerNorm `prompt_norm`; as in
    the released code, shallow prompts and the variants without prompts have none.

    With `checkpoint_activations` set, only what lies between the blocks is kept for the backward
    pass, which computes the rest again.

    Raises `UserError` for level blocks beyond the depth, more tuned blocks than there are, and
    image encoders of another form.
    """

    visual: Any

    def __init__(
        self, visual: nn.Module, settings: EncoderSettings, level_blocks: tuple[int, ...]
    ) -> None:
        super().__init__()
        _check_form(visual)
        trunk: Any = visual.eval().requires_grad_(False)  # its parts have open_clip's types
        self.visual = trunk
        self.depth = len(trunk.transformer.resblocks)
        _check_depth(self.depth, settings, level_blocks)
        self.settings = settings
        self.level_blocks = tuple(sorted(level_blocks))
        self.patch_size: tuple[int, int] = trunk.conv1.kernel_size
        self.width: int = trunk.proj.shape[0]
        self.embed_dim: int = trunk.proj.shape[1]

        self.cache = WeightCache()
        self.checkpoint_activations = False
        self._unfreeze()
        self.prompts = self._build_prompts()
        self.spectral_prompt = self._build_spectral_prompt()
        deep = settings.tuning in {"deep-prompts", "spectral-prompts"}
        self.prompt_norm = nn.LayerNorm(self.width, eps=1e-6) if deep else nn.Identity()
        self.inner_blocks = tuple(b for b in self.level_blocks if b < self.depth)
        self.level_projections = self._build_level_projections()

    def forward(self, image: Tensor) -> Levels:
        """Normalised images (B, 3, H, W), sides divisible by the patch size, to `Levels`."""
        embedded, grid = self.embed(image)  # (B, 1 + N, D)
        inner: list[Tensor] = []
        for number, tokens in enumerate(self.run_blocks(embedded, grid), start=1):
            if number in self.inner_blocks:
                patches = self.prompt_norm(tokens[:, 1:])  # (B, N, D)
                inner.append(self.level_projections(len(inner), patches))  # (B, N, d)
        if self.depth not in self.level_blocks:
            return Levels(inner, self.level_blocks, self.project(tokens[:, 0]), grid)
        last = self.project(tokens)  # (B, 1 + N, d)
        return Levels([*inner, last[:, 1:]], self.level_blocks, last[:, 0], grid)

    def embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with their positions (B, 1 + N, D), and the grid (h, w)."""
        check_image(image, self.patch_size)
        # Channels last: then the patches come out of the convolution token by token.
        image = image.to(self.visual.conv1.weight.dtype, memory_format=torch.channels_last)
        patches = self.visual.conv1(image)  # (B, D, h, w)
        grid = (patches.shape[2], patches.shape[3])
        patches = patches.flatten(2).transpose(1, 2)  # (B, N, D)
        class_position, positions = self.positions(grid)
        class_token = (self.visual.class_embedding + class_position).expand(image.shape[0], 1, -1)
        tokens = torch.cat([class_token, patches + positions], dim=1)  # (B, 1 + N, D)
        return self.visual.ln_pre(tokens), grid

    def positions(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Position embeddings of the class token (D,) and of a grid's patches (N, D)."""
        visual = self.visual
        sources = (visual.positional_embedding, visual.class_embedding)
        return self.cache.get(grid, sources, lambda: self._resize_positions(*sources, grid))

    def _resize_positions(
        self, position: Tensor, class_embedding: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        plane = position[1:].T.unflatten(1, tuple(self.visual.grid_size))[None]  # (1, D, h0, w0)
        side = self.settings.stored_grid
        for size in [(side, side), grid] if side else [grid]:
            # An exported graph serves every grid, CLIP's own included.
            if torch.compiler.is_exporting() or plane.shape[2:] != size:
                plane = F.interpolate(plane, size=size, mode="bilinear", align_corners=False)
        class_position = position[0]
        if self.settings.class_embedding_twice:
            class_position = class_position + class_embedding
        return class_position, plane[0].flatten(1).T.contiguous()  # (D,), (N, D)

    def run_blocks(self, tokens: Tensor, grid: tuple[int, int]) -> Iterator[Tensor]:
        """Class token and patches (B, 1 + N, D) after each block in turn, prompts left out."""
        count = tokens.shape[1]
        run = run_block_again_in_backward if self.checkpoint_activations else run_block
        prompts = self.prompts(tokens.shape[0]) if self.prompts is not None else []
        if len(prompts) == 1:  # shallow: the prompts are carried along
            tokens = torch.cat([tokens, prompts[0].expand(tokens.shape[0], -1, -1)], dim=1)
            prompts = []
        for index, block in enumerate(self._blocks(tokens.device)):
            if self.spectral_prompt is not None and index < SPECTRAL_BLOCKS:
                tokens = self.spectral_prompt(tokens, grid)
            tokens = run(block, tokens, prompts[index] if prompts else None)
            yield tokens[:, :count]

    def _blocks(self, device: torch.device) -> list[Any]:
        """The transformer blocks; under bfloat16 autocast, frozen ones with weights converted once
        instead of at every call."""
        blocks = list(self.visual.transformer.resblocks)
        if torch.compiler.is_compiling() or not _autocasts_to_bfloat16(device):
            return blocks
        frozen = {index: block for index, block in enumerate(blocks) if can_be_lowered(block)}
        sources = tuple(weight for block in frozen.values() for weight in block.parameters())
        if sources:
            lowered = self.cache.get("blocks", sources, lambda: lower_blocks(frozen))
            for index, block in lowered.items():
                blocks[index] = block
        return blocks

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) of the last block to unit vectors (..., d), through CLIP's own head."""
        return project_to_unit(self.visual.ln_post(self.prompt_norm(tokens)), self.visual.proj)

    def train(self, mode: bool = True) -> ImageEncoder:
        """Sets the mode of everything but the CLIP encoder, which stays in evaluation mode."""
        super().train(mode)
        self.visual.eval()
        return self

    def _build_prompts(self) -> Prompts | None:
        settings = self.settings
        if not settings.tuning.endswith("-prompts"):
            return None
        blocks = 1 if settings.tuning == "shallow-prompts" else self.depth
        return Prompts(
            blocks, settings.prompts, self.width, self.patch_size, settings.prompt_dropout
        )

    def _build_spectral_prompt(self) -> SpectralPrompt | None:
        if self.settings.tuning != "spectral-prompts":
            return None
        side = self.settings.stored_grid
        return SpectralPrompt(self.width, (side, side) if side else tuple(self.visual.grid_size))

    def _build_level_projections(self) -> LevelProjections | nn.Identity:
        if not self.inner_blocks:
            return nn.Identity()
        visual, start = self.visual, self.settings.level_projection
        return LevelProjections(len(self.inner_blocks), visual.ln_post, visual.proj, start)

    def _unfreeze(self) -> None:
        if self.settings.tuning == "full":
            self.visual.requires_grad_(True)
        for block in self.visual.transformer.resblocks[self.depth - self.settings.tuned_blocks :]:
            block.requires_grad_(True)


def _autocasts_to_bfloat16(device: torch.device) -> bool:
    kind = device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16


def check_image(image: Tensor, patch_size: tuple[int, int]) -> None:
    """Raises `UserError` unless `image` is (B, 3, H, W) with sides divisible by the patch size."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise UserError(f"images must be (B, 3, H, W), got {tuple(image.shape)}")
    for side, length, patch in zip(("height", "width"), image.shape[2:], patch_size, strict=True):
        if length % patch or length == 0:
            below, above = length // patch * patch, (length // patch + 1) * patch
            near = f"{below} or {above}" if below else f"{above}"
            raise UserError(
                f"image {side} {length} is not a multiple of the patch size {patch}; the nearest "
                f"that works: {near}"
            )


def _check_form(visual: Any) -> None:
    if not hasattr(visual, "conv1") or not hasattr(
        getattr(visual, "transformer", None), "resblocks"
    ):
        raise UserError(
            f"the image encoder is a {type(visual).__name__}; expected open_clip's "
            "VisionTransformer, as in ViT-B-16 or ViT-L-14"
        )
    if visual.attn_pool is not None or visual.pool_type != "tok" or visual.proj is None:
        raise UserError(
            "this CLIP pools its image embedding from the patches; only those that read it from "
            "the class token are supported, as ViT-B-16 and ViT-L-14 do"
        )


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
