"""The benchmarks of `config.PreparedName`, as `cascade-clip prepare` leaves them.

The pictures stay where their owner's archives put them, below a folder ROOT (`data.root`).
Preparation adds one folder, `ROOT/cascade-clip/NAME/`, and writes nothing elsewhere:

- `masks/<picture id>.png`: 8-bit index PNGs of the pictures' sizes; labels 0 to C - 1 in the order
  of `load_class_list(NAME)`, 255 ignored (16 bits and 65,535 for more than 254 classes);
- `train.txt`, `val.txt`: one picture a line, its path below ROOT, a tab, and its mask's path below
  `ROOT/cascade-clip/NAME`, both with forward slashes (a `calibration.txt` of the same form may be
  put beside them by hand);
- `prepared.json`, written last: `{"name": NAME, "version": 1, "counts": {"train": n, "val": n}}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import OWN_NAMES, STANDARD, load_class_list
from cascade_clip.data.pairs import ListName, Pair, PairDataset, list_of, no_calibration
from cascade_clip.data.part import Part
from cascade_clip.errors import UserError
from cascade_clip.io.lines import read_lines

PREPARED_NAMES: tuple[PreparedName, ...] = get_args(PreparedName)
COMMANDS: dict[PreparedName, str] = {"voc20": "voc", "context59": "context"}
"""What comes after `cascade-clip prepare` where that isn't the name of the data set."""

FOLDER = "cascade-clip"
SUMMARY_FILE = "prepared.json"
VERSION = 1


class Preparation(BaseModel):
    """What `prepared.json` says: the marker of a complete preparation."""

    name: str
    version: int
    counts: dict[str, int]
    """Pictures in each list."""


class PreparedDataset(PairDataset):
    """One part of a prepared data set; `test` is the pictures of `val.txt`, as `val` is.

    Raises `UserError` if the preparation is missing, incomplete or of another version, if files
    have gone since, for an unknown split of the classes, or for `calibration` without such a list.
    """

    def __init__(
        self,
        root: Path | None,
        name: PreparedName,
        part: Part,
        length: int | None = None,
        *,
        split: str = STANDARD,
        synonyms: bool = False,
        names: str = OWN_NAMES,
    ) -> None:
        classes = load_class_list(name).class_set(split, synonyms, names)
        if root is None:
            raise UserError(
                f"data set {name} needs its folder: data.root=DIR, or --root DIR with `evaluate`; "
                f"see `cascade-clip prepare {COMMANDS.get(name, name)} --help`"
            )
        super().__init__(read_pairs(root, name, list_of(part))[:length], classes)


def prepared_folder(root: Path, name: PreparedName) -> Path:
    """Where the preparation of a data set below `root` lies."""
    return root / FOLDER / name


def calibration_list(root: Path, name: PreparedName) -> Path:
    """Where the calibration pictures of a prepared data set may be listed."""
    return prepared_folder(root, name) / "calibration.txt"


def read_pairs(root: Path, name: PreparedName, listed: ListName) -> list[Pair]:
    """Pictures and masks of one list, in its order. Raises `UserError`."""
    summary = _read_summary(root, name)
    if listed == "calibration":
        return _read_calibration(root, name)
    if listed not in summary.counts:
        raise UserError(f"{name} is for evaluation alone and has no {listed} pictures: take test")
    path = prepared_folder(root, name) / f"{listed}.txt"
    pairs = _read_list(root, name, path, _again(root, name))
    if not pairs or len(pairs) != summary.counts.get(listed):
        raise UserError(
            f"{path} lists {len(pairs)} pictures, {SUMMARY_FILE} says "
            f"{summary.counts.get(listed, 0)}; {_again(root, name)}"
        )
    return pairs


def _read_calibration(root: Path, name: PreparedName) -> list[Pair]:
    path = calibration_list(root, name)
    if not path.is_file():
        raise no_calibration(path)
    pairs = _read_list(root, name, path, "write lines as in val.txt")
    if not pairs:
        raise UserError(f"{path} is empty; write lines as in val.txt, or delete it")
    return pairs


def _read_list(root: Path, name: PreparedName, path: Path, advice: str) -> list[Pair]:
    pairs = []
    for line in read_lines(path):
        picture, tab, mask = line.partition("\t")
        if not tab:
            raise UserError(f"{path} holds '{line}', expected PICTURE<tab>MASK; {advice}")
        pairs.append(Pair(root / picture, prepared_folder(root, name) / mask))
    return pairs


def _read_summary(root: Path, name: PreparedName) -> Preparation:
    path = prepared_folder(root, name) / SUMMARY_FILE
    try:
        summary = Preparation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{root} holds no prepared {name}; {_again(root, name)}") from error
    except ValidationError as error:
        raise UserError(f"{path} is damaged; {_again(root, name)}") from error
    if (summary.name, summary.version) != (name, VERSION):
        raise UserError(
            f"{path} describes {summary.name}, version {summary.version}, expected {name}, version "
            f"{VERSION}; {_again(root, name)}"
        )
    return summary


def _again(root: Path, name: PreparedName) -> str:
    return f"run: cascade-clip prepare {COMMANDS.get(name, name)} {root}"
