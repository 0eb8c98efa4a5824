"""Any picture to RGB."""

import struct
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from cascade_clip.errors import UserError
from cascade_clip.io.find import reads_heif
from cascade_clip.io.images import TooManyPixels, read_picture, read_picture_bytes

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


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture(tmp_path: Path, suffix: str, orientation: int) -> None:
    # Blocks of 16 x 16 survive JPEG; no turn of them looks like another one.
    upright = np.kron(np.array([[250, 10, 200], [90, 160, 50]]), np.ones((16, 16))).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.repeat(stored[..., None], 3, axis=2))
    path = save(tmp_path, image, f"turned.{suffix}", exif=exif, quality=100)
    turned = read_picture(path)
    assert turned.shape == (32, 48, 3)
    assert np.abs(turned[..., 0].astype(int) - upright).max() <= 3


def test_damaged_exif_around_sound_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.repeat(GREY[..., None], 3, axis=2))
    path = save(tmp_path, image, "odd.jpg", exif=exif)
    whole = path.read_bytes()
    start = whole.index(b"Exif") + 6
    assert whole[start : start + 4] == b"MM\0*"
    for damaged in (b"XX\0*", b"MM\0\0"):
        path.write_bytes(whole[:start] + damaged + whole[start + 4 :])
        assert read_picture(path).shape == (2, 3, 3)


def png_of_sixteen_bits(colour_type: int, values: list[int]) -> bytes:
    """A PNG of one pixel; Pillow can't write these."""
    pixel = zlib.compress(b"\0" + np.array(values, ">u2").tobytes())
    header = png_of_size(1, 1, bits=16, colour_type=colour_type)
    return header + png_chunk(b"IDAT", pixel) + png_chunk(b"IEND", b"")


def png_of_size(width: int, height: int, bits: int = 8, colour_type: int = 2) -> bytes:
    """The beginning of a PNG."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def test_sixteen_bits_in_colour_and_with_transparency(tmp_path: Path) -> None:
    path = tmp_path / "16.png"
    expected = {
        (2, (0, 257 * 100, 65535)): [0, 100, 255],
        (4, (257 * 100, 65535)): [100, 100, 100],
        (4, (257 * 100, 0)): [255, 255, 255],
        (6, (0, 257 * 100, 65535, 65535)): [0, 100, 255],
    }
    for (colour_type, values), pixel in expected.items():
        path.write_bytes(png_of_sixteen_bits(colour_type, list(values)))
        assert read_picture(path)[0, 0].tolist() == pixel


def test_grey_with_transparency_lies_on_white(tmp_path: Path) -> None:
    bands = [Image.fromarray(np.array([row], np.uint8)) for row in ((0, 128, 40), (255, 0, 255))]
    path = save(tmp_path, Image.merge("LA", bands), "la.png")
    assert read_picture(path)[0].tolist() == [[0] * 3, [255] * 3, [40] * 3]


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
    for suffix in ("png", "jpg", "gif", "tiff", "webp", "bmp", "ppm", "avif"):
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


def test_whatever_a_decoder_raises_the_file_is_damaged(tmp_path: Path) -> None:
    """The AVIF decoder raises RuntimeError, others have raised other things."""
    whole = save(tmp_path, Image.new("RGB", (24, 24)), "whole.png")
    for error in (RuntimeError("decode"), MemoryError(), KeyError(7), RecursionError("deep")):
        with (
            mock.patch.object(PngImageFile, "load", side_effect=error),
            pytest.raises(UserError, match=r"whole\.png is damaged"),
        ):
            read_picture(whole)


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("1", (3000, 2000)), "wide.png")
    with pytest.raises(UserError, match="3,000 x 2,000"):
        read_picture(path, max_pixels=1_000_000)
    bomb = save(tmp_path, Image.new("1", (20_000, 20_000)), "bomb.png")
    with pytest.raises(UserError, match=r"bomb\.png"):
        read_picture(bomb)


@pytest.mark.parametrize("rest", ["", "IDAT", "damaged"])
def test_a_decompression_bomb_is_called_too_large(tmp_path: Path, rest: str) -> None:
    """A few bytes that declare billions of pixels."""
    data = png_of_size(60_000, 50_000) + (png_chunk(b"IDAT", b"") if rest == "IDAT" else b"")
    (tmp_path / "bomb.png").write_bytes(data[:-4] + b"????" if rest == "damaged" else data)
    bomb = r"bomb\.png has .* pixels; at most 150,000,000 are taken; shrink it first"
    with pytest.raises(TooManyPixels, match=bomb):
        read_picture(tmp_path / "bomb.png")
    with pytest.raises(TooManyPixels, match=r"60,000 x 50,000|3,000,000,000"):
        read_picture_bytes(data, max_pixels=1000)


def test_a_png_that_ends_with_its_header_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the picture is damaged or cut short"):
        read_picture_bytes(png_of_size(60, 50))


def test_bytes_are_read_as_files_are(tmp_path: Path) -> None:
    rotated = Image.fromarray(np.stack([GREY] * 3, axis=2))
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    path = save(tmp_path, rotated, "rotated.png", exif=exif)
    assert read_picture_bytes(path.read_bytes()).shape == (3, 2, 3)
    assert np.array_equal(read_picture_bytes(path.read_bytes()), read_picture(path))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"]
)
def test_bytes_that_are_no_picture_name_their_source(data: bytes) -> None:
    with pytest.raises(UserError, match="upload 'a'"):
        read_picture_bytes(data, "upload 'a'")


def test_too_many_pixels_are_told_apart(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("1", (200, 100)), "large.png")
    with pytest.raises(TooManyPixels, match="at most 19,999"):
        read_picture_bytes(path.read_bytes(), max_pixels=19_999)
    assert read_picture_bytes(path.read_bytes(), max_pixels=20_000).shape == (100, 200, 3)


def test_heif_is_read_where_its_package_is(tmp_path: Path) -> None:
    file = tmp_path / "a.HEIC"
    if not reads_heif():
        file.write_bytes(b"not looked at")
        with pytest.raises(UserError, match=r"a\.HEIC is HEIF, which pillow-heif reads"):
            read_picture(file)
        return
    pillow_heif = pytest.importorskip("pillow_heif")
    shown = Image.new("RGB", (64, 48), (200, 30, 40))
    pillow_heif.from_pillow(shown).save(file)
    assert np.abs(read_picture(file).astype(int) - (200, 30, 40)).max() < 12
