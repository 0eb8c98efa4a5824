"""Released checkpoint files to model folders."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.checkpoint.locate import check_new
from cascade_clip.checkpoint.released.classes import Classes, Overrides
from cascade_clip.checkpoint.released.infer import Preprocessing
from cascade_clip.checkpoint.released.load import ReleasedModel, build_released, load_released
from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import OPENAI_PREPROCESSING, freeze_clip, load_tokenizer
from cascade_clip.config import IMAGENET, Recipe
from cascade_clip.config.components import merge
from cascade_clip.config.model import LOCAL_DIR
from cascade_clip.config.recipes import parse_recipe
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.prepared import PREPARED_NAMES
from cascade_clip.errors import UserError

_CARD = """# {name}

{method} ({paper}), converted from the released checkpoint `{source}` by cascade-clip. The folder
holds all live weights, the CLIP included (`clip/`, in open_clip's layout).

- classes: {classes}
- unseen in training: {unseen}
- setting: {setting}; {offset:g} is subtracted from the scores of seen classes

**Licence.** These are the weights of whoever trained them, and keep the licence that their owner
grants; converting them changes nothing about that. For checkpoints of the Cascade-CLIP authors the
public material disagrees: their README says CC BY-NC 4.0, their LICENSE file MIT. Ask them before
any commercial use.
"""


def to_folder(
    checkpoint: Path, out: Path, overrides: Overrides | None = None
) -> tuple[ReleasedModel, Recipe]:
    """Writes a released checkpoint as a model folder that holds its CLIP too.

    Returns what was read. Raises `UserError` for checkpoints that can't be read (see
    `load_released`), overrides that don't fit, and an `out` that exists; nothing is written then.
    """
    check_new(out)
    released = load_released(checkpoint, overrides)
    recipe = _recipe(released, checkpoint)
    names = released.classes.names
    classes = ClassSet(names, tuple(names[index] for index in released.classes.unseen))
    model, network = build_released(released)
    tokenize = load_tokenizer(out, released.text["context_length"], released.text["vocab_size"])
    clip = freeze_clip(model, recipe.model.clip.model, tokenize, OPENAI_PREPROCESSING)
    card = _model_card(released, checkpoint)
    save_model(out, network, recipe, classes, clip, full=True, card=card)
    return released, recipe


def _recipe(released: ReleasedModel, checkpoint: Path) -> Recipe:
    """The settings of the checkpoint. Windows are of the size that pictures are scaled to."""
    prepared = released.preprocessing
    model = released.settings.model_dump(mode="json")
    shared = {
        "name": checkpoint.stem,
        "summary": f"{released.family.origin.method}, converted from {checkpoint.name}; its "
        "schedule is not recorded here",
        "model": {**model, "clip": {"model": f"{LOCAL_DIR}clip"}},
        "data": {
            **data_of(released.classes),
            "templates": released.templates,
            "normalise": _normalise(prepared),
        },
        "train": {"setting": released.classes.setting},
        "inference": {
            "crop": prepared.crop,
            "stride": prepared.stride,
            "short_side": prepared.crop,
            "seen_score_offset": released.classes.seen_score_offset,
        },
    }
    return parse_recipe(merge(shared, released.recipe))


def _normalise(prepared: Preprocessing) -> str:
    """`data.normalise` of the checkpoint."""
    found = (*prepared.mean, *prepared.std)
    clip = (*OPENAI_PREPROCESSING["mean"], *OPENAI_PREPROCESSING["std"])
    for name, known in (("imagenet", (*IMAGENET.mean, *IMAGENET.std)), ("clip", clip)):
        if all(abs(a - b) < 1e-3 for a, b in zip(found, known, strict=True)):
            return name
    raise UserError(
        f"the checkpoint's pictures are normalised by mean {prepared.mean} and std {prepared.std} "
        "(of 0 to 1), which are neither ImageNet's nor CLIP's; no model folder can hold others"
    )


def data_of(classes: Classes) -> dict[str, str]:
    """The data set with these class names, and its split with these unseen ones, as settings; a
    folder of one's own if there is none, whose place is for `evaluate --data` to say."""
    unseen = {classes.names[index] for index in classes.unseen}
    for name in PREPARED_NAMES:
        known = load_class_list(name)
        if known.names == classes.names:
            splits = [split for split, names in known.splits.items() if set(names) == unseen]
            return {"name": name, "split": (splits or [known.main_split])[0]}
    return {"name": "folder", "root": "DATA"}


def _model_card(released: ReleasedModel, checkpoint: Path) -> str:
    classes, origin = released.classes, released.family.origin
    return _CARD.format(
        name=checkpoint.stem,
        method=origin.method,
        paper=origin.paper,
        source=checkpoint.name,
        classes=", ".join(classes.names),
        unseen=", ".join(classes.names[index] for index in classes.unseen) or "none",
        setting=classes.setting,
        offset=classes.seen_score_offset,
    )
