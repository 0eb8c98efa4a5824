"""Commands on any CLIP, without training."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.checkpoint.source import ModelSource, read_source
from cascade_clip.cli.app import main
from cascade_clip.errors import UserError
from cascade_clip.segmenter import Segmenter


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "cat.png"
    path.parent.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`cascade-clip ARGUMENTS` within this process: its exit status."""

    def call(*arguments: object) -> int:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["cascade-clip", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


def test_segment_gives_what_the_segmenter_gives(
    run: Run,
    photo: Path,
    tmp_path: Path,
    tiny_clip_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, clip = tmp_path / "out", f"local-dir:{tiny_clip_folder}"
    names = "cat, dog, wall"
    options = ("--classes", names, "--clip", clip, "--method", "naclip", "--save", "npz")
    assert run("segment", photo, *options, "--out", out) == 0
    told = capsys.readouterr().err
    assert "every pixel takes one of the 3 names; with --background" in told
    expected = Segmenter.from_clip(clip, method="naclip")(photo, names).labels
    assert np.array_equal(np.load(out / "cat.npz")["labels"], expected)
    # The same again is done already; another method, or background, is another result.
    assert run("segment", photo, *options, "--out", out) == 0
    assert "1 before" in capsys.readouterr().out
    other = ("--classes", names, "--clip", clip, "--save", "npz", "--background-names", "usual")
    assert run("segment", photo, *other, "--out", out, "--overwrite") == 0
    told = capsys.readouterr().err
    assert "made with another model" in told
    assert "every pixel" not in told
    expected = Segmenter.from_clip(clip)(photo, names, background_names=True).labels
    assert np.array_equal(np.load(out / "cat.npz")["labels"], expected)


def test_settings_of_inference_change_the_labels_and_are_remembered(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, names, out = "examples/scene.png", "cat, house, grass, sky", tmp_path / "out"
    options = ("--classes", names, "--clip", "picturebook", "--save", "npz", "--out", out)
    changes = ("--set", "inference.refine=pamr", "--set", "inference.short_side=120")
    inference: dict[str, object] = {"refine": "pamr", "short_side": 120}
    assert run("segment", scene, *options, *changes) == 0
    found = np.load(out / "scene.npz")["labels"]
    assert np.array_equal(found, drawn_labels(scene, names, inference))
    for key, value in inference.items():
        assert not np.array_equal(found, drawn_labels(scene, names, {key: value}))
    capsys.readouterr()
    assert run("segment", scene, *options, *changes[:2]) == 0
    assert "made with inference.short_side 120, now it is left out" in capsys.readouterr().err


def drawn_labels(scene: str, names: str, inference: dict[str, object]) -> object:
    return Segmenter.from_clip("picturebook", inference=inference)(scene, names).labels


def test_settings_that_contradict_the_recipe_are_told() -> None:
    with pytest.raises(UserError, match=r"^inference: refine needs scores: softmax"):
        Segmenter.from_pretrained("picturebook", inference={"refine": "pamr"})
    with pytest.raises(UserError, match=r"'inference.refin'; did you mean 'inference.refine'"):
        Segmenter.from_pretrained("picturebook", inference={"refin": "pamr"})
    with pytest.raises(UserError, match=r"^inference.short_side: expected a whole number"):
        Segmenter.from_pretrained("picturebook", inference={"short_side": "small"})
    with pytest.raises(UserError, match=r"settings by name, e.g. {'refine': 'pamr'}; got 'refine'"):
        Segmenter.from_clip("picturebook", inference="refine")  # type: ignore[arg-type]


def test_a_single_name_does_not_fill_the_picture(
    run: Run, photo: Path, tmp_path: Path, tiny_clip_folder: Path
) -> None:
    out = tmp_path / "[" / "mine]"  # what tables and messages must not read as markup
    clip = f"local-dir:{tiny_clip_folder}"
    assert run("label", photo, "--classes", "cat", "--clip", clip, "--out", out, "-q") == 0
    labels = np.array(Image.open(out / "masks" / "cat.png"))
    assert (labels == 255).any()


@pytest.mark.parametrize(
    ("model", "clip", "method", "message"),
    [
        ("picturebook", None, "naclip", "needs a CLIP; add --clip"),
        ("runs/mine", "ViT-B-16/openai", None, "give one of them"),
        ("picturebook", "ViT-B-16/openai", "naklip", "did you mean 'naclip'"),
        ("picturebook", "ViT-B-16", None, "ViT-B-16/openai"),
        ("picturebook", "nothing.pt", None, "no weights file"),
    ],
)
def test_mistakes_are_told_in_a_line(
    model: str, clip: str | None, method: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_source(model, clip, method)


def test_workers_elsewhere_get_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_clip_folder: Path
) -> None:
    monkeypatch.chdir(tiny_clip_folder.parent)
    local = ModelSource(clip=f"local-dir:{tiny_clip_folder.name}")
    assert local.absolute().clip == f"local-dir:{tiny_clip_folder}"
    assert ModelSource(clip="ViT-B-16/openai").absolute().clip == "ViT-B-16/openai"
    Path("w.pt").touch()
    whole = str(Path("w.pt").resolve())
    assert ModelSource(clip="w.pt").absolute().clip == whole
    assert ModelSource(clip="ViT-B-16:w.pt").absolute().clip == f"ViT-B-16:{whole}"


def test_evaluate_puts_methods_side_by_side(
    run: Run, tmp_path: Path, tiny_clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = f"local-dir:{tiny_clip_folder}", tmp_path / "all.json"
    options = ("--clip", clip, "--data", "picturebook", "--scenes", "1", "--quiet")
    assert run("evaluate", *options, "--method", "clearclip,clip", "--out", out) == 0
    table = capsys.readouterr().out
    assert table.index("clearclip") < table.index("clip ")
    content = json.loads(out.read_text())
    assert list(content["metrics"]) == ["clearclip/picturebook", "clip/picturebook"]
    assert content["inference"]["scores"] == "softmax"
    for arguments, message in (
        (("--method", "clip"), "needs a CLIP"),
        (("--clip", clip), "needs data"),
        (("--clip", clip, "--data", "picturebook", "--raw-clip"), "are for trained models"),
        (("--clip", clip, "--data", "picturebook", "--method", "klip"), "did you mean 'clip'"),
        (("--clip", clip, "--data", "picturebook", "--root", tmp_path), "use --data alone"),
        (("--clip", clip, "--data", "picturebook", "--background", "class"), "masks of your own"),
        ((), "give a model or run folder"),
    ):
        assert run("evaluate", *arguments) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_evaluate_on_masks_in_which_0_is_the_background(
    run: Run, tmp_path: Path, tiny_clip_folder: Path
) -> None:
    root, out = tmp_path / "own", tmp_path / "metrics.json"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(root / "images" / "a.png")
    Image.fromarray(np.repeat(np.uint8([[0, 1, 2, 2]]), 10, axis=1).repeat(40, axis=0)).save(
        root / "masks" / "a.png"
    )
    for name, text in (("classes", "cat\nsky"), ("train", "a"), ("val", "a")):
        (root / f"{name}.txt").write_text(f"{text}\n")
    options = ("evaluate", "--clip", f"local-dir:{tiny_clip_folder}", "--data", root, "--out", out)
    assert run(*options, "-q") == 2  # labels up to 2, but two names
    assert run(*options, "-q", "--background", "ignore") == 0
    (found,) = json.loads(out.read_text())["metrics"].values()
    assert found["iou_per_class"].keys() == {"cat", "sky"}
