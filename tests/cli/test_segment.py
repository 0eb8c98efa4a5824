"""`segment` as a person calls it."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cascade_clip.batch.journal import Journal, JournalEntry
from cascade_clip.checkpoint.save import save_model
from cascade_clip.cli.app import main
from cascade_clip.clip.load import load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.io import images
from cascade_clip.io.folder_lock import hold_folder
from cascade_clip.io.images import RGBArray
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.picturebook import CLASSES, UNSEEN, draw_scene
from cascade_clip.segmenter import Segmenter
from cascade_clip.support.printable import unshown
from tests.damaged import damaged_avif


@pytest.fixture(scope="module")
def model(tiny_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    recipe = load_recipe("cascade-clip/picturebook/inductive", tiny_overrides)
    clip = load_clip(recipe.model.clip)
    network = SegmentationNetwork(clip.visual, recipe.model)
    folder = tmp_path_factory.mktemp("run") / "model"
    return save_model(folder, network, recipe, ClassSet(CLASSES, UNSEEN), clip)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(draw_scene(3, index, (40, 48)).image).save(folder / f"scene-{index}.png")
    return folder


class Call(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Segment = Callable[..., Call]


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Segment:
    """`cascade-clip segment ARGUMENTS` within this process."""

    def call(*arguments: str | Path) -> Call:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["cascade-clip", "segment", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        assert isinstance(code, int)
        return Call(code, *capsys.readouterr())

    return call


def test_a_folder_with_bad_files_among_good_ones(
    model: Path, photos: Path, segment: Segment
) -> None:
    (photos / "zero.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no picture")
    (photos / "cut.avif").write_bytes(damaged_avif())
    out = photos.parent / "out"
    options = ["--classes", "cat, grass|lawn, 고양이", "--save", "overlay, labels,coco,npz"]
    done = segment(photos, "--model", model, "--out", out, *options)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("skipped: ") == 3
    assert all(name in done.stderr for name in ("zero.png", "text.jpg", "cut.avif is damaged"))
    assert "Traceback" not in done.stderr
    assert "lawn" not in done.stdout  # named by the first of its names
    assert "고양이" in done.stdout and str(out) in done.stdout
    written = {file.name for file in out.iterdir()}
    results = ("overlay.png", "labels.png")
    expected = {f"scene-{i}-{kind}" for i in range(2) for kind in results}
    assert written == expected | {"scene-0.npz", "scene-1.npz", "coco.json", "segmented.jsonl"}
    record = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in record["images"]] == ["scene-0.png", "scene-1.png"]
    assert sum(annotation["area"] for annotation in record["annotations"]) == 2 * 40 * 48
    with Image.open(out / "scene-1-labels.png") as image:
        labels = np.load(out / "scene-1.npz")["labels"]
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("command", ["segment", "label"])
def test_each_picture_is_decoded_once(
    command: str, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = images._decode

    def counted(image: Image.Image, source: str) -> RGBArray:
        decoded.append(Path(source).name)
        return decode(image, source)

    def refused(array: RGBArray, max_pixels: int) -> RGBArray:
        raise AssertionError("decoded pixels were read again")

    monkeypatch.setattr(images, "_decode", counted)
    monkeypatch.setattr(images, "_from_array", refused)
    arguments = [str(photos), "--classes", "cat, sky", "--model", str(model), "--quiet"]
    sheet = ["--review", "0"] if command == "label" else []
    out = str(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["cascade-clip", command, *arguments, "--out", out, *sheet])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert sorted(decoded) == sorted(photo.name for photo in photos.iterdir())


def test_a_folder_that_another_command_writes_into_or_that_vanishes(
    model: Path, photos: Path, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = photos.parent / "out"
    with hold_folder(out):
        done = segment(photos, "--model", model, "--classes", "cat", "--out", out)
    assert done.returncode == 2 and "another command writes into" in done.stderr
    add = Journal.add

    def add_and_move(self: Journal, entry: JournalEntry, segments: object) -> None:
        add(self, entry, None)
        # Moved, not deleted: a writer may put a file there meanwhile. Gone since the first picture.
        with suppress(FileNotFoundError):
            out.rename(photos.parent / f"removed-{entry.name}")

    monkeypatch.setattr(Journal, "add", add_and_move)
    done = segment(photos, "--model", model, "--classes", "cat", "--out", out)
    assert done.returncode == 2 and "removed or replaced" in done.stderr


ODD_NAMES = (
    b"caf\xe9",
    b"a\x1b[31mb",
    "line\u2028break".encode(),
    "gnp\u202e".encode(),
    b"two\nlines",
)


def test_file_names_that_no_terminal_should_see(
    model: Path, photos: Path, segment: Segment
) -> None:
    folder = photos.parent / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        shutil.copy(photos / "scene-0.png", folder / os.fsdecode(name + b".png"))
        (folder / os.fsdecode(name + b"-broken.png")).write_bytes(b"no picture")
    out = photos.parent / "out"
    options = ["--model", model, "--out", out, "--classes", "cat", "--save", "coco,labels"]
    done = segment(folder, *options)
    assert done.returncode == 1
    assert done.stderr.count("skipped: ") == len(ODD_NAMES)
    assert all(
        name in done.stderr for name in (r"caf\xe9-broken", r"a\x1b[31mb-broken", r"two\nlines-b")
    )
    for line in (done.stdout + done.stderr).split("\n"):
        assert not unshown(line)
    assert {file.name for file in out.glob("*.png")} == {
        f"{name}-labels.png" for name in ("caf_", "a_[31mb", "line_break", "gnp_", "two_lines")
    }
    record = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    names = {os.fsencode(image["file_name"]) for image in record["images"]}
    assert names == {name + b".png" for name in ODD_NAMES}
    alone = segment(folder / os.fsdecode(b"caf\xe9-broken.png"), *options)
    assert alone.returncode == 2 and r"caf\xe9-broken.png is not a picture" in alone.stderr
    again = segment(folder, *options)
    assert f"0 pictures segmented, {len(ODD_NAMES)} before" in again.stdout


def test_background_and_quiet(model: Path, photos: Path, segment: Segment) -> None:
    out = photos.parent / "out"
    done = segment(
        photos / "scene-0.png", "--model", model, "--classes", "cat", "--threshold", "1.0",
        "--save", "labels", "--out", out, "--quiet",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(out / "scene-0-labels.png") as image:
        assert (np.asarray(image) == 255).any()


def test_masks_without_any_class_are_explained(model: Path, photos: Path, segment: Segment) -> None:
    options = ("--model", model, "--classes", "cat", "--out", photos.parent / "out")
    nothing = segment(photos / "scene-0.png", *options, "--threshold", "1.0")
    assert nothing.returncode == 0 and "no pixel has a class" in nothing.stderr
    everything = segment(photos / "scene-0.png", *options, "--threshold", "0.0", "--overwrite")
    assert everything.returncode == 0 and "no pixel" not in everything.stderr


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ("nowhere.png", [], "no such picture"),
        ("empty.png", [], "empty (0 bytes)"),
        (".", ["--classes", " , "], "no class names"),
        (".", ["--classes", "cat, Cat"], "twice"),
        (".", ["--classes", "cat,\u200b"], "empty class name"),
        (".", ["--classes", "cat,,dog"], "empty class name"),
        (".", ["--classes", "가" * 10_000], "too long: 10,000 characters"),
        (".", ["--classes", "cat", "--save", "gif"], "--save takes"),
        (".", ["--classes", "cat", "--model", "nowhere"], "nowhere"),
        (".", ["--classes", "cat", "--model", "nowhere.onnx"], "no such file: nowhere.onnx"),
        (".", ["--classes", "cat", "--save", "overlays"], "did you mean 'overlay'"),
        (".", ["--classes", "cat", "--fps", "0"], "--fps is a number above 0"),
        (".", ["--classes", "cat", "--fps", "2"], "--fps chooses the frames of videos; none is"),
        (".", ["--classes", "cat", "--every", "2"], "--every chooses the frames of videos"),
        (".", ["--classes", "cat", "--fps", "2", "--every", "3"], "give one of them"),
    ],
)
def test_mistakes_take_one_line_and_exit_code_2(
    model: Path, photos: Path, segment: Segment, pictures: str, options: list[str], message: str
) -> None:
    if pictures == "empty.png":
        (photos / pictures).write_bytes(b"")
    out = photos.parent / "out"
    done = segment(photos / pictures, "--model", model, "--out", out, *options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not out.exists()


def test_an_output_folder_that_is_a_file(model: Path, photos: Path, segment: Segment) -> None:
    blocked = photos.parent / "blocked"
    blocked.write_text("")
    done = segment(photos, "--model", model, "--classes", "cat", "--out", blocked, "--quiet")
    assert done.returncode == 2
    assert "blocked is a file, not a folder" in done.stderr


def test_as_a_program_of_its_own(photos: Path) -> None:
    code = "from cascade_clip.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "segment", str(photos), "--classes", "cat, Cat,"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: class name 'Cat' is given twice; name each class once\n"


def test_mistakes_do_not_wait_for_torch(photos: Path) -> None:
    code = (
        "import sys; from cascade_clip.cli.app import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    code += "sys.exit('torch' in sys.modules)"
    for mistake in (["--help"], [str(photos), "--model", "nowhere"], [str(photos / "no.png")]):
        arguments = [sys.executable, "-c", code, "segment", *mistake]
        assert subprocess.run(arguments, check=False, capture_output=True).returncode == 0, mistake


def test_a_folder_that_cannot_be_written_to(photos: Path, segment: Segment) -> None:
    (photos.parent / "file").write_text("")
    done = segment(photos, "--out", photos.parent / "file" / "out", "--classes", "cat")
    assert done.returncode == 2
    assert "can't write to" in done.stderr and "model:" not in done.stderr  # before it is loaded


def results(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in out.glob("*.png")}


def test_a_repeated_command_goes_on_where_it_was(
    model: Path, photos: Path, segment: Segment
) -> None:
    out = photos.parent / "out"
    common = [photos, "--model", model, "--out", out]
    cat = ["--classes", "cat, grass"]
    assert segment(*common, *cat).returncode == 0
    first = results(out)

    Image.fromarray(draw_scene(3, 7, (40, 48)).image).save(photos / "scene-2.png")
    (out / "scene-1-overlay.png").unlink()
    journal = out / "segmented.jsonl"
    journal.write_text(journal.read_text() + '{"name": "cut sho')
    again = segment(*common, *cat)
    assert again.returncode == 0
    assert "2 pictures segmented, 1 before (--overwrite segments it again); " in again.stdout
    second = results(out)
    assert set(second) == {f"scene-{index}-overlay.png" for index in range(3)}
    assert second["scene-0-overlay.png"] == first["scene-0-overlay.png"]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line.get("name") for line in lines] == [None, "scene-0", "scene-1", "scene-2"]
    assert sum(lines[1]["shares"].values()) == pytest.approx(1)

    Image.fromarray(draw_scene(3, 8, (40, 48)).image).save(photos / "scene-2.png")
    changed, nothing = segment(*common, *cat), segment(*common, *cat)
    assert "\n1 picture segmented, 2 before (--overwrite segments them again); " in changed.stdout
    assert "\n0 pictures segmented, 3 before" in nothing.stdout
    assert "before" not in segment(*common, *cat, "--overwrite").stdout
    assert "before" not in segment(*common, "--classes", "cat, sky").stdout
    assert "before" not in segment(*common, "--classes", "cat, sky", "--threshold", "0.4").stdout

    coco = ["--classes", "cat, sky", "--threshold", "0.4", "--save", "overlay,coco"]
    assert "before" not in segment(*common, *coco).stdout  # no records were kept
    assert "segmented, 3 before" in segment(*common, *coco).stdout
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 3


def test_results_of_other_settings_are_never_mixed_in(
    model: Path, photos: Path, segment: Segment
) -> None:
    out = photos.parent / "out"
    common = ["--model", model, "--out", out]
    both = ["--save", "labels,overlay,coco,npz"]
    cat, grass = ["--classes", "cat, sky"], ["--classes", "grass, sky, house"]
    assert segment(photos, *common, *cat, *both).returncode == 0
    first = results(out)
    (out / "mine.txt").write_bytes(b"")

    one = segment(photos / "scene-0.png", *common, *grass)
    assert one.returncode == 2 and one.stderr.count("\n") == 1
    assert str(photos) not in one.stderr
    for part in (
        "2 pictures",
        "classes 'cat, sky', now it is 'grass",
        "scene-1.png",
        "--overwrite",
    ):
        assert part in one.stderr
    lower = segment(photos / "scene-0.png", *common, *cat, "--precision", "auto")
    assert lower.returncode == 2 and "made with precision fp32, now it is auto" in lower.stderr
    assert results(out) == first

    other = segment(photos, *common, *grass, "--save", "labels")
    assert "replaced: results of 2 pictures, made with classes 'cat, sky'" in other.stderr
    names = {file.name for file in out.iterdir()}
    assert names == {"scene-0-labels.png", "scene-1-labels.png", "segmented.jsonl", "mine.txt"}
    (out / "scene-0-overlay.png").write_bytes(b"whatever")  # not of these settings: not asked for
    assert segment(photos, *common, *grass, *both).returncode == 0
    assert (out / "scene-0-overlay.png").stat().st_size > 100
    assert not results(out).items() & first.items()
    before = (out / "scene-0-overlay.png").read_bytes()
    assert segment(photos, *common, *grass, *both, "--overwrite").returncode == 0
    assert (out / "scene-0-overlay.png").read_bytes() == before

    forced = segment(photos / "scene-0.png", *common, *cat, "--overwrite")
    assert forced.returncode == 0
    names = {file.name for file in out.iterdir()}
    assert names == {"scene-0-overlay.png", "segmented.jsonl", "mine.txt"}


def test_results_of_a_changed_picture_go(model: Path, photos: Path, segment: Segment) -> None:
    out = photos.parent / "out"
    common = [photos, "--model", model, "--out", out, "--classes", "cat, sky"]
    assert segment(*common, "--save", "overlay,coco").returncode == 0
    Image.fromarray(draw_scene(3, 8, (44, 48)).image).save(photos / "scene-1.png")
    assert segment(*common, "--save", "labels").returncode == 0
    names = {file.name for file in out.iterdir()}
    labels = {"scene-0-labels.png", "scene-1-labels.png"}
    assert names == labels | {"scene-0-overlay.png", "coco.json", "segmented.jsonl"}
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["scene-0.png"]


def test_pictures_of_two_folders_share_an_out(model: Path, photos: Path, segment: Segment) -> None:
    out, more = photos.parent / "out", photos.parent / "more"
    more.mkdir()
    Image.fromarray(draw_scene(3, 5, (44, 48)).image).save(more / "scene-1.png")
    common = ["--model", model, "--out", out, "--classes", "cat, sky", "--save", "labels,coco"]
    assert segment(photos, *common).returncode == 0
    first = results(out)
    assert segment(more, *common).returncode == 0
    assert set(results(out)) == {*first, "scene-1-2-labels.png"}
    assert results(out).items() >= first.items()
    images = json.loads((out / "coco.json").read_text())["images"]
    listed = [(image["file_name"], image["height"]) for image in images]
    assert listed == [("scene-0.png", 40), ("scene-1.png", 40), ("scene-1-2.png", 44)]
    again = segment(more, photos, *common)
    assert "segmented, 3 before" in again.stdout


def test_results_beside_the_pictures_are_not_segmented(
    model: Path, photos: Path, segment: Segment
) -> None:
    common = [photos, "--model", model, "--out", photos, "--classes", "cat"]
    assert segment(*common).returncode == 0
    assert "0 pictures segmented, 2 before" in segment(*common).stdout
    assert not list(photos.glob("*-overlay-overlay.png"))


def test_other_weights_are_another_model(model: Path, photos: Path, segment: Segment) -> None:
    copy = photos.parent / "copy"
    shutil.copytree(model, copy)
    options = ["--model", copy, "--out", photos.parent / "out", "--classes", "cat"]
    assert segment(photos, *options).returncode == 0
    assert "segmented, 2 before" in segment(photos, *options).stdout
    weights = load_file(copy / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, copy / "model.safetensors")
    assert "before" not in segment(photos, *options).stdout


def test_a_list_on_standard_input(
    model: Path, photos: Path, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = photos.parent / "out"
    names = [photos / "scene-1.png", photos / "gone.png", "", photos / "scene-0.png"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(map(str, names)) + "\n"))
    done = segment("-", "--model", model, "--out", out, "--classes", "cat", "--save", "coco")
    assert done.returncode == 1
    assert "skipped: no such picture" in done.stderr and "gone.png" in done.stderr
    record = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in record["images"]] == ["scene-1.png", "scene-0.png"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "names no pictures" in segment("-", "--model", model, "--out", out).stderr


def write_film(path: Path, frames: int, rate: int = 4) -> list[np.ndarray]:
    """A film of drawn scenes, and its frames as they come back."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)  # lossless
        stream.width, stream.height, stream.pix_fmt = 48, 40, "bgr0"
        for index in range(frames):
            image = draw_scene(5, index, (40, 48)).image
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return [draw_scene(5, index, (40, 48)).image for index in range(frames)]


