"""Files as their owners publish them: found unpacked, or unpacked as far as they are needed."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole

Progress = Callable[[str, int, int | None], None]
"""Hears what is being done, how many files are done, and of how many (None: not known)."""

Content = Callable[[], IO[bytes]]
"""Opens a file of an archive."""
MOST_BYTES = 1 << 28
"""Of one file; pictures, masks and lists have a few million at most."""

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


@dataclass(frozen=True)
class Source:
    """Files that belong together: an archive, or a folder with what was unpacked from it."""

    archive: str
    """Its file name, directly below ROOT."""
    inside: str
    """The folder in the archive that holds the files; `.` is its top."""
    folders: tuple[str, ...]
    """Where the files may lie below ROOT; the archive is unpacked into the first."""
    sign: str
    """A pattern of files by which such a folder is known."""
    page: str
    """Where its owner offers it."""

    @property
    def expected(self) -> str:
        """What to bring, and from where."""
        unpacked = "/".join(part for part in (self.folders[0], self.sign) if part != ".")
        return f"{self.archive} (or, unpacked, {unpacked}) from {self.page}"


class ArchiveFiles:
    """The files of one source below ROOT."""

    def __init__(self, root: Path, source: Source) -> None:
        folders = [root / folder for folder in source.folders]
        holding = [folder for folder in folders if next(folder.glob(source.sign), None)]
        archive = root / source.archive
        self.source = source
        self.folder = holding[0] if holding else folders[0]
        self.archive = archive if archive.is_file() else None
        self.found = bool(holding) or self.archive is not None

    def stems(self, suffix: str) -> set[str]:
        """Names without suffix of the files directly in the folder, unpacked or not yet."""
        names = {path.name for path in self.folder.glob(f"*{suffix}")}
        if self.archive is not None:
            with _intact(self.archive):
                names |= {name for name, _ in _files(self.archive, self.source.inside)}
        flat = (PurePosixPath(name) for name in names if "/" not in name)
        return {name.stem for name in flat if name.suffix == suffix}

    def paths(self, ending: str) -> set[str]:
        """Paths below the folder, less that ending, of the files whose names end so, unpacked or
        not yet."""
        paths = {p.relative_to(self.folder).as_posix() for p in self.folder.rglob(f"*{ending}")}
        if self.archive is not None:
            with _intact(self.archive):
                paths |= {path for path, _ in _files(self.archive, self.source.inside)}
        return {path.removesuffix(ending) for path in paths if path.endswith(ending)}

    def obtain(self, paths: Iterable[Path], progress: Progress) -> None:
        """Unpacks those of the paths that belong here and aren't there; some may stay missing.

        Raises `UserError` if the archive is damaged.
        """
        if self.archive is None:
            return
        inside = [path for path in paths if path.is_relative_to(self.folder)]
        missing = {p.relative_to(self.folder).as_posix() for p in inside if not p.is_file()}
        if not missing:
            return
        doing = f"unpacking {self.archive.name.partition('_')[0]}"
        progress(doing, 0, len(missing))
        with _intact(self.archive):
            unpacked = _unpack(self.archive, self.source.inside, self.folder, missing)
            for done, _ in enumerate(unpacked, 1):
                progress(doing, done, len(missing))

    def require(self, paths: Iterable[Path], progress: Progress) -> None:
        """Unpacks like `obtain`, and raises `UserError` if a path stays missing."""
        paths = list(paths)
        self.obtain(paths, progress)
        for path in paths:
            if not path.is_file():
                lacking = "" if self.archive is None else f" and {self.archive} doesn't hold it"
                raise UserError(f"{path} is missing{lacking}; get {self.source.expected}")


def _unpack(archive: Path, inside: str, folder: Path, names: Collection[str]) -> Iterator[str]:
    """Writes the named files of an archive below `folder`, each whole or not at all.

    No path of the archive is ever written to, only the names asked for.
    """
    left = set(names)
    for name, content in _files(archive, inside):
        if name in left:
            write_whole(folder / name, partial(_copy, content))
            left.discard(name)
            yield name
        if not left:  # spares reading on through a compressed tar
            return


def _copy(content: Content, target: Path) -> None:
    with content() as source, target.open("wb") as file:
        while part := _read(source):
            file.write(part)


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(1 << 20)
    except OSError as error:  # of gzip, not to be taken for a disk that can't be written to
        raise tarfile.ReadError(str(error)) from error


def _files(archive: Path, inside: str) -> Iterator[tuple[str, Content]]:
    """Regular files of an archive below its folder `inside`, in the archive's order."""
    for path, content in _all_files(archive):
        plain = PurePosixPath(path)
        if ".." in plain.parts or plain.is_absolute():
            raise UserError(f"{archive} holds the path {path}, which leads out of it")
        if plain.is_relative_to(inside):
            yield plain.relative_to(inside).as_posix(), content


def _all_files(archive: Path) -> Iterator[tuple[str, Content]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if not entry.is_dir():
                    yield entry.filename, partial(_open, zipped.open, entry, entry.file_size)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isreg():
                    yield member.name, partial(_open, tar.extractfile, member, member.size)


def _open(opener: Callable[[Any], IO[bytes] | None], member: Any, size: int) -> IO[bytes]:
    if size > MOST_BYTES:
        raise tarfile.TarError(f"a file of {size:,} bytes, at most {MOST_BYTES:,} are expected")
    content = opener(member)
    assert content is not None  # it is a regular file
    return content


@contextmanager
def _intact(archive: Path) -> Iterator[None]:
    """Says of any damage in which archive it is."""
    try:
        yield
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists all it tried
        raise UserError(
            f"{archive} is damaged or not complete ({reason}); download it again"
        ) from error
