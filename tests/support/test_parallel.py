"""Workers don't outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from cascade_clip.support.parallel import stop_with_parent, tell_of_fewer_readers, usable_cores


def sleep_long(pid_file: str) -> None:
    Path(pid_file).write_text(f"{os.getpid()}\n")
    time.sleep(600)


def start_worker(pid_file: str) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=stop_with_parent) as pool:
        pool.submit(sleep_long, pid_file).result()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_a_worker_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    call = f"from tests.support.test_parallel import start_worker; start_worker({str(pid_file)!r})"
    parent = subprocess.Popen([sys.executable, "-c", call])
    try:
        wait_until(lambda: pid_file.is_file() and pid_file.read_text().endswith("\n"))
    finally:
        parent.kill()
        parent.wait()
    pid = int(pid_file.read_text())
    wait_until(lambda: not runs(pid))


def test_who_asks_for_more_readers_than_cores_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell_of_fewer_readers("train.workers", usable_cores())
    assert capsys.readouterr().err == ""
    tell_of_fewer_readers("train.workers", 1000)
    said = capsys.readouterr().err
    assert said.startswith(f"train.workers is 1000, cores to read with are {usable_cores()};")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)
