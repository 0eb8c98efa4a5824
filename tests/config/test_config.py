"""Settings: which numbers are taken, and that all are documented."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from cascade_clip.config import IMAGENET, Recipe, Settings
from cascade_clip.config.published import Published
from cascade_clip.config.recipes import load_recipe
from cascade_clip.errors import UserError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.normalise=openai", r"data\.normalise: expected 'imagenet' or 'clip', got 'openai'"),
        (
            "data.augment.scale=[0.5,.inf]",
            r"data\.augment\.scale\.1: expected a number, not infinity or NaN, got inf",
        ),
        ("train.lr=.inf", r"train\.lr: expected a number, not infinity or NaN, got inf"),
        (
            "train.weight_decay=.nan",
            r"train\.weight_decay: expected a number, not infinity or NaN, got nan",
        ),
        (
            "inference.seen_score_offset=.inf",
            r"inference\.seen_score_offset: expected a number, not infinity or NaN, got inf",
        ),
        ("train.warmup_ratio=2", r"train\.warmup_ratio: expected at most 1.*, got 2"),
        ("train.min_lr=0.5", r"min_lr \(0\.5\), to which the rate falls, is above lr \(0\.008\)"),
    ],
)
def test_numbers_that_no_run_could_use(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cascade-clip/picturebook/inductive", [override])


def test_the_numbers_of_imagenet() -> None:
    assert [255 * value for value in IMAGENET.mean] == pytest.approx([123.675, 116.28, 103.53])
    assert [255 * value for value in IMAGENET.std] == pytest.approx([58.395, 57.12, 57.375])


def test_a_constant_rate_is_allowed() -> None:
    assert (
        load_recipe("cascade-clip/picturebook/inductive", ["train.min_lr=0.004"]).train.min_lr
        == 0.004
    )


def undocumented(settings: type[BaseModel]) -> Iterator[str]:
    """Settings without a text below them; groups of settings have that of their class."""
    bases = [base for base in settings.__mro__ if issubclass(base, Settings)]
    sources = [ast.parse(textwrap.dedent(inspect.getsource(base))).body[0] for base in bases]
    described = {
        field.target.id
        for source in sources
        if isinstance(source, ast.ClassDef)
        for field, text in zip(source.body, source.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    for name, field in settings.model_fields.items():
        groups = get_args(field.annotation) or (field.annotation,)
        if all(isinstance(group, type) and issubclass(group, BaseModel) for group in groups):
            for group in groups:
                assert group.__doc__, group
                yield from undocumented(group)
        elif name not in described:
            yield f"{settings.__name__}.{name}"


def test_every_setting_is_documented() -> None:
    assert not [*undocumented(Recipe), *undocumented(Published)]
