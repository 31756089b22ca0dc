"""Several workers in one process: threads that meet at a barrier stand for processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["Worker", "run"]


class Worker:
    """One of several threads; its group's sum is taken in the order of the ranks."""

    def __init__(self, rank: int, parts: list[Any], barrier: threading.Barrier) -> None:
        self.rank = rank
        self.size = len(parts)
        self.messages = 0
        self._parts, self._barrier = parts, barrier

    def all_reduce(self, array: Any) -> Any:
        self.messages += 1
        self._parts[self.rank] = array
        self._barrier.wait()
        total = sum(self._parts[1:], self._parts[0])
        self._barrier.wait()
        return total


def run(count: int, work: Callable[[Worker], Any], timeout: float = 20.0) -> list[Any]:
    """Return what ``work`` returns for each of several workers that run at the same time."""
    barrier = threading.Barrier(count, timeout=timeout)
    parts: list[Any] = [None] * count

    def one(rank: int) -> Any:
        try:
            return work(Worker(rank, parts, barrier))
        except BaseException:
            barrier.abort()  # the others must not wait for a worker that failed
            raise

    with ThreadPoolExecutor(count) as pool:
        return [f.result() for f in [pool.submit(one, rank) for rank in range(count)]]
