"""One function over many items, in threads: for reading and writing files beside computing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
