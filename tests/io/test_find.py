"""What was typed to picture files."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from cascade_clip.errors import UserError
from cascade_clip.io import find
from cascade_clip.io.find import check_writable, find_pictures, read_list, unread_in


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/a.png", "out/a-overlay.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_folders_give_their_pictures_without_earlier_results(photos: Path) -> None:
    found = find_pictures([str(photos)], photos / "out")
    assert [str(file.relative_to(photos)) for file in found] == ["a.PNG", "b.jpg", "sub/a.png"]
    inside = find_pictures([str(photos / "out")], photos / "out")
    assert [file.name for file in inside] == ["a-overlay.png"]


def test_hidden_files_of_folders_are_left_out(photos: Path) -> None:
    before = find_pictures([str(photos)], photos / "out")
    (photos / "._a.jpg").write_bytes(b"resource fork")
    assert find_pictures([str(photos)], photos / "out") == before


def test_lists_may_start_with_a_byte_order_mark(photos: Path) -> None:
    files = [photos / "b.jpg", photos / "a.PNG"]
    lines = f"\ufeff{files[0]}\r\n{files[1]}\r\n".splitlines(keepends=True)
    assert read_list(lines, photos / "out") == files


def test_patterns_and_repeats(photos: Path) -> None:
    found = find_pictures([str(photos / "*.jpg"), str(photos / "b.jpg")], photos / "out")
    assert found == [photos / "b.jpg"]
    deep = find_pictures([str(photos / "**" / "*.png")], photos / "new")
    assert photos / "sub" / "a.png" in deep


def test_a_file_with_magic_characters_is_itself(photos: Path) -> None:
    odd = photos / "odd[1].png"
    odd.write_bytes(b"x")
    assert find_pictures([str(odd)], photos / "out") == [odd]


@pytest.mark.parametrize("typed", ["nowhere.png", "*.webp", "empty"])
def test_nothing_found_is_an_error(photos: Path, typed: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(UserError, match=typed.replace("*", r"\*")):
        find_pictures([str(photos / typed)], photos / "out")


def test_results_of_earlier_runs_are_no_pictures_of_a_folder(photos: Path) -> None:
    before = find_pictures([str(photos)], photos / "other")
    lines = [{"settings": {}}, {"name": "a"}]
    (photos / "out/segmented.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{cut")
    (photos / "out/mine.png").write_bytes(b"x")
    found = find_pictures([str(photos)], photos / "other")
    assert photos / "out/a-overlay.png" in before
    assert {*found} == {*before} - {photos / "out/a-overlay.png"} | {photos / "out/mine.png"}

    (photos / "sub/labelled.jsonl").write_text("{}")
    for place in ("sub/masks/a.png", "sub/voc/JPEGImages/a.png"):
        (photos / place).parent.mkdir(parents=True)
        (photos / place).write_bytes(b"x")
    assert find_pictures([str(photos)], photos / "other") == found
    assert len(find_pictures([str(photos / "sub/voc")], photos / "other")) == 1


def test_a_file_is_taken_once_however_it_is_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    assert find_pictures(["b.jpg", str(photos / "b.jpg"), "sub/../b.jpg"], photos / "out") == [
        Path("b.jpg")
    ]


def test_pictures_that_cannot_be_read_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "reads_heif", lambda: False)
    for name in ("a.HEIC", "b.heic", "c.dng", "._d.heic", "e.txt"):
        (tmp_path / name).touch()
    left_out = unread_in([str(tmp_path), "no folder"])
    assert [file.name for file in left_out] == ["a.HEIC", "b.heic", "c.dng"]
    told = r"HEIF .*: .*a\.HEIC and 1 more \(pip .*\); raw .*: .*c\.dng \(develop"
    with pytest.raises(UserError, match=told):
        find_pictures([str(tmp_path)], tmp_path / "out")
    monkeypatch.setattr(find, "reads_heif", lambda: True)
    assert [file.name for file in find_pictures([str(tmp_path)], tmp_path / "out")] == [
        "a.HEIC", "b.heic"
    ]  # fmt: skip


def test_what_another_command_wrote_meanwhile_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "runs" / "mine"
    opened = tempfile.TemporaryFile

    def beside_another(**options: Any) -> Any:
        (out / "theirs").touch()
        return opened(**options)

    monkeypatch.setattr("cascade_clip.io.find.tempfile.TemporaryFile", beside_another)
    check_writable(out)
    assert (out / "theirs").is_file()
