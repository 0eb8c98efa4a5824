"""The commands `analyze ...` on a small model: what they print and write, and mistakes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cascade_clip.config.recipes import load_recipe
from cascade_clip.picturebook.export import export_voc
from tests.analysis.models import write_model
from tests.cli.test_train import CommandLine


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]
) -> Iterator[CommandLine]:
    """A folder with a cascade, a single head, some pictures without masks, and a data set."""
    with pytest.MonkeyPatch.context() as patch:
        line = CommandLine(tmp_path_factory.mktemp("place"), patch)
        for name, method in (("inductive", "cascade-clip"), ("single", "zegclip")):
            write_model(line.folder / name, load_recipe(f"{method}/picturebook", tiny_overrides))
        photos = line.folder / "photos"
        photos.mkdir()
        for number in range(5):
            Image.effect_noise((40 + number, 50), 60).save(photos / f"{number}.png")
        export_voc(line.folder / "drawn", count=20, seed=3, size=48)
        yield line


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_page(folder: Path, name: str, pictures: list[str]) -> None:
    """The page stands by itself, and every picture lies beside it too."""
    page = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert 'src="http' not in page and "</html>" in page
    assert page.count("data:image/png") >= len(pictures)
    for picture in pictures:
        with Image.open(folder / f"{picture}.png") as image:
            assert min(image.size) > 150
    assert not [file.name for file in folder.iterdir() if file.name.startswith(".")]


def test_cka(place: CommandLine) -> None:
    out = place.works(
        "analyze", "cka", "inductive", "--scenes", "8", "--batch", "4", "--blocks", "1,6,12", "-q"
    )
    words = " ".join(out.split())
    assert re.search(
        r"block 12 with the others, minus that of raw CLIP │ [+−]\d+\.\d\d │ +– │", words
    )
    assert "report: inductive/analysis-cka/cka.html" in words
    folder = place.folder / "inductive/analysis-cka"
    check_page(folder, "cka", ["cka"])
    rows = read(folder / "cka.csv")
    assert len(rows) == 36
    own = [row for row in rows if row["first"] == row["second"] and row["block"] == "6"]
    assert {row["block"] for row in rows} == {"1", "6", "12"}
    assert len(own) == 6
    content = json.loads((folder / "cka.json").read_text(encoding="utf-8"))
    assert (content["batches"], content["features"]) == (2, "patches")
    assert content["setup"]["pictures"] == 8


def test_cka_of_a_single_block(place: CommandLine) -> None:
    out = place.works(
        "analyze", "cka", "inductive", "--scenes", "4", "--blocks", "12", "--out", "one", "-q"
    )
    words = " ".join(out.split())
    assert "With one block there is no pair of blocks" in words
    assert "nan" not in words and "minus that of" not in words
    assert "block that differs most between the two, 12: CKA with itself" in words


def test_cka_of_pictures_without_masks(place: CommandLine) -> None:
    place.works(
        "analyze", "cka", "inductive", "--data", "photos", "--features", "class-token",
        "--against", "single", "--out", "of-photos", "-q",
    )  # fmt: skip
    names = {row["first"] for row in read(place.folder / "of-photos/cka.csv")}
    assert names == {"cascade-clip/picturebook/inductive", "zegclip/picturebook/inductive"}


def test_localization(place: CommandLine) -> None:
    out = place(
        "analyze", "localization", "inductive", "--scenes", "5", "--blocks", "3,11-12", "--out",
        "localized",
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert "5/5" in out.stderr  # the progress bar
    assert "class name, boundary F: block 11 minus block 12" in " ".join(out.stdout.split())
    folder = place.folder / "localized"
    check_page(folder, "localization", ["localization", "maps-1", "maps-2"])
    rows = read(folder / "localization.csv")
    assert {row["block"] for row in rows} == {"3", "11", "12"}
    for row in rows:
        assert 0 <= float(row["low"]) <= float(row["mean"]) <= float(row["high"]) <= 1
    assert read(folder / "classes.csv")


def test_a_clip_without_training(place: CommandLine) -> None:
    given = ("--clip", "picturebook", "--blocks", "6,12", "-q")
    place.works("analyze", "cka", *given, "--data", "photos", "--batch", "5", "--out", "bare")
    pairs = [(row["first"], row["second"]) for row in read(place.folder / "bare/cka.csv")]
    assert set(pairs) == {("raw CLIP", "raw CLIP")}
    place.works("analyze", "localization", *given, "--data", "drawn", "--out", "bare-maps")
    rows = read(place.folder / "bare-maps/localization.csv")
    assert {row["block"] for row in rows if row["query"] == "class name"} == {"12"}
    content = json.loads((place.folder / "bare/cka.json").read_text(encoding="utf-8"))
    assert content["setup"]["embedded_clip"] is True


def test_stages(place: CommandLine) -> None:
    out = place.works(
        "analyze", "stages", "inductive", "--against", "single", "--scenes", "6", "--out", "staged",
        "-q",
    )  # fmt: skip
    words = " ".join(out.split())
    for figure in (
        "hIoU without blocks 6-8", "hIoU minus that of zegclip/picturebook/inductive",
        "expected calibration error", "unseen pixels labelled as a seen class",
    ):  # fmt: skip
        assert figure in words
    assert "choose one on other pictures than those it is reported on" in words
    folder = place.folder / "staged"
    parts = ["stages", "weights", "gains", "confusion", "offsets", "reliability"]
    check_page(folder, "stages", [*parts, "pictures"])
    assert all(read(folder / f"{part}.csv") for part in parts)
    assert len(read(folder / "gains.csv")) == len(read(folder / "confusion.csv")) == 22
    assert {row["block"] for row in read(folder / "weights.csv")} == {*map(str, range(6, 12))}
    content = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
    assert "umbrella" in (folder / "stages.html").read_text(encoding="utf-8")
    assert content["best"]["hiou"] is None or 0 <= content["best"]["hiou"] <= 1


def test_stages_where_no_unseen_class_is_shown(place: CommandLine) -> None:
    out = place.works("analyze", "stages", "inductive", "--scenes", "1", "--out", "seen-only", "-q")
    words = " ".join(out.split())
    assert "The pictures don't show both seen and unseen classes" in words
    assert re.search(r"mIoU of seen classes without blocks 6-8 │ [+−]?\d", words)
    assert "hIoU without" not in words
    assert not (place.folder / "seen-only/offsets.png").exists()


def test_stages_of_a_single_head_against_nothing(place: CommandLine) -> None:
    out = place.works(
        "analyze", "stages", "single", "--against", "none", "--scenes", "4", "--out", "alone", "-q"
    )
    assert "all stages" in out and "without" not in out
    assert not (place.folder / "alone/gains.png").exists()
    assert not (place.folder / "alone/weights.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cka", "inductive", "--scenes", "3"], "needs 4 pictures a batch, got 3 pictures"),
        (["cka", "inductive", "--batch", "2"], "in batches of 2"),
        (["cka", "inductive", "--blocks", "13"], "block 13 doesn't exist"),
        (["cka", "inductive", "--against", "gone"], "no model in gone"),
        (["cka", "inductive", "--data", "gone"], "gone is neither a folder nor one of"),
        (["cka", "gone"], "no model in gone"),
        (["cka"], "needs a model, or a CLIP without training: --clip"),
        (["cka", "--clip", "picturebook"], "--clip needs pictures to look at"),
        (["cka", "inductive", "--clip", "picturebook"], "give one of them"),
        (
            ["cka", "--clip", "picturebook", "--data", "photos", "--against", "single"],
            "--clip is looked at alone",
        ),
        (["localization", "inductive", "--data", "photos"], "photos is no data set"),
        (["localization", "inductive", "--blocks", "0"], "block 0 doesn't exist"),
        (["stages", "inductive", "--data", "photos"], "photos is no data set"),
        (["stages", "inductive", "--out", "single/config.json"], "is a file; give a folder"),
        (["stages", "inductive", "--part", "tset"], "unknown part 'tset'"),
        (
            ["stages", "inductive", "--data", "drawn", "--part", "calibration"],
            "no part 'calibration', only the picture book draws one",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    place: CommandLine, arguments: list[str], message: str
) -> None:
    before = sorted(place.folder.rglob("*"))
    done = place("analyze", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(place.folder.rglob("*")) == before
