"""How long an ablation takes, and what fits into a given time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_clip.analysis.ablation.runner import (
    AblationPlan,
    all_runs,
    measure,
    runs_of,
    threads_of,
)
from cascade_clip.analysis.ablation.tables import AblationTable, Variant
from cascade_clip.errors import UserError
from cascade_clip.training.run import train

WARM_UP, SHORT, LONG = 1, 2, 8
"""Steps of the trial trainings: the first pays for what is done once in a process, and the
difference of the others is free of the time to start."""
FASTEST_STEP = 1e-3
FEWEST_STEPS = 20
THE_RECIPE = Variant("the recipe", ())


@dataclass(frozen=True)
class Cost:
    """Seconds in one of the plan's jobs: of a training step, and of all else about a run."""

    step: float
    rest: float

    def seconds(self, plan: AblationPlan, runs: int) -> float:
        """Wall time of that many runs."""
        return runs * (plan.steps * self.step + self.rest) / plan.jobs


def trial(plan: AblationPlan) -> Cost:
    """Measured on the plan's recipe by short trainings and one evaluation, with the threads of one
    of its jobs."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder, threads_of(plan.jobs):
        for steps in (WARM_UP, SHORT, LONG):
            run = runs_of(replace(plan, steps=steps, seeds=1, out=Path(folder)), THE_RECIPE)[0]
            start = time.monotonic()
            train(run.recipe, run.folder, quiet=True)
            seconds[steps] = time.monotonic() - start
        start = time.monotonic()
        measure(run)
        evaluation = time.monotonic() - start
    step = max(FASTEST_STEP, (seconds[LONG] - seconds[SHORT]) / (LONG - SHORT))
    return Cost(step, max(0.0, seconds[SHORT] - SHORT * step) + evaluation)


def fit(
    plan: AblationPlan, tables: Sequence[AblationTable], cost: Cost, budget: float
) -> AblationPlan:
    """`plan` with as many seeds, and then steps, as `budget` seconds allow.

    Seeds are given up as long as the steps would fall under half of those planned; then steps are.

    Raises `UserError` if not even one seed of a few steps fits.
    """
    variants = len(all_runs(replace(plan, seeds=1), tables))
    for seeds in range(plan.seeds, 0, -1):
        per_run = budget * plan.jobs / (variants * seeds) - cost.rest
        steps = min(plan.steps, int(per_run / cost.step))
        if steps >= plan.steps / 2 or (seeds == 1 and steps >= FEWEST_STEPS):
            return replace(plan, seeds=seeds, steps=steps)
    least = replace(plan, steps=FEWEST_STEPS, seeds=1)
    raise UserError(
        f"{variants} variants don't fit into {budget / 60:.3g} minutes; one seed of {FEWEST_STEPS} "
        f"steps each takes about {cost.seconds(least, variants) / 60:.1f}: allow more, or choose "
        "fewer tables"
    )
