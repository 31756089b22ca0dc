"""Python's cycle collector, out of the way while a graph is made.

Tracing and compiling make hundreds of thousands of small objects that all stay alive.
Each fourth more of them makes the collector look at all of them again, in vain: more
than half of the time that compiling 10,000 operations took.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["paused_collector"]

_lock = Lock()
_inside = 0  # how many regions, of all threads, are open
_before = False


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect no cycles in this region; regions nest, and several threads may be in one."""
    global _inside, _before  # noqa: PLW0603  (the collector is the process's own)
    with _lock:
        if _inside == 0:
            _before = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _before:
                gc.enable()
