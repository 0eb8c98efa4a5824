"""The class split of a released checkpoint, and what a person may say in the checkpoint's stead."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from cascade_clip.checkpoint.released.config import Config, index_list, section
from cascade_clip.config import Setting, Templates
from cascade_clip.errors import UserError
from cascade_clip.support.messages import some_of

RELEASED_SCORE_OFFSET = 0.1
"""What the released code subtracts from the scores of seen classes in the inductive setting."""


@dataclass(frozen=True)
class Overrides:
    """What to use instead of the checkpoint's own word; None: what the checkpoint says."""

    vision_heads: int | None = None
    decoder_heads: int | None = None
    text_heads: int | None = None
    inner_blocks: tuple[int, ...] | None = None
    """Level blocks before the last one, 1-based."""
    class_names: tuple[str, ...] | None = None
    seen: tuple[int, ...] | None = None
    """Indices of the seen classes."""
    unseen_names: tuple[str, ...] | None = None
    """Instead of `seen`."""
    seen_score_offset: float | None = None
    setting: Setting | None = None
    crop: int | None = None
    stride: int | None = None
    templates: Templates | None = None


@dataclass(frozen=True)
class Classes:
    """The class split and what depends on it."""

    names: tuple[str, ...]
    seen: tuple[int, ...]
    """Indices into `names`, ascending."""
    unseen: tuple[int, ...]
    setting: Setting
    seen_score_offset: float
    """0.1 in the inductive setting; 0 in the others (with every class seen it changes nothing)."""


def read_classes(config: Config, meta: Config, overrides: Overrides) -> Classes:
    """The classes, their split and the training setting.

    `seen_idx` and `all_idx` of the decode head are what the released scores were made with; the
    segmentor's `base_class` and `both_class`, or the number of names, replace what is missing.
    """
    model, head = section(config, "model"), section(config, "model", "decode_head")
    stored = meta.get("CLASSES") or section(meta, "dataset_meta").get("classes")
    given = overrides.class_names or stored or model.get("class_names") or ()
    if not isinstance(given, list | tuple):
        raise UserError(
            f"the checkpoint's class names are {reprlib.repr(given)}; give --class-names"
        )
    names = tuple(str(name) for name in given)
    listed = head.get("all_idx") or model.get("both_class") or list(range(len(names)))
    every = index_list(listed, "all_idx")
    if overrides.unseen_names is not None:
        seen = _without(names, overrides.unseen_names)
    else:
        named = overrides.seen or head.get("seen_idx") or model.get("base_class")
        if named is None:
            raise UserError("the checkpoint's config names no seen classes; give --unseen")
        seen = index_list(named, "seen_idx")
    if not seen:
        raise UserError("the checkpoint has no seen classes left; give --unseen")
    repeated = len(set(seen)) < len(seen)
    if sorted(every) != list(range(len(every))) or repeated or set(seen) - set(every):
        raise UserError(
            f"the checkpoint's class indices make no split: all {reprlib.repr(every)}, seen "
            f"{reprlib.repr(seen)}"
        )
    if len(names) != len(every):
        raise UserError(
            f"{len(names)} class names for the checkpoint's {len(every)} classes; "
            "give --class-names"
        )
    unseen = tuple(index for index in range(len(every)) if index not in seen)
    self_training = model.get("self_training") or False
    if not isinstance(self_training, bool):
        raise UserError(f"the checkpoint's config holds 'self_training' = {self_training!r}")
    setting: Setting = "transductive" if self_training else "inductive"
    setting = overrides.setting or (setting if unseen else "full")
    offset = RELEASED_SCORE_OFFSET if setting == "inductive" else 0.0
    if overrides.seen_score_offset is not None:
        offset = overrides.seen_score_offset
    return Classes(names, tuple(sorted(seen)), unseen, setting, offset)


def _without(names: tuple[str, ...], unseen: tuple[str, ...]) -> tuple[int, ...]:
    unknown = [name for name in unseen if name not in names]
    if unknown:
        raise UserError(f"unseen {some_of(unknown, 3)}: not among the classes {some_of(names)}")
    return tuple(index for index, name in enumerate(names) if name not in unseen)
