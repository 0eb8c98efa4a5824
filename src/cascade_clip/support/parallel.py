"""One function over many items, in processes or in threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import connection
from typing import TypeVar

from cascade_clip.errors import UserError
from cascade_clip.support.messages import notice

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8
"""Items that go to a process at once: sending single ones costs more than many a conversion."""
AHEAD = 4
"""Chunks per process that wait their turn; more would only fill memory."""


def usable_cores() -> int:
    """Cores that this process may run on, which a scheduler may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def readers(wanted: int) -> int:
    """How many of the processes that are wanted may read for a network: at most one for each usable
    core. More would only wait for each other, and PyTorch warns of them."""
    return min(wanted, usable_cores())


def tell_of_fewer_readers(setting: str, wanted: int) -> None:
    """Says that `readers` are fewer than `setting` asks for, if they are."""
    if readers(wanted) < wanted:
        notice(f"{setting} is {wanted}, cores to read with are {readers(wanted)}; as many are used")


def in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Generator[Result, None, None]:
    """Results of `function` for all items, as they become ready; with `jobs` 1 in this process.

    `function` must be importable (no lambda); what it raises is raised here and ends the rest. When
    the generator is closed or Ctrl-C comes, items under way are finished and no others begun.

    Raises `UserError` if a process was killed.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    pool = _pool(function, jobs)
    waiting: set[Future[list[Result]]] = set()
    try:
        for chunk in _chunks(items):
            waiting.add(pool.submit(_all_of, function, chunk))
            if len(waiting) >= AHEAD * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from _results(done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from _results(done)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, most likely because memory ran out; use fewer (--jobs)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(function: Callable[[Item], Result], jobs: int) -> ProcessPoolExecutor:
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([_module(function)])  # heavy imports only once
    return ProcessPoolExecutor(jobs, context, initializer=_follow_parent)


def _module(function: object) -> str:
    """Where a function, or that inside `functools.partial`, is defined."""
    return str(getattr(function, "func", function).__module__)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _all_of(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _results(done: Iterable[Future[list[Result]]]) -> Iterator[Result]:
    for future in done:
        yield from future.result()


def _follow_parent() -> None:
    """Ctrl-C is left to the parent, and a worker whose parent was killed ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    when_parent_ends(partial(os._exit, 1))


def stop_with_parent() -> None:
    """For workers that train: one whose parent was killed gets SIGTERM, at which a training writes
    its checkpoint."""
    when_parent_ends(partial(os.kill, os.getpid(), signal.SIGTERM))


def when_parent_ends(act: Callable[[], object]) -> None:
    """Calls `act` in this worker process when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for, args=(parent.sentinel, act), daemon=True).start()


def _wait_for(sentinel: int, act: Callable[[], object]) -> None:
    connection.wait([sentinel])
    act()


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[Result]:
    """Results of `function` in the order of the items.

    `items` is drawn from in the calling thread; at most `ahead` results wait to be asked for. What
    `function` raises is raised here.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
