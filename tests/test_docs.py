"""What README and docs say works: Python runs, commands are understood, links lead somewhere.

Commands that would train for hours or need data from elsewhere are read as the command line reads
them, with recipes and settings looked up; the tests of each command run it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from cascade_clip.checkpoint.options import read_run_options
from cascade_clip.checkpoint.source import METHODS
from cascade_clip.cli.app import COMMANDS, FIRST_STEPS, app, examples
from cascade_clip.cli.options import read_choices
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.part import read_part
from cascade_clip.export.request import read_format, read_precision
from cascade_clip.io.results import LABEL_FORMATS, SEGMENT_FORMATS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"")
NOT_RUN = "# not run:"
"""A Python snippet that starts with it needs what tests don't have; it has to compile."""


def snippets(page: Path, *languages: str) -> list[str]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every `cascade-clip` in a shell snippet and in what --help shows."""
    lines = [(f"{name} --help", line) for name in COMMANDS for line in examples(name)]
    told = (line.strip() for line in FIRST_STEPS.splitlines())
    lines += [("first steps", line) for line in told if line.startswith("cascade-clip")]
    for page in PAGES:
        for text in snippets(page, "sh", "bash", "shell"):
            for line in text.replace("\\\n", " ").splitlines():
                for part in (
                    re.split(r"&&|\||;", line) if "'" not in line and '"' not in line else [line]
                ):
                    words = part.strip().removeprefix("$ ")
                    words = re.sub(r"^([A-Z_]+=\S+ +)+", "", words)
                    if words.startswith("cascade-clip "):
                        lines.append((page.name, words))
    return lines


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_understood(page: str, line: str) -> None:
    words = shlex.split(line.replace("...", ""), comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    with group.make_context("cascade-clip", words) as context:
        while context.command is not None and hasattr(context.command, "resolve_command"):
            rest = [*context._protected_args, *context.args]
            if not rest:
                break
            name, command, rest = context.command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
        check_values(context.params)
        recipe = context.params.get("recipe", "") if context.info_name == "train" else ""
        placeholder = recipe.isupper() or recipe.endswith(".yaml")
        if recipe and not placeholder:
            load_recipe(recipe, context.params["settings"] or [])


def check_values(params: dict[str, Any]) -> None:
    """Raises `UserError` for values that commands read themselves, after the command line."""
    choices = {"save": SEGMENT_FORMATS, "formats": LABEL_FORMATS, "method": [*METHODS, "all"]}
    for name, known in choices.items():
        if value := params.get(name):
            read_choices(value, name, known)
    if "part" in params:
        read_part(params["part"])
    if "format" in params:
        read_format(params["format"])
        read_precision(params["precision"])
    elif "device" in params:
        read_run_options(params["device"], params["precision"], params.get("inference") or ())


def test_there_are_commands_to_understand() -> None:
    assert len(commands()) > 20


RUN_ELSEWHERE = {"adding-a-method.md", "export.md", "serving.md"}
"""Pages whose Python is run by tests of their own: in a copy of the project, without this package,
against a server."""


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if snippets(p, "python") and p.name not in RUN_ELSEWHERE],
    ids=lambda p: p.name,
)
def test_python_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    texts = snippets(page, "python")
    for text in texts:
        compile(text, page.name, "exec")
    runnable = "\n".join(text for text in texts if not text.startswith(NOT_RUN))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    script = tmp_path / "snippets.py"
    script.write_text(f"import torch\ntorch.set_num_threads(1)\n{runnable}", encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert finished.returncode == 0, finished.stderr


def test_the_site_has_every_page() -> None:
    nav = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(nav) == sorted(page.name for page in PAGES[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target = match[1] or match[2]
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
