"""How many threads compute, and how many compile."""

from __future__ import annotations

import os

from minigrad.errors import DataError

__all__ = ["choose", "get_num_threads"]

_chosen: list[int] = []


def get_num_threads() -> int:
    """Return how many threads compute: the caller and the workers.

    What ``set_num_threads`` set, else the environment variable ``MINIGRAD_NUM_THREADS``,
    else the number of processor cores that this process may use.
    """
    if _chosen:
        return _chosen[0]
    text = os.environ.get("MINIGRAD_NUM_THREADS")
    if text:
        return _checked(int(text) if text.isdecimal() else text, "MINIGRAD_NUM_THREADS")
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose(n: int | None) -> None:
    """Set the number for this process, or return to the default.

    Raises
    ------
    DataError
        If n is less than 1.
    """
    _chosen[:] = [] if n is None else [_checked(n, "set_num_threads")]


def _checked(n: object, name: str) -> int:
    if not isinstance(n, int) or n < 1:
        raise DataError(
            f"{name}: {n!r} is not a number of threads",
            rule="a whole number of at least 1: the calling thread counts",
        )
    return n
