"""One worker thread that gathers jobs of the same kind for a moment and does them together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Job(Generic[Key, Item, Result]):
    key: Key
    item: Item
    future: Future[Result] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher(Generic[Key, Item, Result]):
    """Calls `run(key, items)` with jobs of equal key, the longest waiting one first.

    A job waits at most `wait` seconds for others of its key once it is its turn; `most(key)` says
    how many go together. All calls happen in one thread, so what `run` touches needs no locks.
    A job whose future is cancelled before its turn is left out.
    """

    def __init__(
        self,
        run: Callable[[Key, list[Item]], Sequence[Result]],
        *,
        most: Callable[[Key], int],
        wait: float = 0.004,
    ) -> None:
        self._run = run
        self._most = most
        self._wait = wait
        self._jobs: deque[_Job[Key, Item, Result]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, key: Key, item: Item) -> Future[Result]:
        """A future of the item's result, or of what `run` raised."""
        job: _Job[Key, Item, Result] = _Job(key, item)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def waiting(self) -> int:
        """Jobs whose turn hasn't come yet."""
        return len(self._jobs)

    def close(self) -> None:
        """Ends the thread after the batch at work; what still waits is cancelled."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.future.cancel()
            self._jobs.clear()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                self._finish(running)

    def _next_batch(self) -> list[_Job[Key, Item, Result]]:
        """Jobs of the oldest one's key, at least one; none once the batcher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return []
            first = self._jobs[0]
            most = self._most(first.key)
            self._changed.wait_for(
                lambda: self._closed or len(self._alike(first.key)) >= most,
                timeout=max(0.0, first.arrived + self._wait - time.monotonic()),
            )
            batch = self._alike(first.key)[:most]
            for job in batch:
                self._jobs.remove(job)
            return batch

    def _alike(self, key: Key) -> list[_Job[Key, Item, Result]]:
        return [job for job in self._jobs if job.key == key]

    def _finish(self, jobs: list[_Job[Key, Item, Result]]) -> None:
        try:
            results = self._run(jobs[0].key, [job.item for job in jobs])
            for job, result in zip(jobs, results, strict=True):
                job.future.set_result(result)
        except BaseException as error:  # whatever it is, it belongs to those who wait
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
