"""`train`, `evaluate`, `recipes`, `info` and `picturebook` as a user calls them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cascade_clip.cli.app import main
from cascade_clip.data.folder import FolderDataset
from cascade_clip.data.part import Part
from cascade_clip.picturebook.export import export_voc

COMMAND = [sys.executable, "-m", "cascade_clip"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Call(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class CommandLine:
    """The command within this process (starting a new one costs seconds), in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch

    def __call__(self, *arguments: str) -> Call:
        with self.patch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["cascade-clip", *arguments])
            patch.setenv("COLUMNS", "120")
            out, errors = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(errors):
                try:
                    main()
                    code = 0
                except SystemExit as exit_:
                    code = exit_.code if isinstance(exit_.code, int) else 0
        return Call(code, out.getvalue(), errors.getvalue())

    def works(self, *arguments: str) -> str:
        """What a command that must succeed printed."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]
) -> Iterator[CommandLine]:
    """A folder with one finished run of three steps."""
    with pytest.MonkeyPatch.context() as patch:
        line = CommandLine(tmp_path_factory.mktemp("place"), patch)
        out = line.works(
            "train", "cascade-clip/picturebook/inductive", "train.steps=3", *tiny_overrides, "-q"
        )
        assert "runs/cascade-clip-picturebook-inductive-1" in out
        yield line


def test_evaluate_prints_a_table_and_writes_json(place: CommandLine) -> None:
    out = place.works(
        "evaluate", "runs/cascade-clip-picturebook-inductive-1", "--scenes", "2", "--raw-clip"
    )
    assert "cascade-clip/picturebook/inductive" in out
    assert "raw CLIP" in out
    assert "umbrella" in out
    content = json.loads(
        (place.folder / "runs/cascade-clip-picturebook-inductive-1/metrics.json").read_text()
    )
    assert set(content["metrics"]) == {"cascade-clip/picturebook/inductive", "raw CLIP"}
    assert 0 <= content["metrics"]["raw CLIP"]["pixel_accuracy"] <= 1


def test_the_next_run_gets_the_next_number(place: CommandLine, tiny_overrides: list[str]) -> None:
    arguments = ("train", "cascade-clip/picturebook/inductive", "train.steps=3", *tiny_overrides)
    out = place(*arguments)
    assert "runs/cascade-clip-picturebook-inductive-2" in out.stdout
    assert "3/3" in out.stderr  # the progress bar
    out = place(*arguments, "--out", "runs/cascade-clip-picturebook-inductive-2")
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr.startswith(
        "error: runs/cascade-clip-picturebook-inductive-2 holds a run already"
    )


def test_sigterm_then_resume(here: CommandLine, tiny_overrides: list[str]) -> None:
    settings = ["train.steps=100000", *tiny_overrides]
    arguments = [
        *COMMAND,
        "train",
        "cascade-clip/picturebook/inductive",
        *settings,
        "-q",
        "--out",
        "run",
    ]
    process = subprocess.Popen(
        arguments, cwd=here.folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    log = here.folder / "run" / "metrics.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 1):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("\n") == 1
    assert "go on with: cascade-clip train run/recipe.yaml --out run --resume" in errors
    assert (here.folder / "run" / "checkpoints" / "last.ckpt").exists()
    assert not (here.folder / "run" / "model").exists()
    refused = here("train", "run/recipe.yaml", "train.steps=5", "--out", "run", "--resume")
    assert refused.returncode == 2
    assert "train.steps=100000, now it is 5" in refused.stderr


def test_training_on_a_folder(here: CommandLine, tiny_overrides: list[str]) -> None:
    here.works("picturebook", "book", "--count", "10", "--size", "40")
    here.works(
        "train", "cascade-clip/picturebook/inductive", "train.steps=2", *tiny_overrides,
        "data.name=folder", "data.root=book", "--out", "run", "-q",
    )  # fmt: skip
    written = (here.folder / "run/model/model.safetensors").stat().st_mtime_ns
    again = here.works("train", "run/recipe.yaml", "--out", "run", "--resume")
    assert again.startswith("run is finished")  # and isn't trained once more
    assert (here.folder / "run/model/model.safetensors").stat().st_mtime_ns == written
    out = here.works("evaluate", "run", "--data", "book", "-q")
    assert "unseen" in out
    assert json.loads((here.folder / "run/metrics.json").read_text())["data"]["root"] == "book"


def test_each_part_of_the_data_set_is_opened_once(
    here: CommandLine, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_folder = FolderDataset.__init__

    def spy(self: FolderDataset, root: Path, part: Part, *rest: Any, **named: Any) -> None:
        opened.append(part)
        open_folder(self, root, part, *rest, **named)

    monkeypatch.setattr(FolderDataset, "__init__", spy)
    export_voc(here.folder / "book", 20, seed=0, size=40)
    here.works(
        "train", "cascade-clip/picturebook/inductive", "train.steps=1", *tiny_overrides,
        "data.name=folder", "data.root=book", "--out", "run", "-q",
        "train.validate_every=1", "train.validation_pictures=2", "train.sample_pictures=1",
    )  # fmt: skip
    assert all((here.folder / "run" / name).is_file() for name in ("sanity.json", "report.html"))
    assert sorted(opened) == ["train", "val"]


def test_seeds_print_mean_and_spread(here: CommandLine, tiny_overrides: list[str]) -> None:
    settings = ["train.steps=1", "train.sanity=false", *tiny_overrides[1:]]
    clip = tiny_overrides[0].removeprefix("model.clip.model=")
    arguments = ["train", "cascade-clip/picturebook/inductive", *settings, "--clip", clip, "-q"]
    out = here.works(*arguments, "--seeds", "2", "--out", "series")
    assert "mean ± spread" in out
    summary = json.loads((here.folder / "series" / "seeds.json").read_text())
    assert list(summary["seeds"]) == ["0", "1"]
    mean, spread = (f"{100 * summary[name]['pixel_accuracy']:.1f}" for name in ("mean", "spread"))
    assert f"{mean} ± {spread}" in out
    assert here.works(*arguments, "--seeds", "2", "--out", "series", "--resume") == out


def test_recipes_and_info(here: CommandLine) -> None:
    assert "METHOD/DATA/SETTING" in here.works("recipes")
    chosen = here.works("recipes", "ZegCLIP")
    assert "91.9 77.8 84.3" in chosen and "92.7" not in chosen and "spt" not in chosen
    about = here.works("info")
    assert "torchvision" in about and "its pixel accuracy" in about and "in validation" in about
    assert here.works("--version").startswith("cascade-clip 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "picturebook-inductiv"], "did you mean 'cascade-clip/picturebook/inductive'?"),
        (
            ["train", "cascade-clip/picturebook/inductive", "--clip", "gone.pt"],
            "no weights file gone.pt",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "--clip", "RN50/openai"],
            "the image encoder of 'RN50' has another form",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "train.step=3"],
            "did you mean 'train.steps'?",
        ),
        (["train", "cascade-clip/picturebook/inductive", "train.lr=0"], "train.lr: "),
        (
            ["train", "cascade-clip/picturebook/inductive", "model.clip.model=local-dir:gone"],
            "no CLIP in gone",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "data.name=folder", "data.root=."],
            "is no data set",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "train.start_from=gone"],
            "no model in gone",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "--resume"],
            "no run of cascade-clip/picturebook/inductive",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "--resume", "--out", "gone"],
            "gone holds no run",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "trainer.devices=4"],
            "did you mean 'train.devices'?",
        ),
        (["train", "cascade-clip/picturebook/inductive", "--clip", "ViT-B-16"], "needs weights"),
        (
            [
                "train",
                "cascade-clip/picturebook/inductive",
                "--clip",
                "ViT-B-16",
                "--pretrained",
                "gone.pt",
            ],
            "'gone.pt' is neither a weights file nor published weights",
        ),
        (
            ["train", "cascade-clip/picturebook/inductive", "--pretrained", "openai"],
            "'picturebook' comes with its weights",
        ),
        (["evaluate", "nowhere"], "no model in nowhere"),
        (["picturebook", ".", "--count", "2"], "is not an empty folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    here: CommandLine, arguments: list[str], message: str
) -> None:
    (here.folder / "file").touch()
    done = here(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in here.folder.iterdir()) == ["file"]  # nothing half-written


def test_usage_errors_exit_2(here: CommandLine) -> None:
    assert here("train", "--nope").returncode == 2
    assert here("fly").returncode == 2


def test_debug_shows_the_traceback(here: CommandLine) -> None:
    done = here("train", "nothing", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: unknown recipe")


def test_help_needs_no_torch() -> None:
    code = "import sys, cascade_clip.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT).returncode == 0
