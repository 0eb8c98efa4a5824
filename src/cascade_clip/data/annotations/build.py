"""From another program's annotations to a data set folder that trains."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cascade_clip.config import Background
from cascade_clip.data.annotations.found import Annotated, Found
from cascade_clip.data.annotations.naming import name_classes
from cascade_clip.data.annotations.paint import Painted, Painter, Placement, Task, paint
from cascade_clip.data.annotations.pictures import PictureFinder, result_names
from cascade_clip.data.folder import PLAIN
from cascade_clip.errors import UserError
from cascade_clip.io.files import unfinished_name, write_text
from cascade_clip.support.messages import some_of
from cascade_clip.support.parallel import in_processes


@dataclass(frozen=True)
class Wishes:
    """What a user may say about the annotations."""

    pictures: Path
    """Folder that the pictures lie in."""
    classes: Sequence[str] = ()
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    background: Background | None = None
    placement: Placement = "copy"


@dataclass
class Built:
    """What came of it."""

    found: Found
    classes: tuple[str, ...]
    pictures: int = 0
    regions: int = 0
    class_pixels: Counter[str] = field(default_factory=Counter)
    class_pictures: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    overlapping: Counter[str] = field(default_factory=Counter)
    """Pixels that regions of two classes claim, by picture."""
    copied: list[int] = field(default_factory=list)
    """Bytes of each picture that were copied because it could not be linked."""
    problems: list[str] = field(default_factory=list)
    """Why pictures were left out."""
    lists: bool = False
    """Whether `train.txt` and `val.txt` were written."""

    def add(self, painted: Painted) -> None:
        """Counts a picture."""
        if painted.problem:
            self.problems.append(painted.problem)
            return
        if painted.empty:
            entry = painted.task.annotated.entry
            self.found.leave_out("pictures in which nothing is annotated", entry)
            return
        self.pictures += 1
        self.copied.append(painted.copied)
        self.regions += len(painted.task.annotated.annotations)
        self.pixels += painted.pixels.total()
        of_classes = {
            self.classes[label]: count
            for label, count in painted.pixels.items()
            if label < len(self.classes)
        }
        self.class_pixels.update(of_classes)
        self.class_pictures.update(of_classes.keys())
        if painted.overlapping:
            self.overlapping[painted.task.name] = painted.overlapping
        for entry in painted.beyond:
            self.found.leave_out("parts of regions beyond their picture", entry)


def build_folder(
    found: Found, wishes: Wishes, out: Path, jobs: int, progress: Callable[[int, int], None]
) -> Built:
    """Writes pictures, masks, `classes.txt` and, where the format says what pictures are for, lists
    into `out`, which is there whole or not at all.

    Raises `UserError` if `out` holds anything, for names that are no class, and if no picture is
    left.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; choose another place, or remove it")
    naming = name_classes(found, wishes.classes, wishes.renamed, wishes.background)
    built = Built(found, naming.classes)
    masks = {one.image.path for one in found.pictures if one.image is not None}
    tasks = _tasks(built, PictureFinder(wishes.pictures, masks))
    with _whole(out) as folder:
        painter = Painter(
            naming, found.ordered, folder / PLAIN.pictures, folder / PLAIN.masks, wishes.placement
        )
        done: list[Task] = []
        with closing(in_processes(partial(paint, painter), tasks, jobs)) as results:
            for number, painted in enumerate(results, start=1):
                built.add(painted)
                done += [] if painted.problem or painted.empty else [painted.task]
                progress(number, len(tasks))
        if not built.pictures:
            reasons = built.problems or [f"{what}: {n}" for what, n in found.not_taken.items()]
            raise UserError(
                f"none of {len(found.pictures)} pictures can be taken: {some_of(reasons, 1)}"
            )
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in naming.classes))
        built.lists = _write_lists(folder, done)
    built.problems.sort()
    return built


def _tasks(built: Built, finder: PictureFinder) -> list[Task]:
    """The annotations whose picture is found; of those of one picture the first."""
    by_picture: dict[Path, Annotated] = {}
    for annotated in built.found.pictures:
        try:
            picture = finder.find(annotated)
        except UserError as error:
            built.problems.append(str(error))
            continue
        if picture in by_picture:
            earlier = by_picture[picture].entry
            built.problems.append(f"{annotated.entry}: {picture} is annotated by {earlier}, too")
        else:
            by_picture[picture] = annotated
    tasks: dict[str, Task] = {}
    for name, (picture, annotated) in zip(
        result_names([*by_picture]), by_picture.items(), strict=True
    ):
        mask = str(Path(name).with_suffix(""))
        if mask in tasks:
            other = tasks[mask].picture
            built.problems.append(f"{picture} and {other} share a name, and so a mask")
        else:
            tasks[mask] = Task(name, picture, annotated)
    return [*tasks.values()]


def _write_lists(folder: Path, done: Sequence[Task]) -> bool:
    """`train.txt` and `val.txt` if there are pictures of both."""
    listed: dict[str, list[str]] = {"train": [], "val": []}
    for task in done:
        if task.annotated.part is not None:
            listed[task.annotated.part].append(Path(task.name).with_suffix("").as_posix())
    if not all(listed.values()):
        return False
    for part, names in listed.items():
        write_text(folder / f"{part}.txt", "".join(f"{name}\n" for name in sorted(names)))
    return True


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` if all goes well, and vanishes else."""
    unfinished = unfinished_name(out)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if out.is_dir():
            out.rmdir()  # it is empty
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"can't write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
