"""Any picture to RGB."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.errors import UserError
from cascade_clip.imageio import read_picture, write_whole

GREY = np.array([[0, 100, 255], [10, 20, 30]], dtype=np.uint8)


def save(tmp_path: Path, image: Image.Image, name: str, **options: object) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_grey_palette_and_one_bit_pictures_become_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(GREY)
    expected = np.repeat(GREY[..., None], 3, axis=2)
    assert np.array_equal(read_picture(save(tmp_path, grey, "grey.png")), expected)
    assert np.array_equal(read_picture(save(tmp_path, grey.convert("P"), "p.png")), expected)
    one_bit = Image.fromarray(GREY > 50)
    assert read_picture(save(tmp_path, one_bit, "1.png")).max() == 255


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = (0, 255, 51)
    path = save(tmp_path, Image.fromarray(rgba), "rgba.png")
    assert read_picture(path)[0, :, 0].tolist() == [255, 0, 204]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    path = save(tmp_path, palette, "palette.png", transparency=0)
    assert read_picture(path)[0, :, 0].tolist() == [255, 9]


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    path = save(tmp_path, Image.fromarray(values), "16.png")
    assert read_picture(path)[0, :, 1].tolist() == [0, 100, 255]


def test_floats_keep_their_range(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.4, 1.0]], dtype=np.float32)
    path = save(tmp_path, Image.fromarray(values), "float.tiff")
    assert read_picture(path)[0, :, 0].tolist() == [0, 102, 255]


def test_cmyk(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "cmyk.jpg", quality=95)
    red, green, blue = read_picture(path)[4, 4].astype(int)
    assert red > 200 > 60 > max(green, blue)


def test_exif_orientation_turns_the_picture(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(GREY[..., None], 3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    path = save(tmp_path, image, "turned.png", exif=exif)
    turned = read_picture(path)
    assert turned.shape == (3, 2, 3)
    assert np.array_equal(turned[..., 0], np.rot90(GREY, -1))


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert read_picture(path)[0, 0].tolist() == [255, 0, 0]


def test_arrays_tensors_and_images_read_the_same() -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for picture in (array, Image.fromarray(array), tensor, tensor.float() / 255):
        assert np.array_equal(read_picture(picture), array)
    grey = read_picture(array[..., 0])
    assert np.array_equal(grey[..., 2], array[..., 0])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4, 3)), "uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (torch.zeros(1, 3, 4, 4), "batch as a list"),
        (torch.full((3, 4, 4), 2.0), r"\[0, 1\]"),
        (torch.full((3, 4, 4), torch.nan), r"\[0, 1\]"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (7, "int"),
    ],
)
def test_what_is_no_picture_is_refused(picture: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_picture(picture)  # type: ignore[arg-type]


def test_bad_files_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = save(tmp_path, Image.fromarray(noise), "whole.png").read_bytes()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.png").mkdir()
    jpeg = save(tmp_path, Image.fromarray(noise), "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    expected = {
        "empty.png": "empty",
        "text.jpg": "not a picture",
        "cut.png": "damaged",
        "cut.jpg": "damaged",
        "folder.png": "folder",
        "missing.png": "no such picture",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message) as caught:
            read_picture(tmp_path / name)
        assert name in str(caught.value)


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    """Damaged files give a picture or a `UserError`, whatever is damaged."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "gif", "tiff", "webp", "bmp"):
        whole = bytearray(save(tmp_path, noise, f"whole.{suffix}").read_bytes())
        for trial in range(40):
            damaged = bytearray(whole)
            for position in rng.integers(0, len(damaged), 6):
                damaged[position] = rng.integers(256)
            path = tmp_path / f"{trial}.{suffix}"
            path.write_bytes(damaged)
            try:
                assert read_picture(path).ndim == 3
            except UserError as error:
                assert path.name in str(error)


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("1", (3000, 2000)), "wide.png")
    with pytest.raises(UserError, match="3,000 x 2,000"):
        read_picture(path, max_pixels=1_000_000)
    bomb = save(tmp_path, Image.new("1", (20_000, 20_000)), "bomb.png")
    with pytest.raises(UserError, match=r"bomb\.png"):
        read_picture(bomb)


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
