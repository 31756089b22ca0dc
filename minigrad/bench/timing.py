"""Figures: quantities measured several times, and how they and the machine are written down."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

import minigrad as mg

__all__ = ["Figure", "Spread", "figure", "machine", "repeated", "spread", "table", "timed"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: median, smallest and largest of all rounds."""

    name: str
    unit: str
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        between = f"{self.low:,.0f} to {self.high:,.0f}"
        return f"{self.name:<44} {self.median:>10,.0f} {self.unit:<14} ({between})"


def figure(name: str, unit: str, samples: Sequence[float]) -> Figure:
    """Return the figure of samples."""
    return Figure(name, unit, median(samples), min(samples), max(samples))


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds of many runs: the median, the quartiles about it, the fastest, and how many."""

    median: float
    lower: float
    upper: float
    fastest: float
    runs: int


def spread(samples: Sequence[float]) -> Spread:
    """Return the median and the quartiles of at least two samples."""
    lower, middle, upper = quantiles(samples, n=4, method="inclusive")
    return Spread(middle, lower, upper, min(samples), len(samples))


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that an action took, and its result."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def repeated(
    action: Callable[[], Any], seconds: float, *, least: int = 5, most: int = 20_000
) -> list[float]:
    """Return the seconds of each run, for about so many seconds, after a tenth of warming up."""
    clock = time.perf_counter
    end = clock() + seconds / 10
    action()
    while clock() < end:
        action()
    found: list[float] = []
    end = clock() + seconds
    while len(found) < least or (clock() < end and len(found) < most):
        start = clock()
        action()
        found.append(clock() - start)
    return found


def machine(*distributions: str) -> str:
    """Return the processor, how many cores may be used, and versions, on one line."""
    parts = [
        _processor(), f"{_cores()} cores", f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}", f"NumPy {np.__version__}",
        f"minigrad {mg.__version__}",
    ]  # fmt: skip
    for name in distributions:
        with suppress(PackageNotFoundError):
            parts.append(f"{name} {version(name)}")
    return ", ".join(parts)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> int:
    """Return the largest number of bytes that the process has had in memory."""
    import resource  # not on Windows

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns aligned under their heads, the first to the left."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
