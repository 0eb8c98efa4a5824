"""`export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.locate import EMBEDDED, is_exported
from cascade_clip.checkpoint.source import read_source
from cascade_clip.cli.options import (
    ClipOption,
    MethodOption,
    ModelArgument,
    Pretrained,
    read_classes,
)
from cascade_clip.errors import UserError
from cascade_clip.export.request import SUFFIXES, check_ending, read_format, read_precision
from cascade_clip.io.find import check_writable

if TYPE_CHECKING:
    from cascade_clip.checkpoint.folder import Bundle
    from cascade_clip.checkpoint.training_free import TrainingFreeBundle
    from cascade_clip.export.check import ExportAgreement


def export(
    model: ModelArgument = EMBEDDED,
    clip: ClipOption = None,
    method: MethodOption = None,
    pretrained: Pretrained = None,
    format: Annotated[str, typer.Option(help=" or ".join(SUFFIXES) + ".")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="Output file.", show_default="model.onnx or model.pt2")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class names to fix in the file, e.g. 'cat, sofa|couch, wall', or a file with one "
            "per line.",
            show_default="open: text embeddings are an input",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
) -> None:
    """Export a model to a single file that runs without this package.

    The file is checked against the model at several picture sizes before it is kept.
    """
    wanted = read_format(format)
    chosen = read_precision(precision)
    target = out or Path(f"model{SUFFIXES[wanted]}")
    check_ending(target, wanted)
    typed = None if classes is None else read_classes(classes)
    if is_exported(model):
        raise UserError(f"{model} is an exported file already; give the model that it came from")
    source = read_source(model, clip, method, pretrained)
    check_writable(target.parent)  # mistakes show before the heavy imports

    from rich.markup import escape

    from cascade_clip.checkpoint.folder import load_bundle
    from cascade_clip.checkpoint.training_free import load_training_free
    from cascade_clip.clip.source import parse_clip
    from cascade_clip.export.write import export_model
    from cascade_clip.support.messages import Console

    console, notes = Console(), Console(stderr=True)
    with notes.status("loading the model") as status:
        if source.clip is None:
            bundle: Bundle | TrainingFreeBundle = load_bundle(model, pretrained=pretrained)
        else:
            bundle = load_training_free(parse_clip(source.clip), source.method)
        found = export_model(
            bundle,
            target,
            format=wanted,
            classes=typed,
            precision=chosen,
            report=lambda step: status.update(escape(step)),
        )
    console.print(_summary(found), highlight=False)
    size = target.stat().st_size / 1e6
    console.print(
        f"written: {target} ({size:.1f} MB)", highlight=False, markup=False, soft_wrap=True
    )


def _summary(found: ExportAgreement) -> str:
    sizes = ", ".join(f"{batch} x {width} x {height}" for batch, height, width in found.sizes)
    return (
        f"checked against the model on pictures of {sizes} pixels: mask logits differ by at most "
        f"{found.logits:.1e} of the largest one, scores by {found.scores:.1e} (allowed: "
        f"{found.tolerance:.0e}); the best class is the same on {found.labels:.2%} of patches"
    )
