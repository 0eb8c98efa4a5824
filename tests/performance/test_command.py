"""The performance benchmark in small: what it runs and writes, nothing about time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.performance import __main__ as command
from benchmarks.performance import agreement, hardware, parts, tables
from benchmarks.performance.memory import MIB, STATUS, Probe, Task, peak_here
from benchmarks.performance.profile import kind_of
from benchmarks.performance.subjects import SUBJECTS

ROOT = Path(__file__).parents[2]
PARTS = [part for part in command.ALL_PARTS if part != "batches"]
Shares = dict[str, dict[str, dict[str, float]]]


@pytest.fixture
def in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and small inputs, no other processes, no compilation (which takes minutes); times also
    of precisions that are slower here, which small inputs bear."""

    def peak(probe: Probe) -> dict[str, float]:
        assert probe.subject in SUBJECTS
        return {"above": 3.0, "process": 5.0}

    monkeypatch.setattr(hardware, "CPU_SIZES", ((8, 16, 16),))
    monkeypatch.setattr(hardware, "SECONDS", 0.01)
    monkeypatch.setattr(agreement, "PICTURES", 2)
    monkeypatch.setattr(parts, "peak_in_subprocess", peak)
    monkeypatch.setattr(parts, "worthwhile", lambda names, device: list(names))
    monkeypatch.setattr(torch, "compile", lambda function: function)


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> dict[str, Any]:
    """The results of the command for the shape `tiny`, by part."""
    fixed = ["--shapes", "tiny", "--rounds", "1", "--threads", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["performance", *arguments, *fixed])
    command.main()
    found = json.loads(out.read_text(encoding="utf-8"))["tiny"]
    return {part: measured["result"] for part, measured in found.items()}


@pytest.mark.usefixtures("in_small")
def test_every_part_runs_and_fills_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(monkeypatch, tmp_path / "performance-cpu.json", *PARTS)
    assert list(found) == PARTS
    assert found["inference"]["rows"]["fp32"]["agreement"] > 0.999
    for part in ("inference", "compiled"):
        assert all(row["agreement"] > 0.95 for row in found[part]["rows"].values())
    assert found["agreement"]["fp32"]["agreement"] == 1
    shares: Shares = found["profile"]["inference"]
    assert all(sum(kinds.values()) == pytest.approx(1, abs=0.01) for kinds in shares.values())

    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"))
    tables.write_page(page, tmp_path)
    text = page.read_text(encoding="utf-8")
    for part in ("machine", "goals", *PARTS):
        _, table = text.split(f"<!-- table: cpu/{part} -->\n")
        assert "Not measured" not in table.split("<!-- end -->")[0]
    assert text.split("<!-- table: cuda/batches -->\n")[1].startswith("\nNot measured yet.")


def test_what_is_slower_on_this_cpu_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["reference, autocast", "fp32, TF32", "bf16, compiled", "int8"]
    for features in ({"avx2"}, set()):
        monkeypatch.setattr(parts, "cpu_features", lambda known=features: known)
        on_cpu = parts.worthwhile(names, torch.device("cpu"))
        assert on_cpu == (["fp32, TF32", "int8"] if features else ["fp32, TF32"])
        assert parts.worthwhile(names, torch.device("cuda")) == names


@pytest.mark.usefixtures("in_small")
def test_what_runs_on_gpus_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (parts.INFERENCE, parts.TRAINING):
        monkeypatch.setitem(settings, "cpu", settings["cuda"])
    found = run(monkeypatch, tmp_path / "cuda.json", "batches", "memory")
    assert {"reference, TF32", "fp32, TF32", "bf16, compiled"} <= found["batches"]["inference"][
        "2"
    ].keys()
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not STATUS.exists(), reason="peak memory is measured on Linux only")
@pytest.mark.parametrize("task", ["inference", "training"])
def test_memory_is_above_model_and_picture(task: Task) -> None:
    probe = Probe(
        "reference",
        task,
        "tiny",
        classes=500,
        pictures=1,
        height=64,
        width=64,
        device="cpu",
        threads=1,
    )
    found = peak_here(probe)
    scores = 4 * 500 * 64 * 64 / MIB  # held at full size at least once
    assert scores < found["above"] < found["process"]


def test_a_part_measured_again_leaves_the_others(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command.store(out, "tiny", "peaks", {"result": {"fp32": 1.23456}})
    command.store(out, "tiny", "training", {"result": {}})
    command.store(out, "tiny", "peaks", {"result": {"fp32": 2.34567}})
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found == {"tiny": {"peaks": {"result": {"fp32": 2.346}}, "training": {"result": {}}}}


def test_operators_have_a_kind() -> None:
    kinds = {
        "aten::addmm": "matrix products",
        "onednn::qlinear_pointwise": "matrix products",
        "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
        "aten::native_layer_norm": "LayerNorm",
        "aten::upsample_bilinear2d": "resizing",
        "aten::empty": "other",
    }
    assert {name: kind_of(name) for name in kinds} == kinds
