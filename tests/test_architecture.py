"""The rooms of the package (docs/architecture.md): which there are, and who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import cascade_clip

PACKAGE = Path(str(cascade_clip.__file__)).parent

FLOORS = (
    ("errors",),
    ("support", "ops"),
    ("config",),
    ("class_names",),
    ("io",),
    ("clip", "model", "picturebook"),
    ("losses",),
    ("data",),
    ("inference", "checkpoint"),
    ("evaluation", "export"),
    ("training", "report"),
    ("analysis", "segmentation"),
    ("segmenter",),
    ("batch",),
    ("serve",),
    ("cli",),
    ("__init__", "__main__"),
)
"""Rooms and loose files, from the ground up: each may import those on lower floors, and itself."""

ROOT_FILES = {"__init__", "__main__", "class_names", "errors", "segmentation", "segmenter"}

MAY_IMPORT_LATE = {"cli"}
"""Rooms whose functions import other rooms when they run: commands, whose mistakes are told before
torch is loaded."""


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports_in(tree: ast.AST) -> Iterator[str]:
    """Modules of the package that a piece of code imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = node.module or ""
            named = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in named:
            if name == "cascade_clip" or name.startswith("cascade_clip."):
                below = name.removeprefix("cascade_clip").removeprefix(".")
                parent = below.rpartition(".")[0]
                yield below if below in modules() else parent or "__init__"


@cache
def graph() -> dict[str, set[str]]:
    return {
        name: set(imports_in(ast.parse(path.read_text(encoding="utf-8")))) - {name}
        for name, path in modules().items()
    }


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_and_loose_file_has_its_floor() -> None:
    rooms = {room(name) for name in modules()}
    assert rooms == {one for floor in FLOORS for one in floor}
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT_FILES


def test_rooms_import_lower_floors_alone() -> None:
    floor_of = {one: index for index, floor in enumerate(FLOORS) for one in floor}
    edges = [(name, other) for name, others in graph().items() for other in others]
    assert len(edges) > len(modules())  # the graph was found at all
    assert not [
        f"{name} imports {other}"
        for name, other in edges
        if room(name) != room(other) and floor_of[room(other)] >= floor_of[room(name)]
    ]


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        circle = " imports ".join(reversed(error.args[1]))
        raise AssertionError(circle) from None


def test_rooms_are_imported_at_the_top_of_a_module() -> None:
    late = [
        f"{name}, {function.name}: {', '.join(found)}"
        for name, path in modules().items()
        if room(name) not in MAY_IMPORT_LATE
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and (found := list(imports_in(function)))
    ]
    assert not late


def test_the_model_is_pure_torch() -> None:
    """No Lightning, no files, no class names: what the papers describe, and nothing else."""
    allowed = {"__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "functools"}
    allowed |= {"itertools", "math", "torch", "typing", "weakref", "cascade_clip"}
    for name, path in modules().items():
        if room(name) != "model":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                whole = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                whole = [node.module or ""]
            else:
                continue
            assert {room(module) for module in whole} <= allowed, f"{name} imports {whole}"


def test_public_names_are_found_where_they_are_looked_for() -> None:
    assert all(getattr(cascade_clip, name).__name__ == name for name in cascade_clip.__all__)
