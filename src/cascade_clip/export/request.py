"""What may be asked of an export; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, get_args

from cascade_clip.checkpoint.locate import ONNX_SUFFIX, TORCH_EXPORT_SUFFIX
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean

Format = Literal["onnx", "torch-export"]
ExportPrecision = Literal["fp32", "fp16"]

SUFFIXES: dict[Format, str] = {"onnx": ONNX_SUFFIX, "torch-export": TORCH_EXPORT_SUFFIX}


def read_format(text: str) -> Format:
    """Raises `UserError` for an unknown format."""
    if text not in SUFFIXES:
        raise UserError(
            f"the format is {' or '.join(SUFFIXES)}, got '{text}'{did_you_mean(text, SUFFIXES)}"
        )
    return text


def read_precision(text: str) -> ExportPrecision:
    """Raises `UserError` for an unknown precision."""
    known: tuple[str, ...] = get_args(ExportPrecision)
    if text not in known:
        raise UserError(
            f"the precision is {' or '.join(known)}, got '{text}'{did_you_mean(text, known)}"
        )
    return cast(ExportPrecision, text)


def check_ending(out: Path, format: Format) -> None:
    """Raises `UserError` unless a file's ending fits its format."""
    if out.suffix != SUFFIXES[format]:
        raise UserError(f"{format} files end in {SUFFIXES[format]}, got '{out}'")
