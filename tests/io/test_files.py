"""Files are written whole or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole


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
