"""Writes a model as one file, and checks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from cascade_clip.checkpoint.clip_files import without_places
from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.checkpoint.save import describe_model
from cascade_clip.checkpoint.training_free import TrainingFreeBundle
from cascade_clip.class_names import TypedClasses, classes_named
from cascade_clip.config.recipes import with_inference
from cascade_clip.errors import UserError
from cascade_clip.export.check import ExportAgreement, check_exported
from cascade_clip.export.graph import (
    IMAGE,
    MASK_LOGITS,
    OFFSETS,
    SCORES,
    TEXT,
    DynamicGraph,
    FixedGraph,
)
from cascade_clip.export.metadata import METADATA_KEY, ExportedConfig, to_json
from cascade_clip.export.network import open_exported
from cascade_clip.export.request import ExportPrecision, Format, check_ending
from cascade_clip.inference.query import PUBLISHED_BACKGROUND, Query, build_query
from cascade_clip.io.files import write_whole
from cascade_clip.support.messages import errors_alone, install_line, notice

ONNX_BYTES = 2**31 - 2**20
"""An ONNX file is one message of at most 2 GB."""


def export_model(
    bundle: Bundle | TrainingFreeBundle,
    out: Path,
    *,
    format: Format = "onnx",
    classes: TypedClasses | None = None,
    precision: ExportPrecision = "fp32",
    report: Callable[[str], object] = lambda step: None,
) -> ExportAgreement:
    """Writes the network of `bundle` to `out`, once it is found to compute the same.

    Pictures (B, 3, H, W) may have any batch size and any sides that are multiples of the patch;
    for training-free methods, the sides of a window. With `classes`, their text embeddings and
    offsets are part of the graph; else they are inputs. `report` is told what is being done.

    Raises `UserError` if the file's ending does not fit the format, the package that writes the
    format is missing, the file can't be written, or it computes something else than the network.
    """
    check_ending(out, format)
    if format == "onnx":
        _require_onnx()
    bundle = _with_all_tokens(bundle)
    config, query = _describe(bundle, classes, precision, out.parent)
    graph = _graph(bundle, config, query)
    report("tracing the network")
    program = _trace(graph, config, query)
    write = _write_onnx if format == "onnx" else _write_torch_export
    found: list[ExportAgreement] = []

    def write_and_check(path: Path) -> None:
        report(f"writing {out}")
        write(program, config, path)
        report(f"checking {out} against the model")
        found.append(_check(bundle, query, path))

    write_whole(out, write_and_check)
    return found[0]


def _with_all_tokens(bundle: Bundle | TrainingFreeBundle) -> Bundle | TrainingFreeBundle:
    """The graph leaves token merging out: on even areas, where patches tie, what runs the file
    would merge others than the network."""
    recipe = bundle.recipe
    if not recipe.inference.token_merging:
        return bundle
    notice("exported files leave inference.token_merging out")
    return replace(bundle, recipe=with_inference(recipe, {"token_merging": 0.0}))


def _describe(
    bundle: Bundle | TrainingFreeBundle,
    classes: TypedClasses | None,
    precision: ExportPrecision,
    folder: Path,
) -> tuple[ExportedConfig, Query]:
    """The file's metadata, and names to trace and check with: the classes, or those of training."""
    trained = bundle.classes
    query = build_query(
        partial(bundle.clip.text_encoder, average=bundle.recipe.data.average_templates),
        classes or classes_named(PUBLISHED_BACKGROUND if trained is None else trained.prompts),
        trained=() if trained is None else trained.trained_names,
        inference=bundle.recipe.inference,
        trained_templates=bundle.templates,
        device=torch.device("cpu"),
        background_names=False,
    )
    config = ExportedConfig(
        precision=precision,
        patch_size=bundle.network.patch_size,
        image_size=(bundle.recipe.inference.crop,) * 2 if trained is None else None,
        normalisation=bundle.normalisation,
        classes=None if classes is None else classes.groups,
        offsets=None if classes is None else tuple(query.offsets.tolist()),
        model=describe_model(
            without_places(bundle.recipe),
            bundle.classes,
            bundle.templates,
            bundle.clip,
            folder,
            bundle.metrics,
        ),
    )
    return config, query


