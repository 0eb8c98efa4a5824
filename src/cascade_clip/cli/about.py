"""`recipes` and `info`."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.config.published import Published


def recipes(
    word: Annotated[
        str, typer.Argument(help="Filter by name, e.g. voc20 or zegclip.", metavar="FILTER")
    ] = "",
    published: Annotated[
        bool, typer.Option("--published", help="Show published results even without a filter.")
    ] = False,
) -> None:
    """List recipes; given a filter, also show published results."""
    from cascade_clip.config.components import recipe_names
    from cascade_clip.config.published import published_results
    from cascade_clip.errors import UserError
    from cascade_clip.support.messages import Console, did_you_mean

    known = recipe_names()
    names = [name for name in known if word.casefold() in name]
    if not names:
        raise UserError(f"no recipe has '{word}' in its name{did_you_mean(word, known)}")
    console = Console()
    console.print(
        "A recipe is METHOD/DATA/SETTING, e.g. cascade-clip/voc20/inductive; without SETTING it is "
        "inductive. Methods without training have none: sc-clip/ade20k.",
        highlight=False,
    )
    console.print(_components_table(names))
    if not word and not published:
        console.print(
            "Published results: cascade-clip recipes voc20 (or zegclip, ...); all of them: "
            "cascade-clip recipes --published",
            highlight=False,
        )
        return
    reported = {name: row for name, row in published_results().items() if name in names}
    if trained := {name: row for name, row in reported.items() if row.miou is None}:
        console.print(
            "Published percent; S, U, h: mIoU of seen, unseen classes, their harmonic mean, "
            "computed from the rounded two.",
            highlight=False,
        )
        console.print(_published_table(trained))
    if others := {name: row.miou for name, row in reported.items() if row.miou is not None}:
        console.print(
            "Published percent; mIoU of methods without training, ViT-B/16.", highlight=False
        )
        console.print(_training_free_table(others))


def _components_table(names: list[str]) -> Table:
    """The components of which these recipes are made, the trained ones first."""
    from rich.table import Table

    from cascade_clip.config.components import read_component

    split = [name.split("/") for name in names]
    trained, others = ([parts for parts in split if len(parts) == n] for n in (3, 2))
    to_train = {parts[1] for parts in trained}
    groups = {
        "METHOD, trained on masks": ("methods", {parts[0] for parts in trained}),
        "METHOD, without training": ("methods", {parts[0] for parts in others}),
        "DATA, to train and evaluate on": ("data", to_train),
        "DATA, to evaluate on": ("data", {parts[1] for parts in others} - to_train),
        "SETTING": ("settings", {parts[2] for parts in trained}),
    }
    table = Table("", "", show_header=False)
    for heading, (kind, members) in groups.items():
        if members:
            table.add_section()
            table.add_row("", f"[bold]{heading}[/bold]")
        for name in sorted(members):
            table.add_row(name, read_component(kind, name).summary)
    return table


def _published_table(published: dict[str, Published]) -> Table:
    """A row for each method on each data set, a column for each setting."""
    from rich.table import Table

    settings = list(dict.fromkeys(_setting(name) for name in published))
    table = Table("", *settings)
    rows: dict[str, dict[str, dict[str, Published]]] = {}
    for name, figures in published.items():
        method, data = name.split("/")[:2]
        rows.setdefault(data, {}).setdefault(method, {})[_setting(name)] = figures
    for data, methods in rows.items():
        table.add_section()
        table.add_row(f"[bold]{data}[/bold]")
        for method, row in methods.items():
            cells = (_figures(row[setting]) if setting in row else "" for setting in settings)
            table.add_row(f"  {method}", *cells)
    return table


def _training_free_table(published: dict[str, float]) -> Table:
    """A row for each method, a column for each data set."""
    from rich.table import Table

    methods, data = (list(dict.fromkeys(n.split("/")[i] for n in published)) for i in (0, 1))
    table = Table("", *data)
    for method in methods:
        cells = (published.get(f"{method}/{name}") for name in data)
        table.add_row(method, *("" if cell is None else f"{cell:.1f}" for cell in cells))
    return table


def _setting(name: str) -> str:
    """The column of a recipe's figures."""
    return f"{name.split('/')[2]}: S U h"


def _figures(published: Published) -> str:
    given = (published.seen, published.unseen, published.hiou)
    return " ".join(f"{value:.1f}" for value in given if value is not None)


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
    from cascade_clip.checkpoint import CONFIG_FILE, WEIGHTS_FILE
    from cascade_clip.checkpoint.locate import EMBEDDED, find_model
    from cascade_clip.config.model import EMBEDDED_CLIPS
    from cascade_clip.errors import UserError
    from cascade_clip.support.plain_values import read_json

    try:
        folder = find_model(EMBEDDED)
        config = read_json(folder / CONFIG_FILE)
        trained = _weights_in(folder / WEIGHTS_FILE)
        clips = [_clip_facts(name, folder) for name, folder in EMBEDDED_CLIPS.items()]
    except (UserError, OSError, ValueError) as error:
        return [("embedded model", f"none: {error}")]
    facts = [
        *clips,
        ("embedded model", f"{config['recipe']['name']}, {trained / 1e6:.1f} M trained weights"),
        ("its classes", ", ".join(config["classes"])),
        ("unseen in training", ", ".join(config["unseen"])),
    ]
    measured = {key: value for key, value in config["metrics"].items() if value is not None}
    return [*facts, *(_measure(key, value) for key, value in measured.items())]


def _clip_facts(name: str, folder: str) -> tuple[str, str]:
    from cascade_clip.support.plain_values import read_json

    place = Path(str(files("cascade_clip.clip"))) / folder
    size = _weights_in(place / "open_clip_model.safetensors")
    vision = read_json(place / "open_clip_config.json")["model_cfg"]["vision_cfg"]
    blocks, side = vision["layers"], vision["image_size"]
    return f"CLIP {name}", f"{size / 1e6:.1f} M weights, {blocks} blocks, {side} px"


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
