from __future__ import annotations

from rich.progress import Progress

from cascade_clip.training.progress import pace


def test_pace_and_time_left_do_not_credit_a_resumed_run_with_earlier_steps() -> None:
    now = 0.0
    progress = Progress(disable=True, get_time=lambda: now, speed_estimate_period=300)
    task = progress.add_task("", total=1000, completed=900)
    assert pace(progress.tasks[0]) == ["900/1000 steps", "0:00:00 elapsed"]
    now = 60.0  # the first step takes long and doesn't count for what is left
    progress.update(task, completed=901)
    for step in range(902, 941):
        now += 0.5
        progress.update(task, completed=step)
    assert pace(progress.tasks[0]) == ["940/1000 steps", "2/s", "0:01:20 elapsed, 0:00:30 left"]
