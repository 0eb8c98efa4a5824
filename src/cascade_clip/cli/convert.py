"""`convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cascade_clip.checkpoint.locate import check_checkpoint, check_new
from cascade_clip.cli.options import read_names
from cascade_clip.config import Templates
from cascade_clip.errors import UserError
from cascade_clip.io.find import check_writable

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.checkpoint.released.load import ReleasedModel

CHECKPOINT = "Not stored in the checkpoint"


def convert(
    source: Annotated[Path, typer.Argument(help="Released .pth file.")],
    out: Annotated[Path, typer.Argument(help="Output folder; must not exist.")],
    class_names: Annotated[
        str | None,
        typer.Option(
            help="Class names in label order, comma-separated, or a file with one per line.",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(
            help="Unseen class names, in the same form; '' for none.",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    setting: Annotated[
        Literal["inductive", "transductive", "full"] | None,
        typer.Option(help="Training setting.", rich_help_panel=CHECKPOINT),
    ] = None,
    score_offset: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Subtracted from the scores of seen classes.",
            show_default="0.1 if inductive, else 0",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    templates: Annotated[
        Templates | None,
        typer.Option(help="Prompt templates for the class names.", rich_help_panel=CHECKPOINT),
    ] = None,
    vision_heads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Attention heads of the image encoder.",
            show_default="12 if not stored",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    decoder_heads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Attention heads of the decoders.",
            show_default="8 if not stored",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    text_heads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Attention heads of the text encoder.",
            show_default="8 if not stored",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    inner_blocks: Annotated[
        str | None,
        typer.Option(
            help="Blocks used besides the last, counted from 1: '6,7,8,9,10,11'.",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(min=1, help="Sliding-window size in pixels.", rich_help_panel=CHECKPOINT),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Sliding-window stride in pixels.", rich_help_panel=CHECKPOINT),
    ] = None,
) -> None:
    """Convert a released checkpoint to a model folder: Cascade-CLIP, ZegCLIP, OTSeg, CLIP-RC, RPN.

    No code in the checkpoint is executed. Sizes come from its weights, settings from its config.
    """
    check_checkpoint(source)
    check_new(out)
    check_writable(out.parent)  # mistakes show before the heavy imports
    blocks = None if inner_blocks is None else _numbers(inner_blocks)

    from cascade_clip.checkpoint.released.classes import Overrides
    from cascade_clip.checkpoint.released.convert import to_folder
    from cascade_clip.support.messages import Console

    overrides = Overrides(
        vision_heads=vision_heads,
        decoder_heads=decoder_heads,
        text_heads=text_heads,
        inner_blocks=blocks,
        class_names=None if class_names is None else read_names(class_names),
        unseen_names=None if unseen is None else read_names(unseen),
        seen_score_offset=score_offset,
        setting=setting,
        crop=crop,
        stride=stride,
        templates=templates,
    )
    console = Console()
    released, _ = to_folder(source, out, overrides)
    console.print(_table(released))
    console.print(f"written: {out}", highlight=False, markup=False)


def _table(released: ReleasedModel) -> Table:
    """What was inferred."""
    from rich.table import Table

    table = Table("", "", show_header=False)
    vision, text, head = released.vision, released.text, released.settings.head
    classes, prepared = released.classes, released.preprocessing
    heads = vision["width"] // vision["head_width"]
    side = vision["image_size"] // vision["patch_size"]
    unseen = ", ".join(classes.names[index] for index in classes.unseen) or "none"
    others = head.model_dump(exclude={"kind", "stages"}, exclude_defaults=True)
    rows = {
        "method": released.family.origin.method,
        "image encoder": f"{vision['layers']} blocks of width {vision['width']}, {heads} heads, "
        f"patch {vision['patch_size']}, positions for {side} x {side} patches",
        "text encoder": f"{text['layers']} blocks of width {text['width']}, {text['heads']} heads, "
        f"{text['vocab_size']} tokens; embeddings of width {released.embed_dim}",
        "prompts": f"{released.settings.encoder.prompts} per block",
        "stages": " ".join("{" + ", ".join(map(str, stage)) + "}" for stage in head.stages),
        "head": ", ".join([head.kind, *(f"{n} {value}" for n, value in sorted(others.items()))]),
        "classes": f"{len(classes.names)}; unseen: {unseen}",
        "setting": f"{classes.setting}; seen-score offset {classes.seen_score_offset:g}",
        "templates": released.templates,
        "windows": f"{prepared.crop} px every {prepared.stride} px",
        "class embedding": "counts twice, as released",
        "dead weights": _summary(released.dropped),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _summary(dropped: tuple[str, ...]) -> str:
    """The parts of the decoder layers (and of the loss) that were left out, each once; all moving
    averages as one."""
    if not dropped:
        return "none"
    plain = ["moving averages" if name.startswith("ema_") else name for name in dropped]
    parts = [name.partition(".layers.")[2].partition(".")[2] or name for name in plain]
    kinds = sorted({part.removesuffix(".weight").removesuffix(".bias") for part in parts})
    return f"{len(dropped)} dropped, which nothing reads: {', '.join(kinds)}"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(
            f"inner-blocks are numbers with commas, e.g. 6,7,8; got '{text}'"
        ) from error
