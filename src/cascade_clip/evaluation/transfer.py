"""Which classes of a data set count as seen for a model that may have been trained on another."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cascade_clip.class_names import trained_names
from cascade_clip.config import Setting
from cascade_clip.data.classes import ClassSet


@dataclass(frozen=True)
class Judgement:
    """The classes of a data set as a model's training divides them.

    Scores of seen classes are lowered by the seen-score offset, and S and U are the means over seen
    and unseen classes.
    """

    classes: ClassSet
    meaning: str
    """What S and U are, for people."""


def judge(data: ClassSet, trained: ClassSet, setting: Setting) -> Judgement:
    """Divides the classes of `data` for a model trained on the classes `trained`.

    On the classes of its training the model is judged by their split. Elsewhere a class is seen if
    its name, or what prompts say for it, was trained on, apart from case, spaces and plural.
    """
    if (data.names, data.unseen) == (trained.names, trained.unseen):
        return Judgement(data, "S, U: mIoU of seen, unseen classes")
    unseen = tuple(
        name
        for name, known in zip(data.names, _known(data, trained, setting), strict=True)
        if not known
    )
    classes = replace(data, unseen=unseen)
    if not unseen:
        return Judgement(classes, "all class names were trained on: S is mIoU, no class is unseen")
    if not classes.seen:
        return Judgement(classes, "no class name was trained on: U is mIoU, no class is seen")
    meaning = (
        f"S, U: mIoU of the {len(classes.seen)} classes whose names were trained on, and of the "
        f"{len(unseen)} others"
    )
    if set(unseen) == set(data.unseen):
        meaning += " (the data's own split)"
    return Judgement(classes, meaning)


def _known(data: ClassSet, trained: ClassSet, setting: Setting) -> list[bool]:
    if data.names == trained.names:
        return [setting == "full" or name in trained.seen for name in data.names]
    known = trained.names + trained.prompts if setting == "full" else trained.trained_names
    by_name, by_prompt = trained_names(data.names, known), trained_names(data.prompts, known)
    return [name or prompt for name, prompt in zip(by_name, by_prompt, strict=True)]
