"""Reads any picture into RGB, upright, 8 bits a channel."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from cascade_clip.errors import UserError, first_line
from cascade_clip.io.find import HEIF_SUFFIXES, reads_heif
from cascade_clip.support.messages import install_line

Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[np.generic] | Tensor
"""What is taken for a picture: a path, a PIL image, an array (H,W), (H,W,1), (H,W,3) or (H,W,4) of
uint8, or a tensor (3,H,W) of uint8 or of floats in [0, 1]."""

RGBArray = npt.NDArray[np.uint8]
"""(H, W, 3)"""

MAX_PIXELS = 150_000_000
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that are read from bytes: those with a suffix above. Others run
programs (EPS) or are no pictures that people send."""

_PNG_HEADER = 24
"""Bytes of a PNG up to and with its size."""

# What turns a stored picture upright, by its EXIF orientation; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooManyPixels(UserError):
    """A picture is larger than allowed."""


def read_picture(picture: Picture, *, max_pixels: int = MAX_PIXELS) -> RGBArray:
    """The picture as an array (H, W, 3) of uint8.

    Files are turned upright by their EXIF orientation; of an animation the first frame is taken;
    transparent parts lie on white; grey, palette, CMYK, 16-bit and 1-bit pictures become RGB.

    Raises `UserError` naming the file for anything that is no readable picture, or has more than
    `max_pixels` pixels (read from its header, before decoding).
    """
    if isinstance(picture, Image.Image):
        _check_size(picture.width, picture.height, "the picture", max_pixels)
        with _decoding("the picture", max_pixels):  # it may still lie in a file
            return _decode(picture, "the picture")
    if isinstance(picture, Tensor):
        return _from_tensor(picture, max_pixels)
    if isinstance(picture, np.ndarray):
        return _from_array(picture, max_pixels)
    if isinstance(picture, (str, os.PathLike)):
        return _from_file(Path(picture), max_pixels)
    raise UserError(
        f"a picture is a path, a PIL image, an array (H,W,3) or a tensor (3,H,W), not a "
        f"{type(picture).__name__}"
    )


def read_picture_bytes(
    data: bytes, name: str = "the picture", *, max_pixels: int = MAX_PIXELS
) -> RGBArray:
    """The picture in the bytes of a file, as `read_picture` reads files; `name` is for messages.

    For untrusted bytes: formats with a suffix among `find.PICTURE_SUFFIXES` only.
    """
    if not data:
        raise UserError(f"{name} is empty (0 bytes)")
    Image.init()
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    with open_picture(BytesIO(data), name, max_pixels=max_pixels, formats=formats) as image:
        return _decode(image, name)


def is_turned(path: Path) -> bool:
    """Whether a picture file is stored otherwise than upright. Raises `UserError`."""
    with open_picture(path, str(path)) as image:
        return image.getexif().get(ExifTags.Base.Orientation) in _TURNS


def picture_names(picture: Picture, index: int) -> tuple[str, str | None]:
    """Of a path the stem and the name of its file, else `picture-INDEX` and None."""
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture).stem, Path(picture).name
    return f"picture-{index}", None


@contextmanager
def open_picture(
    source: Path | BytesIO,
    name: str,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: list[str] | None = None,
) -> Iterator[Image.Image]:
    """A file of at most `max_pixels`, open; `name` is what messages call it.

    Whatever a decoder raises, here or in the body, is a `UserError`: the file is missing, no
    picture, too large or damaged.
    """
    with _decoding(name, max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size is checked here; other warnings are useless
        if isinstance(source, Path) and source.suffix.lower() in HEIF_SUFFIXES:
            _register_heif(name)
        try:
            image = Image.open(source, formats=formats)
        except UnidentifiedImageError as error:
            if (size := _png_size(source)) is not None:
                _check_size(*size, name, max_pixels)
                raise UserError(f"{name} is damaged or cut short") from error
            raise UserError(f"{name} is not a picture of any known format") from error
        with image:
            _check_size(image.width, image.height, name, max_pixels)
            yield image


def _register_heif(name: str) -> None:
    """Lets Pillow open HEIF. Raises `UserError` without pillow-heif."""
    if not reads_heif():
        raise UserError(f"{name} is HEIF, which pillow-heif reads: {install_line('heif')}")
    from pillow_heif import register_heif_opener

    register_heif_opener()


@contextmanager
def _decoding(name: str, max_pixels: int) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name} is missing: there is no such file") from error
    except PermissionError as error:
        raise UserError(f"{name} can't be read: permission denied") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit; its words hold the number
        declared = re.search(r"(\d+) pixels", str(error))
        pixels = f"{int(declared[1]):,}" if declared else "too many"
        raise TooManyPixels(
            f"{name} has {pixels} pixels; at most {max_pixels:,} are taken; shrink it first"
        ) from error
    except MemoryError as error:
        raise UserError(f"{name} is damaged, or needs more memory than there is") from error
    except Exception as error:  # decoders raise nearly anything on files that aren't sound
        raise UserError(f"{name} is damaged or cut short: {first_line(error)}") from error