def test_films(model: Path, photos: Path, segment: Segment) -> None:
    out, film = photos.parent / "out", photos / "film.mkv"
    images = write_film(film, frames=9)
    common = [film, "--model", model, "--out", out, "--classes", "cat, grass, sky"]
    done = segment(*common, "--every", "4", "--save", "npz,coco")
    assert done.returncode == 0, done.stderr
    assert "3 pictures segmented" in done.stdout
    assert {file.name for file in out.glob("*.npz")} == {f"film-00000{i}.npz" for i in (0, 4, 8)}
    expected = Segmenter.from_pretrained(model)(images[4], "cat, grass, sky").labels
    assert np.mean(np.load(out / "film-000004.npz")["labels"] == expected) > 0.999
    record = json.loads((out / "coco.json").read_text())
    assert record["images"][1]["file_name"] == "film-000004.png"

    more = segment(*common, "--fps", "2", "--save", "npz")  # 4 a second: each second frame
    assert "segmented, 3 before" in more.stdout
    assert {file.stem[-1] for file in out.glob("*.npz")} == set("02468")


def test_frames_beside_pictures_of_their_names(model: Path, photos: Path, segment: Segment) -> None:
    write_film(photos / "film.mkv", frames=2)
    Image.fromarray(draw_scene(3, 5, (44, 48)).image).save(photos / "film-000000.png")
    out = photos.parent / "out"
    files = [photos / "film.mkv", photos / "film-000000.png"]
    common = ["--model", model, "--out", out, "--classes", "cat", "--save", "npz"]
    assert segment(*files, *common).returncode == 0
    shapes = {file.stem: np.load(file)["labels"].shape for file in out.glob("*.npz")}
    frames = {"film-000000": (40, 48), "film-000001": (40, 48)}
    assert shapes == {**frames, "film-000000-2": (44, 48)}
    assert "segmented, 3 before" in segment(*reversed(files), *common).stdout


