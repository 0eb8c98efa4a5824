"""Trains for real, but for a step or two on small scenes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cascade_clip.analysis.ablation.budget import Cost, fit, trial
from cascade_clip.analysis.ablation.report import cells, collect, dots, finished, markdown, page
from cascade_clip.analysis.ablation.runner import AblationPlan, all_runs, carry_out, runs_of
from cascade_clip.analysis.ablation.tables import AblationTable, Variant, read_tables
from cascade_clip.errors import UserError

TINY = (
    "data.picturebook.size=48", "inference.crop=48", "inference.stride=48",
    "inference.short_side=48", "train.batch_size=2", "train.warmup_steps=0",
)  # fmt: skip
PAIR = AblationTable(
    "pair",
    "A pair",
    (
        Variant("shared", ("model.head.shared_queries=true",), 41.4),
        Variant("independent", (), 42.2),
    ),
    "somewhere",
)


def plan(out: Path) -> AblationPlan:
    return AblationPlan(
        "cascade-clip/picturebook/inductive", TINY, steps=1, seeds=2, pictures=2, out=out, jobs=1
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> AblationPlan:
    a_plan = plan(tmp_path_factory.mktemp("ablation"))
    carry_out(all_runs(a_plan, [PAIR]), jobs=2)
    return a_plan


def test_every_seed_of_every_variant_is_measured(done: AblationPlan) -> None:
    result = collect(done, PAIR)
    assert [len(rows) for rows in result.rows] == [2, 2]
    assert all(0 <= value <= 100 for rows in result.rows for row in rows for value in row.values())
    seeds = result.rows[0]
    assert seeds[0] != seeds[1]


def test_what_is_done_is_not_done_again(done: AblationPlan) -> None:
    told: list[object] = []
    carry_out(all_runs(done, [PAIR]), jobs=2, advance=lambda run, row: told.append(row))
    assert told == []
    files = [run.folder / "model" / "model.safetensors" for run in all_runs(done, [PAIR])]
    assert all(file.is_file() for file in files)


def test_the_page_and_the_tables_show_each_variant(done: AblationPlan) -> None:
    result = collect(done, PAIR)
    header, body = cells(result)
    assert header[-1] == "h, somewhere (published)"
    assert [line[0] for line in body] == ["shared", "independent"]
    assert [line[-1] for line in body] == ["41.4", "42.2"]
    html = page(done, [result])
    assert "independent" in html and "data:image/png" in html and "http" not in html
    text = markdown(done, [result], "cascade-clip ablate pair")
    assert "| shared |" in text and "need not transfer" in text
    assert "(images/ablations-pair.png)" in text
    assert text.startswith(f"# Ablation: {PAIR.title}\n")
    assert text.endswith("```sh\ncascade-clip ablate pair\n```\n")
    assert len(dots(result).axes) == 2


def test_tables_are_finished_when_all_their_runs_are(done: AblationPlan, tmp_path: Path) -> None:
    other = replace(PAIR, variants=(*PAIR.variants, Variant("later", ("model.head.sigma=0.8",))))
    assert [result.table for result in finished(done, [other, PAIR])] == [PAIR]
    assert finished(replace(done, seeds=3), [PAIR]) == []


def test_variants_that_tables_share_are_one_run(tmp_path: Path) -> None:
    a_plan = replace(plan(tmp_path), seeds=1)
    sigma, queries = read_tables(["sigma"]), read_tables(["queries"])
    together = all_runs(a_plan, [*sigma, *queries])
    assert len(together) == len(all_runs(a_plan, sigma)) + len(all_runs(a_plan, queries)) - 1


def test_another_seed_step_or_data_is_another_run(tmp_path: Path) -> None:
    a_plan = plan(tmp_path)
    variants = [a_plan, replace(a_plan, steps=2), replace(a_plan, pictures=3)]
    folders = {run.folder for p in variants for run in runs_of(p, PAIR.variants[1])}
    assert len(folders) == 6


def test_a_budget_takes_seeds_first_then_steps(tmp_path: Path) -> None:
    wanted = replace(plan(tmp_path), steps=100, seeds=3)
    cost = Cost(step=1.0, rest=10.0)
    all_of_it = cost.seconds(wanted, 2 * 3)
    assert all_of_it == 6 * 110
    assert fit(wanted, [PAIR], cost, all_of_it) == wanted
    assert fit(wanted, [PAIR], cost, 400) == replace(wanted, seeds=3, steps=56)
    assert fit(wanted, [PAIR], cost, 300) == replace(wanted, seeds=2, steps=65)
    assert fit(wanted, [PAIR], cost, 100) == replace(wanted, seeds=1, steps=40)
    with pytest.raises(UserError, match="don't fit"):
        fit(wanted, [PAIR], cost, 50)


def test_a_trial_measures_what_one_job_takes(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    cost = trial(replace(plan(tmp_path), jobs=2))
    assert cost.step > 0 and cost.rest > 0
    assert torch.get_num_threads() == threads


def test_the_command_writes_its_report_from_what_is_done(
    done: AblationPlan, tmp_path: Path
) -> None:
    results = {run.folder.name: run.result() for run in all_runs(done, [PAIR])}
    assert json.dumps(results)
    command = [
        sys.executable, "-m", "cascade_clip", "ablate", "queries", *TINY, "--steps", "1", "--seeds",
        "1", "--pictures", "2", "--out", str(done.out), "--jobs", "1",
        "--markdown", str(tmp_path / "page.md"),
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert "one for each stage" in finished.stdout
    assert "cascade-clip ablate queries" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert (done.out / "ablations.html").is_file()
    assert (tmp_path / "images" / "ablations-queries.png").is_file()
