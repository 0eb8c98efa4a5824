"""`evaluate` on data that a model was not trained on, and `recipes`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_clip.cli.evaluate import data_settings
from cascade_clip.config import DataSettings
from cascade_clip.config.components import KINDS, component_names
from cascade_clip.model.fast import precision
from tests.cli.test_train import CommandLine
from tests.data.trees import write_prepared


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]
) -> Iterator[CommandLine]:
    """One step on the picture book, whose scores of seen classes are lowered by 0.1, in `run`; and
    VOC and COCO-Stuff in `data`."""
    with pytest.MonkeyPatch.context() as patch:
        line = CommandLine(tmp_path_factory.mktemp("place"), patch)
        settings = ["train.steps=1", "inference.seen_score_offset=0.1", *tiny_overrides]
        line.works(
            "train",
            "cascade-clip/picturebook/inductive",
            *settings,
            "-q",
            "--no-report",
            "--out",
            "run",
        )
        write_prepared(line.folder / "data", "voc20")
        write_prepared(line.folder / "data", "coco-stuff")
        yield line


def test_on_another_data_set(place: CommandLine) -> None:
    out = place.works("evaluate", "run", "--data", "coco-stuff", "--root", "data")
    words = " ".join(out.split())
    assert "classes whose names were trained on" in words
    assert "run/metrics-coco-stuff.json" in words
    assert not (place.folder / "run/metrics.json").exists()
    result = json.loads((place.folder / "run/metrics-coco-stuff.json").read_text())
    assert len(result["seen"]) + len(result["unseen"]) == 171
    assert {"car", "tree", "umbrella", "boat"} & set(result["seen"]) == {"car", "tree"}
    assert result["inference"]["seen_score_offset"] == 0.1
    assert result["data"]["name"] == "coco-stuff"


def test_offset_and_templates_of_the_published_comparison(place: CommandLine) -> None:
    arguments = ("evaluate", "run", "--data", "voc20", "--root", "data", "-q")
    place.works(*arguments, "--offset", "0", "--templates", "many", "--out", "other.json")
    first, again = place.works(*arguments), place.works(*arguments)
    assert "replaced" not in first and "(an earlier page was replaced)" in " ".join(again.split())
    plain = json.loads((place.folder / "run/metrics-voc20.json").read_text())
    other = json.loads((place.folder / "other.json").read_text())
    assert [each["inference"]["seen_score_offset"] for each in (plain, other)] == [0.1, 0.0]
    assert (plain["data"]["templates"], other["data"]["templates"]) == ("single", "many")
    assert plain["metrics"] != other["metrics"]


def test_changed_settings_of_inference_replace_no_result(place: CommandLine) -> None:
    before = sorted((place.folder / "run").iterdir())
    arguments = ("evaluate", "run", "-q", "--scenes", "2")
    out = place.works(*arguments, "--set", "inference.seen_score_offset=0.5")
    assert "written" not in out
    place.works(*arguments, "--set", "inference.seen_score_offset=0.5", "--out", "set.json")
    result = json.loads((place.folder / "set.json").read_text())
    assert result["inference"]["seen_score_offset"] == 0.5
    assert sorted((place.folder / "run").iterdir()) == before


def test_lower_precision_has_a_result_of_its_own(
    place: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "why_slower", lambda *_: None)
    arguments = ("--scenes", "2", "-q", "--device", "cpu", "--precision")
    out = place.works("evaluate", "run", *arguments, "int8")
    assert "written: run/metrics-int8.json, run/report-int8.html" in " ".join(out.split())
    assert "in int8 on 2 pictures" in (place.folder / "run/report-int8.html").read_text()
    results = []
    for chosen in ("fp32", "int8"):
        file = place.folder / f"{chosen}.json"
        place.works("evaluate", "picturebook", *arguments, chosen, "--out", file.name)
        results.append(json.loads(file.read_text()))
    assert [result["precision"] for result in results] == ["fp32", "int8"]
    assert results[0]["metrics"] != results[1]["metrics"]


def test_two_processes_of_torchrun_count_each_picture_once(place: CommandLine) -> None:
    arguments = ("evaluate", "run", "--scenes", "3", "--quiet", "--out")
    place.works(*arguments, "one.json")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        (*torchrun, "-m", "cascade_clip", *arguments, "two.json"),
        cwd=place.folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written: two.json") == 1
    one, two = (json.loads((place.folder / f"{name}.json").read_text()) for name in ("one", "two"))
    assert two == one
    assert "on 3 pictures" in (place.folder / "two.html").read_text()


def test_training_and_evaluation_on_a_prepared_data_set(
    here: CommandLine, tiny_overrides: list[str]
) -> None:
    write_prepared(here.folder / "data", "context59")
    settings = ["train.steps=1", "data.name=context59", "data.root=data", "data.split=released"]
    here.works(
        "train", "cascade-clip/picturebook/inductive", *tiny_overrides, *settings, "-q",
        "train.batch_size=2", "--no-report", "--out", "run",
    )  # fmt: skip
    out = here.works("evaluate", "run", "-q")
    assert "S, U: mIoU of seen, unseen classes" in " ".join(out.split())
    result = json.loads((here.folder / "run/metrics.json").read_text())
    assert "bedclothes" in result["unseen"]
    out = here.works("evaluate", "run", "-q", "--split", "standard")
    assert "49 classes whose names were trained on" in " ".join(out.split())


@pytest.mark.parametrize(
    ("data", "synonyms", "names"),
    [("voc21", True, "sclip"), ("ade20k", False, "sclip"), ("picturebook", False, "label")],
)
def test_names_go_over_to_data_that_has_such_lists(data: str, synonyms: bool, names: str) -> None:
    trained = DataSettings(name="voc20", synonyms=True, names="sclip")
    settings = data_settings(trained, data, None, None, None)
    assert (settings.name, settings.synonyms, settings.names) == (data, synonyms, names)


@pytest.mark.parametrize("method", ["cascade-clip", "zegclip"])
def test_published_recipes_run_on_a_small_stand_in(
    here: CommandLine, tiny_overrides: list[str], method: str
) -> None:
    write_prepared(here.folder / "data", "voc20")
    small = [
        *tiny_overrides, "model.clip.pretrained=null", "data.root=data", "train.steps=2",
        "train.batch_size=2", "train.workers=0", "-q", "--no-report",
    ]  # fmt: skip
    here.works(
        "train", f"{method}/voc20/inductive", *small, "train.keep_model_at=[1]", "--out", "first"
    )
    start = "train.start_from=first/model-1"
    here.works("train", f"{method}/voc20/transductive", *small, start, "--out", "second")
    here.works("evaluate", "second", "-q")
    result = json.loads((here.folder / "second/metrics.json").read_text())
    assert result["unseen"] == ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]
    assert result["inference"]["seen_score_offset"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "voc20"], "voc20 needs its folder: data.root=DIR, or --root DIR"),
        (["--data", "voc20", "--root", "gone"], "run: cascade-clip prepare voc gone"),
        (["--root", "gone"], "--root is the folder of a prepared data set"),
        (["--data", "gone"], "gone is neither a folder nor one of"),
        (["--split", "hard"], "unknown split 'hard' (data.split); there are standard"),
    ],
)
def test_mistakes(here: CommandLine, arguments: list[str], message: str) -> None:
    done = here("evaluate", "picturebook", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_recipes_are_listed_by_their_parts_and_with_published_figures(here: CommandLine) -> None:
    short = here.works("recipes")
    assert "92.0" not in short and len(short.splitlines()) < 65
    out = here.works("recipes", "--published")
    lines = [line.replace("│", " ").split() for line in out.splitlines()]
    assert {name for kind in KINDS for name in component_names(kind)} <= {
        line[0] for line in lines if line
    }
    assert ["spt", "92.0", "85.0", "88.4"] in lines
    assert lines.index(["voc20"]) < lines.index(["spt", "92.0", "85.0", "88.4"])
    assert lines.index(["spt", "92.0", "85.0", "88.4"]) < lines.index(["context59"])
    assert ["sc-clip", "84.3", "64.6", "40.1", "36.8", "37.7", "26.6", "41.0", "20.1"] in lines
    order = ["cascade-clip", "METHOD,", "sc-clip", "DATA,", "voc20", "DATA,", "ade20k", "SETTING"]
    first = iter([line[0] for line in lines if line])
    assert all(word in first for word in order)