def _graph(
    bundle: Bundle | TrainingFreeBundle, config: ExportedConfig, query: Query
) -> DynamicGraph | FixedGraph:
    network, scale = bundle.network, bundle.recipe.inference.softmax_scale
    if config.classes is None:
        return DynamicGraph(network, config.precision, scale).eval()
    return FixedGraph(network, query.embeddings, query.offsets, config.precision, scale).eval()


@torch.no_grad()
def _trace(
    graph: DynamicGraph | FixedGraph, config: ExportedConfig, query: Query
) -> ExportedProgram:
    # Sides and counts that differ from one another, so that none is taken for another.
    rows, columns = Dim("rows", min=1), Dim("columns", min=1)
    patch = config.patch_size
    image = torch.zeros(2, 3, *(config.image_size or (5 * patch[0], 7 * patch[1])))
    arguments: tuple[Tensor, ...] = (image,)
    sides = {} if config.image_size else {2: patch[0] * rows, 3: patch[1] * columns}
    shapes: dict[str, Any] = {IMAGE: {0: Dim("batch"), **sides}}
    if isinstance(graph, DynamicGraph):
        count = Dim("classes", min=1)
        arguments = (image, torch.zeros(3, *query.embeddings.shape[1:]), torch.zeros(3))
        shapes |= {TEXT: {0: count}, OFFSETS: {0: count}}
    return torch.export.export(graph, arguments, dynamic_shapes=shapes)


def _write_onnx(program: ExportedProgram, config: ExportedConfig, path: Path) -> None:
    size = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    if size > ONNX_BYTES:
        raise UserError(
            f"the weights take {size / 1e9:.1f} GB, an ONNX file holds at most 2 GB; use "
            "precision fp16 or the format torch-export"
        )
    from onnx_ir import Shape

    inputs = [IMAGE, TEXT, OFFSETS] if config.classes is None else [IMAGE]
    with errors_alone("onnxscript", "onnx_ir", "torch.onnx"):  # which log their own progress
        written = torch.onnx.export(
            program, input_names=inputs, output_names=[MASK_LOGITS, SCORES], verbose=False
        )
    assert written is not None
    written.rename_axes(_axis_names(program))
    count = "classes" if config.classes is None else len(config.names)
    for output in written.model.graph.outputs:  # inference may leave formulas instead of names
        output.shape = Shape(["batch", count, "rows", "columns"])
    written.model.metadata_props[METADATA_KEY] = to_json(config)
    written.save(path, external_data=False)


def _write_torch_export(program: ExportedProgram, config: ExportedConfig, path: Path) -> None:
    torch.export.save(program, path, extra_files={METADATA_KEY: to_json(config)})


def _axis_names(program: ExportedProgram) -> dict[Any, str]:
    """The symbols that tracing made up, and what they stand for."""
    shapes = {
        node.name: node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in (IMAGE, TEXT)
    }
    sides = {"batch": shapes[IMAGE][0], "rows": shapes[IMAGE][2], "columns": shapes[IMAGE][3]}
    if TEXT in shapes:
        sides["classes"] = shapes[TEXT][0]
    return {
        str(symbol): name
        for name, side in sides.items()
        if not isinstance(side, int)  # fixed
        for symbol in side.node.expr.free_symbols
    }


def _check(bundle: Bundle | TrainingFreeBundle, query: Query, path: Path) -> ExportAgreement:
    exported = open_exported(path, torch.device("cpu"))
    network = bundle.network.cpu()
    inference = bundle.recipe.inference
    return check_exported(
        exported, network, query.embeddings, query.offsets, inference, bundle.normalisation
    )


def _require_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX files need {', '.join(missing)}, which is missing; install it with: "
            + install_line("export")
        )
