"""Class lists: names in label order, named splits of them, and what prompts call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from cascade_clip.class_names import composed
from cascade_clip.config.wrong_values import first_wrong_value
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean, some_of
from cascade_clip.support.plain_values import read_yaml

STANDARD = "standard"
"""Name of the split that is meant when none is named."""
OWN_NAMES = "label"
"""The vocabulary that is meant when none is named: what prompts say."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, before one split of them is chosen.

    Raises `UserError` if names are empty or repeated (apart from case, also with their synonyms),
    if a split, a synonym or a vocabulary names a class that there is not, or if a split leaves no
    class seen.
    """

    names: tuple[str, ...]
    """Names of the labels 0, 1, ..."""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {STANDARD: ()})
    """Unseen names of each split. A name that is not unseen is seen: no class can be both."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """What prompts may say instead of a name: `pottedplant` -> `potted plant`."""
    raw_ids: tuple[int, ...] = ()
    """The label of each class in the owner's annotations; empty where they are 0, 1, ..."""
    vocabularies: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Published lists of names for methods without training, by whose they are: the names of each
    class that has others there than its own."""
    background: bool = False
    """Whether class 0 is all that belongs to no other class."""

    def __post_init__(self) -> None:
        _check_known("synonyms", self.synonyms, self.names)
        for vocabulary, renamed in self.vocabularies.items():
            _check_known(f"vocabulary '{vocabulary}'", renamed, self.names)
            try:
                ClassSet(self.names, vocabulary=self._vocabulary(vocabulary))
            except UserError as error:
                raise UserError(f"vocabulary '{vocabulary}': {error}") from error
        if OWN_NAMES in self.vocabularies:
            raise UserError(f"a vocabulary can't be called '{OWN_NAMES}': so are the label's names")
        for split, unseen in self.splits.items():
            try:
                classes = ClassSet(self.names, unseen, self.prompts)
            except UserError as error:
                raise UserError(f"split '{split}': {error}") from error
            if not classes.seen:
                raise UserError(f"split '{split}': every class is unseen; leave one to train on")
        if self.raw_ids and len(set(self.raw_ids)) != len(self.names):
            raise UserError(
                f"raw_ids must hold one label for each of {len(self.names)} classes, got "
                f"{len(set(self.raw_ids))} different ones"
            )

    @property
    def main_split(self) -> str:
        """`standard`, or where there is none of that name the first."""
        return STANDARD if STANDARD in self.splits else next(iter(self.splits))

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names as prompts say them, with synonyms, in label order."""
        return tuple(self.synonyms.get(name, name) for name in self.names)

    def class_set(
        self, split: str = STANDARD, synonyms: bool = False, names: str = OWN_NAMES
    ) -> ClassSet:
        """The classes with one split; prompts use synonyms or the plain names, and methods without
        training the vocabulary called `names`.

        Raises `UserError` for an unknown split or vocabulary, or if there are no synonyms to use.
        """
        if split not in self.splits:
            raise UserError(
                f"unknown split '{split}' (data.split); there are {', '.join(self.splits)}"
                f"{did_you_mean(split, self.splits)}"
            )
        if synonyms and not self.synonyms:
            raise UserError("data.synonyms is true, but the class list of this data has none")
        known = (OWN_NAMES, *self.vocabularies)
        if names not in known:
            raise UserError(
                f"unknown names '{names}' (data.names); the class list of this data has "
                f"{', '.join(known)}{did_you_mean(names, known)}"
            )
        return ClassSet(
            self.names,
            self.splits[split],
            self.prompts if synonyms else (),
            () if names == OWN_NAMES else self._vocabulary(names),
            self.background,
        )

    def _vocabulary(self, vocabulary: str) -> tuple[tuple[str, ...], ...]:
        renamed = self.vocabularies[vocabulary]
        return tuple(renamed.get(name, (name,)) for name in self.names)


def _check_known(what: str, named: Iterable[str], names: Sequence[str]) -> None:
    if unknown := [name for name in named if name not in names]:
        raise UserError(f"{what} for {', '.join(unknown)}: not among the classes {some_of(names)}")


def load_class_list(name: str) -> ClassList:
    """The class list of a benchmark, called as in `config.PreparedName`."""
    path = Path(str(files("cascade_clip"))) / "data" / "splits" / f"{name}.yaml"
    return read_class_list(path)


def read_class_list(path: Path) -> ClassList:
    """A class list from a YAML file: a plain list of names, or the keys of `ClassList`:

        names: [sea, boat, cat]
        splits: {standard: {unseen: [cat]}}
        synonyms: {sea: sea water}
        vocabularies: {many: {sea: [sea, ocean], boat: [boat, ship]}}

    Raises `UserError` naming the file if it can't be read or doesn't make sense.
    """
    values = read_yaml(path)
    if isinstance(values, list):
        values = {"names": values}
    content = _parse(_ListFile, values, path, "a list of names, or `names: [...]`")
    try:
        return ClassList(
            names=content.names,
            splits=_unseen_names(content.splits) or {STANDARD: ()},
            synonyms=content.synonyms,
            raw_ids=content.raw_ids,
            vocabularies=content.vocabularies,
            background=content.background,
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_splits(path: Path) -> dict[str, tuple[str, ...]]:
    """Unseen names by split, from a YAML file: `unseen: [names]` for a single split, or
    `splits: {name: {unseen: [names]}, ...}`.

    Raises `UserError` naming the file if it can't be read or holds something else.
    """
    wanted = "`unseen: [names]`, or `splits: {name: {unseen: [names]}}`"
    content = _parse(_SplitFile, read_yaml(path), path, wanted)
    if (content.unseen is None) == (not content.splits):
        raise UserError(f"{path} must hold {wanted}")
    if content.unseen is not None:
        return {STANDARD: content.unseen}
    return _unseen_names(content.splits)


Content = TypeVar("Content", bound=BaseModel)
Name = Annotated[StrictStr, AfterValidator(composed)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Split(_Strict):
    unseen: tuple[Name, ...]


class _ListFile(_Strict):
    names: tuple[Name, ...]
    splits: dict[StrictStr, _Split] = {}
    synonyms: dict[Name, Name] = {}
    raw_ids: tuple[StrictInt, ...] = ()
    vocabularies: dict[StrictStr, dict[Name, tuple[Name, ...]]] = {}
    background: StrictBool = False


class _SplitFile(_Strict):
    unseen: tuple[Name, ...] | None = None
    splits: dict[StrictStr, _Split] = {}


def _parse(content: type[Content], values: Any, path: Path, wanted: str) -> Content:
    try:
        return content.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path} must hold {wanted}; {first_wrong_value(error)}") from error


def _unseen_names(splits: Mapping[str, _Split]) -> dict[str, tuple[str, ...]]:
    return {name: split.unseen for name, split in splits.items()}