def test_damaged_films_among_pictures(model: Path, photos: Path, segment: Segment) -> None:
    write_film(photos / "film.mkv", frames=9)
    data = (photos / "film.mkv").read_bytes()
    (photos / "film.mkv").write_bytes(data[: len(data) // 2])
    (photos / "none.mp4").write_bytes(b"no film")
    out = photos.parent / "out"
    files = [photos / "film.mkv", photos / "none.mp4", photos / "scene-0.png"]
    done = segment(*files, "--model", model, "--out", out, "--classes", "cat, sky")
    assert done.returncode == 1
    assert "none.mp4 is damaged or no video" in done.stderr
    assert (out / "film-000000-overlay.png").exists() and (out / "scene-0-overlay.png").exists()


def test_odd_pictures(model: Path, photos: Path, segment: Segment) -> None:
    """A dot, a line, a bomb, half a file, an animation and a folder named like a picture."""
    for file in photos.iterdir():
        file.unlink()
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    Image.new("L", (10_000, 1)).save(photos / "line.png")
    scenes = [Image.fromarray(draw_scene(3, i, (40, 48)).image) for i in range(2)]
    scenes[0].save(photos / "moving.gif", save_all=True, append_images=scenes[1:])
    data = (photos / "moving.gif").read_bytes()
    (photos / "half.gif").write_bytes(data[: len(data) // 4])
    (photos / "bomb.png").write_bytes(_png_header(60_000, 60_000))
    (photos / "folder.png").mkdir()
    out = photos.parent / "out"
    done = segment(photos, "--model", model, "--out", out, "--classes", "cat, sky", "--save", "npz")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    shapes = {file.stem: np.load(file)["labels"].shape for file in out.glob("*.npz")}
    assert shapes == {"dot": (1, 1), "line": (1, 10_000), "moving": (40, 48)}
    skipped = [line for line in done.stderr.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 2
    assert "10000 x 1 pixels" in done.stderr and "shrunk" in done.stderr


def _png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (head, b"IDAT")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_ten_thousand_classes(model: Path, photos: Path, segment: Segment) -> None:
    names = ", ".join(f"thing {index}" for index in range(10_000))
    out = photos.parent / "out"
    options = ["--model", model, "--out", out, "--classes", names, "--save", "labels"]
    done = segment(photos / "scene-0.png", *options)
    assert done.returncode == 0, done.stderr
    with Image.open(out / "scene-0-labels.png") as image:
        assert image.mode.startswith("I;16") and np.asarray(image).max() < 10_000
