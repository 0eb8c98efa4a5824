"""How pictures go through a network, and what becomes of its logits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cascade_clip.config.base import Pixels, Settings, Share


class InferenceSettings(Settings):
    """Sliding windows, scores and labels."""

    crop: Pixels = 512
    """Side of sliding windows and of training crops, in pixels."""
    stride: Pixels = 426
    """Step between sliding windows, in pixels."""
    shifts: Annotated[int, Field(gt=0, le=64)] = 1
    """2 or more: each window is repeated so many times along each side, moved by equal parts of a
    patch, and scores are averaged. Finer edges for `shifts` x `shifts` the time; needs pictures a
    patch larger than `crop`, see `short_side`. The papers use 1."""
    short_side: Pixels = 512
    """Pictures are scaled to this short side, in pixels; in training times a random factor."""
    long_side: Pixels | None = None
    """In inference to a smaller one where their long side would become longer than this; none: the
    long side is free."""
    remainder: Literal["pad", "cut", "squeeze"] = "pad"
    """What becomes of windows whose sides are no multiples of the patch: `pad` repeats the border;
    with `cut` the last pixels are not seen, with `squeeze` zeros are added, and in both the patch
    grid is taken to cover the window (as in the released code of SCLIP and of MaskCLIP)."""
    scores: Literal["sigmoid", "softmax"] = "sigmoid"
    """`sigmoid`: of each logit, averaged over windows, as trained networks are meant. `softmax`:
    over all names, of logits that were averaged over windows and brought to the picture's size, as
    for training-free methods. A class has the score of its best name."""
    logit_scale: Annotated[float, Field(gt=0.0, le=1e6)] = 40.0
    """Factor on the logits before the softmax."""
    refine: Literal["pamr"] | None = None
    """Draws logits to the edges of the picture before the softmax, by PAMR (arXiv 2005.08104)."""
    token_merging: Annotated[float, Field(ge=0.0, le=0.2)] = 0.0
    """Share of a window's patches that go into similar ones after each of four early blocks, so
    that later blocks have fewer of them (after ToMe, arXiv 2210.09461): faster, with some labels
    changed; see docs/performance.md. Exported files leave it out."""
    threshold: Share = 0.5
    """Score below which pixels have no class, where that is wished."""
    min_area: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Classes with at most this share of the picture's pixels that have a class lose them to the
    next best one (in SCLIP's and SC-CLIP's code on PASCAL VOC 21); 0: none."""
    seen_score_offset: Share = 0.1
    """Subtracted from the scores of seen classes before arg-max: 0.1 as released in the inductive
    setting, 0 in the transductive and full ones."""

    @property
    def softmax_scale(self) -> float | None:
        """Factor on the logits before the softmax; None for `sigmoid` scores."""
        return self.logit_scale if self.scores == "softmax" else None

    @model_validator(mode="after")
    def _check(self) -> InferenceSettings:
        if self.stride > self.crop:
            raise ValueError(
                f"stride ({self.stride}) is larger than crop ({self.crop}): pixels between "
                "windows would get no score"
            )
        if self.refine is not None and self.scores != "softmax":
            raise ValueError("refine needs scores: softmax, as methods without training have")
        return self
