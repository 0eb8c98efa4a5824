"""Files are written whole or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cascade_clip.errors import UserError
from cascade_clip.io import files
from cascade_clip.io.files import write_whole
from cascade_clip.io.lines import read_lines


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="can't write"):
        write_whole(tmp_path / "file" / "a.txt", lambda path: path.write_text("x"))


def test_files_written_by_many_threads_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: write_whole(tmp_path / f"{i}.txt", Path.touch), range(200)))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(umask)
    modes = {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {0o640}


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "a.txt", []

    def note(place: Path) -> None:
        synced.append((place.is_dir(), target.exists()))

    monkeypatch.setattr(files, "sync", note)
    write_whole(target, Path.touch)
    assert synced == [(False, False), (True, True)]


def test_a_link_to_what_may_only_be_read_is_written(tmp_path: Path) -> None:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(tmp_path / "gone")

    assert write_whole(tmp_path / "link", link).is_symlink()


def test_lines_end_where_editors_end_them(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes("a\u2028b.png\r\n\nc\x85d.png".encode())
    assert read_lines(listed) == ["a\u2028b.png", "c\x85d.png"]
