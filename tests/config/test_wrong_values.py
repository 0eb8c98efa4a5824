"""What is said about values of the wrong kind."""

import pytest

from cascade_clip.config.heads import head_kinds
from cascade_clip.config.recipes import load_recipe, parse_recipe
from cascade_clip.errors import UserError

KINDS = ", ".join(f"'{kind}'" for kind in head_kinds())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps=abc", "train.steps: expected a whole number, got 'abc'"),
        ("train.steps=1.5", "train.steps: expected a whole number, got 1.5"),
        ("train.steps=-3", "train.steps: expected more than 0, got -3"),
        ("train.lr=fast", "train.lr: expected a number, got 'fast'"),
        ("data.synonyms=perhaps", "data.synonyms: expected true or false, got 'perhaps'"),
        ("model.head.stages=foo", "model.head.stages: expected a list, e.g. [1, 2], got 'foo'"),
        (
            "train.setting=inductiv",
            "train.setting: expected 'inductive', 'transductive' or 'full', got 'inductiv'; did "
            "you mean 'inductive'?",
        ),
        (
            "model.head.kind=spectrl",
            f"model.head.kind: expected one of {KINDS}, got 'spectrl'; did you mean 'spectral'?",
        ),
    ],
)
def test_what_came_and_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("cascade-clip/picturebook/inductive", [override])
    assert str(caught.value) == message


def test_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"^name is missing$"):
        parse_recipe({})
