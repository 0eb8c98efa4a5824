"""`recipes` and `info`."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer


def recipes(
    word: Annotated[
        str, typer.Argument(help="Only recipes whose name contains this, e.g. voc20 or zegclip.")
    ] = "",
) -> None:
    """List the recipes, with what papers report for them."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from cascade_clip.config.recipes import load_recipe, recipe_names
    from cascade_clip.errors import UserError
    from cascade_clip.support.messages import Console, did_you_mean

    known = recipe_names()
    names = [name for name in known if word.casefold() in name]
    if not names:
        raise UserError(f"no recipe has '{word}' in its name{did_you_mean(word, known)}")
    table = Table(
        title="published percent; S, U: mIoU of seen, unseen classes; h: their harmonic mean, "
        "computed from the rounded two"
    )
    table.add_column("recipe", min_width=max(map(len, names)))
    for column in ("S", "U", "h"):
        table.add_column(column, justify="right")
    for name in names:
        recipe = load_recipe(name)
        reported = recipe.published
        values = (reported.seen, reported.unseen, reported.hiou) if reported else ()
        described = Group(Text(name, "bold"), Padding.indent(Text(recipe.summary), 2))
        table.add_row(described, *(f"{value:.1f}" for value in values))
    Console().print(table)


def info() -> None:
    """Show versions, hardware and the embedded model."""
    from rich.table import Table

    from cascade_clip.support.environment import describe_environment
    from cascade_clip.support.messages import Console

    environment = describe_environment()
    packages = environment.pop("packages")
    table = Table("", "", show_header=False)
    for name, value in {**environment, **packages}.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), shown)
    for name, shown in _embedded_facts():
        table.add_row(name, shown)
    Console().print(table)


def _embedded_facts() -> list[tuple[str, str]]:
    """From the files alone: to load the model would take seconds."""
    from cascade_clip.checkpoint.layout import CONFIG_FILE, WEIGHTS_FILE
    from cascade_clip.checkpoint.locate import EMBEDDED, find_model
    from cascade_clip.errors import UserError
    from cascade_clip.support.plain_values import read_json

    try:
        folder = find_model(EMBEDDED)
        config = read_json(folder / CONFIG_FILE)
        trained = _weights_in(folder / WEIGHTS_FILE)
        tiny = Path(str(files("cascade_clip.clip.tiny")))
        size = _weights_in(tiny / "open_clip_model.safetensors")
        clip = read_json(tiny / "open_clip_config.json")
    except (UserError, OSError, ValueError) as error:
        return [("embedded model", f"none: {error}")]
    vision = clip["model_cfg"]["vision_cfg"]
    facts = [
        (
            "embedded CLIP",
            f"{size / 1e6:.1f} M weights, {vision['layers']} blocks, {vision['image_size']} px",
        ),
        ("embedded model", f"{config['recipe']['name']}, {trained / 1e6:.1f} M trained weights"),
        ("its classes", ", ".join(config["classes"])),
        ("unseen in training", ", ".join(config["unseen"])),
    ]
    measured = {key: value for key, value in config["metrics"].items() if value is not None}
    return [*facts, *(_measure(key, value) for key, value in measured.items())]


def _weights_in(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def _measure(key: str, value: float) -> tuple[str, str]:
    """A row for what a model was measured to reach at the end of its training."""
    name = key.removeprefix("val_").replace("_", " ")
    return f"its {name}", f"{value:.1%}" + (" in validation" if key.startswith("val_") else "")
