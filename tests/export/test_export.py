"""Exported files compute what the network computes, for every kind of network and any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.errors import UserError
from cascade_clip.export.bundle import load_exported
from cascade_clip.export.check import check_exported
from cascade_clip.export.metadata import from_json
from cascade_clip.export.network import open_exported
from cascade_clip.export.request import SUFFIXES, ExportPrecision, Format
from cascade_clip.export.write import export_model
from tests.export.conftest import VARIANTS

CPU = torch.device("cpu")
BundleOf = Callable[..., Bundle]


def assert_same_logits(file: Path, bundle: Bundle, **limits: float) -> None:
    exported = open_exported(file, CPU)
    text = bundle.clip.text_encoder(("cat", "dog", "apple tree"), bundle.templates)
    generator = torch.Generator().manual_seed(0)
    for batch, rows, columns, classes in ((2, 5, 9, 3), (1, 1, 1, 1), (3, 4, 4, 2), (1, 7, 1, 3)):
        image = torch.randn(batch, 3, 8 * rows, 8 * columns, generator=generator)
        with torch.inference_mode():
            expected = bundle.network(image, text[:classes]).mask_logits
        found = exported(image, text[:classes]).mask_logits
        assert found.shape == (batch, classes, rows, columns)
        torch.testing.assert_close(found, expected, **({"rtol": 1e-4, "atol": 1e-4} | limits))


def test_onnx(onnx_model: tuple[Bundle, Path]) -> None:
    bundle, file = onnx_model
    assert_same_logits(file, bundle)
    model = onnx.load(file)
    assert [_shape(value) for value in model.graph.input] == [
        ("image", "batch", 3, "8*rows", "8*columns"),
        ("text_embeddings", "classes", 32),
        ("offsets", "classes"),
    ]
    assert [_shape(value)[1:] for value in model.graph.output] == [
        ("batch", "classes", "rows", "columns")
    ] * 2
    assert json.loads(model.metadata_props[0].value)["classes"] is None


@pytest.mark.proof
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind(name: str, format: Format, bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle, file = bundle_of(*VARIANTS[name]), tmp_path / f"model{SUFFIXES[format]}"
    export_model(bundle, file, format=format)
    assert_same_logits(file, bundle)


def test_onnx_with_fixed_classes(fixed_onnx_model: tuple[Bundle, Path]) -> None:
    bundle, file = fixed_onnx_model
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [_shape(value) for value in model.graph.input] == [
        ("image", "batch", 3, "8*rows", "8*columns")
    ]
    assert [_shape(value) for value in model.graph.output] == [
        ("mask_logits", "batch", 4, "rows", "columns"),
        ("scores", "batch", 4, "rows", "columns"),
    ]
    (described,) = model.metadata_props
    facts = json.loads(described.value)
    assert described.key == "cascade_clip"
    assert facts["classes"] == [["cat"], ["grass", "lawn"], ["houses"]]
    assert facts["offsets"] == pytest.approx([0, -0.1, 0, -0.1])  # cat is unseen
    assert (facts["patch_size"], facts["precision"]) == ([8, 8], "fp32")
    sizes = facts["model"]["recipe"]["inference"]
    assert (sizes["crop"], sizes["stride"], sizes["short_side"]) == (32, 32, 32)
    assert facts["normalisation"] == {"mean": [0.5] * 3, "std": [0.5] * 3}  # the CLIP's own

    image = torch.randn(2, 3, 24, 40)
    text = bundle.clip.text_encoder(("houses", "cat"), bundle.templates)
    with torch.inference_mode():
        expected = bundle.network(image, text).mask_logits
    loaded = load_exported(file, CPU)
    channels = loaded.clip.text_encoder(("houses", "cat"), loaded.templates)
    torch.testing.assert_close(
        loaded.network(image, channels).mask_logits, expected, rtol=1e-4, atol=1e-4
    )


def _shape(value: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    sides = value.type.tensor_type.shape.dim
    return (value.name, *(side.dim_param or side.dim_value for side in sides))


@pytest.mark.parametrize("precision", ["fp16"])
def test_lower_precision(precision: ExportPrecision, bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle, file = bundle_of(), tmp_path / "model.pt2"
    steps: list[str] = []
    found = export_model(
        bundle, file, format="torch-export", precision=precision, report=steps.append
    )
    assert [step.split()[0] for step in steps] == ["tracing", "writing", "checking"]
    assert found.tolerance == 2e-2
    assert 1e-6 < found.logits < found.tolerance
    assert_same_logits(file, bundle, rtol=found.tolerance, atol=found.tolerance)
    assert bundle.network.encoder.visual.conv1.weight.dtype == torch.float32  # left as it was


def test_a_graph_that_differs_is_refused_and_an_older_file_stays(
    bundle_of: BundleOf, tmp_path: Path
) -> None:
    bundle, file = bundle_of(), tmp_path / "model.pt2"
    file.write_bytes(b"older")
    with torch.no_grad():
        bundle.network.head.decoders[0].scores.key.weight.mul_(1e6)  # beyond half precision
    with pytest.raises(UserError, match="differs from the network"):
        export_model(bundle, file, format="torch-export", precision="fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert file.read_bytes() == b"older"


def test_the_check_notices_other_weights(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle, file = bundle_of(), tmp_path / "model.pt2"
    export_model(bundle, file, format="torch-export")
    text = bundle.clip.text_encoder(("cat", "dog"), bundle.templates)
    exported, offsets = open_exported(file, CPU), torch.tensor([0.1, 0.0])
    inference, normalisation = bundle.recipe.inference, bundle.normalisation
    check_exported(exported, bundle.network, text, offsets, inference, normalisation)
    with torch.no_grad():
        bundle.network.head.decoders[0].scores.query.bias[0] += 0.05
    with pytest.raises(UserError, match="differs from the network"):
        check_exported(exported, bundle.network, text, offsets, inference, normalisation)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x05\x06" + bytes(18)])
@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_files_that_are_no_models(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        open_exported(tmp_path / name, CPU)


@pytest.mark.parametrize(("name", "warns"), [("model.onnx", False), ("model.pt2", True)])
def test_that_torch_export_files_run_code_is_said(
    name: str, warns: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(UserError, match=name):
        load_exported(tmp_path / name, CPU)
    assert ("can run any code" in capsys.readouterr().err) == warns


@pytest.mark.parametrize(
    ("text", "message"), [("[" * 5000, "nested too deep"), ("[]", "expected names with values")]
)
def test_descriptions_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"the description in m\.onnx can't be read.*{message}"):
        from_json(text, Path("m.onnx"))


def test_an_onnx_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value], [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])]
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(UserError, match="not written by cascade-clip export"):
        open_exported(tmp_path / "m.onnx", CPU)


def test_devices_that_onnxruntime_lacks(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="can't compute on 'xpu'"):
        open_exported(tmp_path / "model.onnx", torch.device("xpu"))
