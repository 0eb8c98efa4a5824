"""`convert`: released checkpoints to model folders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cascade_clip
from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.checkpoint.released.classes import Classes, Overrides
from cascade_clip.checkpoint.released.convert import data_of, to_folder
from cascade_clip.cli.app import main
from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import load_clip
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.errors import UserError
from cascade_clip.inference.sliding import sliding_scores
from cascade_clip.segmenter import Segmenter
from tests.golden.cases import DATA, SETTINGS, golden

CASES = ("cascade", "zeg")
NAMES = tuple(f"class {index}" for index in range(7))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both golden checkpoints, converted."""
    place = tmp_path_factory.mktemp("converted")
    for case in CASES:
        to_folder(DATA / f"{case}_small.pth", place / case)
    return {case: place / case for case in CASES}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`cascade-clip convert ARGUMENTS` within this process: exit code, stdout and stderr."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["cascade-clip", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        streams = capsys.readouterr()
        return int(caught.value.code or 0), streams.out, streams.err

    return call


def checkpoint(case: str) -> dict[str, Any]:
    return torch.load(DATA / f"{case}_small.pth", weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_converted_model_gives_the_golden_outputs(case: str, folders: dict[str, Path]) -> None:
    values = golden(f"{case}_small").values
    model = cascade_clip.load_model(folders[case])
    image, text = values["image"], values["text_embeddings"]
    with torch.no_grad():
        out = model(image, text)
    for index, feature in enumerate(out.levels.features):
        expected = values[f"features.{index}"].flatten(2).transpose(1, 2)
        torch.testing.assert_close(feature, expected, atol=1e-5, rtol=0)
    upsampled = torch.nn.functional.interpolate(out.mask_logits, size=64, mode="bilinear")
    torch.testing.assert_close(upsampled, values["mask_logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_windows_split_and_offset_are_remembered(
    case: str, setting: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = folders[case]
    if setting == "transductive":
        folder = tmp_path / "transductive"
        to_folder(DATA / f"{case}_small.pth", folder, Overrides(setting="transductive"))
    values, bundle = golden(f"{case}_small").values, load_bundle(folder)
    expected = values[f"{setting}.slide.scores"]
    scores = sliding_scores(
        bundle.network,
        values[f"{setting}.slide.image"],
        values["text_embeddings"],
        crop=bundle.recipe.inference.crop,
        stride=bundle.recipe.inference.stride,
        output_size=(expected.shape[2], expected.shape[3]),
        offsets=bundle.classes.score_offsets(bundle.recipe.inference.seen_score_offset),
    )
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_what_a_converted_model_knows(folders: dict[str, Path], tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    folders["cascade"].rename(moved)
    try:
        bundle = load_bundle(moved)
        assert bundle.recipe.model.encoder.class_embedding_twice
        assert bundle.classes.names == NAMES
        assert bundle.classes.unseen == ("class 3", "class 5")
        assert bundle.recipe.train.setting == "inductive"
        assert load_clip(bundle.recipe.model.clip).fingerprint == bundle.clip_fingerprint
        assert "licence" in (moved / "README.md").read_text().lower()
    finally:
        moved.rename(folders["cascade"])


def test_the_data_set_is_known_by_its_class_names(folders: dict[str, Path]) -> None:
    assert load_bundle(folders["cascade"]).recipe.data.name == "folder"
    known = load_class_list("context59")
    unseen = tuple(known.names.index(name) for name in known.splits["released"])
    seen = tuple(index for index in range(len(known.names)) if index not in unseen)
    classes = Classes(known.names, seen, unseen, "inductive", 0.1)
    assert data_of(classes) == {"name": "context59", "split": "released"}


def test_stub_text_encoders_are_kept_but_read_no_names(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"64 tokens.*give text embeddings yourself"):
        Segmenter.from_pretrained(folders["zeg"]).query("cat, dog")


def test_a_whole_text_encoder_reads_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 8, "layers": 2}
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    clip = build_clip(16, vision, text, quick_gelu=True)
    released = checkpoint("zeg")
    state = {n: v for n, v in released["state_dict"].items() if not n.startswith("text_encoder.")}
    for name, value in clip.state_dict().items():
        if not name.startswith("visual.") and name != "logit_scale":
            state[f"text_encoder.{name}"] = value
    torch.save({**released, "state_dict": state}, tmp_path / "whole.pth")
    to_folder(tmp_path / "whole.pth", tmp_path / "out")
    bundle = load_bundle(tmp_path / "out")
    embeddings = bundle.clip.text_encoder(["cat", "grass"])
    with torch.no_grad():
        tokens = bundle.clip.tokenize(["a photo of a cat", "a photo of a grass"])
        expected = torch.nn.functional.normalize(clip.eval().encode_text(tokens), dim=-1)
    torch.testing.assert_close(embeddings, expected)
    picture = torch.zeros(3, 40, 70, dtype=torch.uint8)
    result = Segmenter.from_pretrained(tmp_path / "out")(picture, "cat, grass")
    assert result.labels.shape == (40, 70)


def test_the_program_as_a_person_calls_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cascade_clip", "convert"]
    out = tmp_path / "model"
    done = subprocess.run(
        [*command, DATA / "cascade_small.pth", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for said in ("Cascade-CLIP", "{6, 7, 8} {9, 10, 11} {12}", "class 3, class 5", "91 dropped"):
        assert said in done.stdout
    assert (out / "clip" / "open_clip_model.safetensors").is_file()


def test_options_say_what_the_checkpoint_does_not(run: Callable[..., Any], tmp_path: Path) -> None:
    content = checkpoint("cascade")
    content["meta"] = {"config": ""}
    torch.save(content, tmp_path / "bare.pth")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    options = {
        "--vision-heads": "2",
        "--decoder-heads": "4",
        "--inner-blocks": "6,7,8,9,10,11",
        "--class-names": str(tmp_path / "names.txt"),
        "--unseen": "class 3, class 5",
        "--score-offset": "0.2",
        "--templates": "many",
        "--crop": "64",
        "--stride": "48",
    }
    arguments = [part for option in options.items() for part in option]
    code, out, error = run(tmp_path / "bare.pth", tmp_path / "model", *arguments)
    assert (code, error) == (0, ""), out
    bundle = load_bundle(tmp_path / "model")
    assert bundle.recipe.inference.seen_score_offset == 0.2
    assert (bundle.recipe.inference.crop, bundle.recipe.inference.stride) == (64, 48)
    assert len(bundle.templates) == 15
    model = golden("cascade_small").model
    assert bundle.recipe.model.head == model.settings.head
    assert bundle.recipe.model.encoder == model.settings.encoder
    assert bundle.classes.unseen == ("class 3", "class 5")


class Evil:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def other_model(content: dict[str, Any]) -> None:
    content["state_dict"] = {"layer1.conv.weight": torch.ones(2), "fc.bias": torch.ones(2)}


def with_nan(content: dict[str, Any]) -> None:
    content["state_dict"]["backbone.proj"][0, 0] = torch.nan


def fewer_names(content: dict[str, Any]) -> None:
    content["meta"]["CLASSES"] = ("a", "b")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_model, "fc.bias, layer1.conv.weight"),
        (with_nan, "backbone.proj"),
        (fewer_names, "2 class names for the checkpoint's 7 classes"),
    ],
)
def test_bad_checkpoints_leave_nothing_behind(
    spoil: Callable[[dict[str, Any]], None], message: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    content = checkpoint("cascade")
    spoil(content)
    torch.save(content, tmp_path / "bad.pth")
    assert_refused(run, tmp_path, message)


def test_truncated_files_and_code_leave_nothing_behind(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    whole, bad = (DATA / "zeg_small.pth").read_bytes(), tmp_path / "bad.pth"
    bad.write_bytes(whole[: len(whole) // 2])
    assert_refused(run, tmp_path, "bad.pth is damaged")
    for rubbish in (b"rubbish\n", b"hello world\n", b""):
        bad.write_bytes(rubbish)
        assert_refused(run, tmp_path, "bad.pth is damaged, or no checkpoint")
    torch.save({"state_dict": {}, "meta": Evil(tmp_path / "executed")}, bad)
    assert_refused(run, tmp_path, "holds code, which is never run")


def assert_refused(run: Callable[..., Any], folder: Path, message: str) -> None:
    code, _, error = run(folder / "bad.pth", folder / "out" / "model")
    assert code == 2
    assert message in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["bad.pth"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unseen", "class 9"], "unseen class 9: not among the classes"),
        (["--inner-blocks", "6,x"], "inner-blocks are numbers"),
        (["--vision-heads", "5"], "5 vision heads"),
        (["--stride", "65"], "stride (65) is larger than crop (64)"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    code, _, error = run(DATA / "cascade_small.pth", tmp_path / "model", *options)
    assert code == 2 and message in error
    assert not list(tmp_path.iterdir())


def test_text_embeddings_of_another_width(folders: dict[str, Path]) -> None:
    model = cascade_clip.load_model(folders["zeg"])
    with pytest.raises(UserError, match=r"must be \(classes, 16\)"):
        model(torch.zeros(1, 3, 64, 64), torch.ones(7, 24))


def test_nothing_is_overwritten(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="exists already"):
        to_folder(DATA / "zeg_small.pth", folders["cascade"])
    assert load_bundle(folders["cascade"]).recipe.name == "cascade_small"