def _from_file(path: Path, max_pixels: int) -> RGBArray:
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a picture")
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise UserError(f"no such picture: {path}") from error
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes)")
    with open_picture(path, str(path), max_pixels=max_pixels) as image:
        return _decode(image, str(path))


def _png_size(source: Path | BytesIO) -> tuple[int, int] | None:
    """(width, height) that the header of a PNG declares, whatever comes after it."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(_PNG_HEADER)
    else:
        head = source.getvalue()[:_PNG_HEADER]
    if len(head) < _PNG_HEADER or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:])
    return width, height


def _decode(image: Image.Image, source: str) -> RGBArray:
    upright = _upright(image)
    if upright.mode == "F" or upright.mode.startswith("I"):
        grey = _grey_to_8_bits(np.asarray(upright), source)  # (H, W)
        return np.repeat(grey[..., None], 3, axis=2)  # (H, W, 3)
    if upright.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in upright.info:
        upright = _on_white(upright)
    try:
        return np.array(upright.convert("RGB"))  # (H, W, 3)
    except ValueError as error:
        raise UserError(f"{source}: colour mode {upright.mode} can't be read as RGB") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; damaged ones, around sound pixels, say nothing."""
    image.load()  # Pillow turns TIFFs itself when it loads them
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever the reader of EXIF raises on them
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, rgba)


def _grey_to_8_bits(grey: npt.NDArray[np.generic], source: str) -> npt.NDArray[np.uint8]:
    """Integers are read as 16-bit (0..65535), floats as 0..1 or, with larger values, 0..255."""
    values = grey.astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{source} holds values that are not numbers (NaN or infinite)")
    if grey.dtype.kind == "f":
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


def _from_array(array: npt.NDArray[np.generic], max_pixels: int) -> RGBArray:
    if array.dtype != np.uint8:
        raise UserError(f"picture arrays hold uint8 values 0..255, got {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise UserError(f"picture arrays are (H,W), (H,W,3) or (H,W,4), got {array.shape}")
    _check_size(array.shape[1], array.shape[0], f"the array {array.shape}", max_pixels)
    if array.ndim == 3 and array.shape[2] == 3:
        return np.array(array, dtype=np.uint8, order="C")
    return _decode(Image.fromarray(array), "the array")


def _from_tensor(tensor: Tensor, max_pixels: int) -> RGBArray:
    shape = tuple(tensor.shape)
    if tensor.ndim != 3 or shape[0] != 3:
        raise UserError(f"picture tensors are (3,H,W), got {shape}; pass a batch as a list")
    _check_size(shape[2], shape[1], f"the tensor {shape}", max_pixels)
    values = tensor.detach().cpu()
    if values.is_floating_point():
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise UserError(
                "float picture tensors hold values in [0, 1]; divide by 255 or pass uint8, and "
                "don't normalise: that is done inside"
            )
        values = (values * 255).round().to(torch.uint8)
    if values.dtype != torch.uint8:
        raise UserError(f"picture tensors are uint8 or float, got {values.dtype}")
    return values.permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)


def _check_size(width: int, height: int, source: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise UserError(f"{source} has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise TooManyPixels(
            f"{source} has {width:,} x {height:,} pixels; at most {max_pixels:,} are taken; "
            "shrink it first"
        )
