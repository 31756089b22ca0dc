"""What a node costs: nanoseconds to trace, differentiate, clean up, check and run.

Every figure is the median of several rounds with its spread, for a chain of small
elementwise operations, where the arithmetic itself is next to nothing. Peers that are
installed are measured in the same rounds, in turn.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np

import minigrad as mg

from .timing import Figure, figure, machine, timed

__all__ = ["main", "measure"]

#: Takes a name, seconds, how many things they were spent on, and the unit.
Note: TypeAlias = Callable[[str, float, int, str], None]


def chain(tanh: Callable[[Any], Any], n: int) -> Callable[[Any], Any]:
    """Return a function of n operations: tanh and a product, in turn, then a sum."""

    def run(x: Any) -> Any:
        for _ in range(n // 2):
            x = tanh(x) * 0.9
        return x.sum()

    return run


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    return timed(action)


def measure(n: int = 50_000, rounds: int = 5) -> list[Figure]:
    """Return the figures for a chain of n operations."""
    x = np.ones(8)
    samples: dict[tuple[str, str], list[float]] = {}

    def note(name: str, seconds: float, count: int, unit: str) -> None:
        samples.setdefault((name, unit), []).append(seconds / count * 1e9)

    for _ in range(rounds):
        _round(n, x, note)
    return [figure(name, unit, s) for (name, unit), s in samples.items()]


def _round(n: int, x: Any, note: Note) -> None:
    """Measure everything once."""
    f = chain(mg.tanh, n)
    tracing, graph = _timed(lambda: mg.trace(f, x))
    note("trace", tracing, n, "ns/operation")
    seconds, backward = _timed(graph.grad)
    note("gradient", seconds, n, "ns/operation")
    note("trace + gradient", tracing + seconds, len(backward.nodes), "ns/node")
    seconds, _ = _timed(backward.verify)
    note("verify", seconds, len(backward.nodes), "ns/node")
    seconds, simple = _timed(backward.simplify)
    note("clean-up", seconds, len(backward.nodes), "ns/node")
    simple(x)
    seconds, _ = _timed(lambda: simple(x))
    note("run a graph, node by node", seconds, len(simple.nodes), "ns/node")
    seconds, _ = _timed(lambda: f(mg.tensor(x)))
    note("eager operation, recorded", seconds, n, "ns/operation")
    seconds, _ = _timed(lambda: mg.grad(f)(x))
    note("eager gradient (mg.grad)", seconds, n, "ns/operation")
    seconds, _ = _timed(lambda: chain(np.tanh, n)(x))
    note("NumPy alone", seconds, n, "ns/operation")
    if find_spec("autograd"):
        _autograd(n, x, note)


def _autograd(n: int, x: Any, note: Note) -> None:
    """Measure HIPS autograd on the same chain, in the same round."""
    make_vjp = import_module("autograd.core").make_vjp
    n = min(n, 20_000)
    f = chain(import_module("autograd.numpy").tanh, n)
    seconds, _ = _timed(lambda: make_vjp(f, x))
    note("HIPS autograd, operation recorded", seconds, n, "ns/operation")

    def both() -> None:
        pull, _ = make_vjp(f, x)
        pull(1.0)

    seconds, _ = _timed(both)
    note("HIPS autograd, gradient", seconds, n, "ns/operation")


def memory(n: int = 20_000) -> Figure:
    """Return the bytes that a traced node takes, gradient included."""
    f, x = chain(mg.tanh, n), np.ones(8)
    mg.trace(chain(mg.tanh, 10), x).grad()
    tracemalloc.start()
    graph = mg.trace(f, x).grad()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    each = used / len(graph.nodes)
    return figure("memory of a traced node", "bytes", [each])


def import_time(rounds: int = 7) -> list[Figure]:
    """Return the time to import NumPy, and minigrad beyond it, in fresh interpreters."""
    code = "import time; a = time.perf_counter(); import {}; print(time.perf_counter() - a)"

    def once(module: str) -> float:
        found = subprocess.run(
            [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
        )
        return float(found.stdout) * 1e3

    pairs = [(once("numpy"), once("minigrad")) for _ in range(rounds)]
    numpy = [a for a, _ in pairs]
    extra = [b - a for a, b in pairs]
    return [
        figure("import numpy", "ms", numpy),
        figure("import minigrad, beyond numpy", "ms", extra),
    ]


def main(arguments: list[str]) -> None:
    """Print the figures; ``--json`` for one JSON line each, a number for the chain's length."""
    numbers = [a for a in arguments if a.isdigit()]
    n = int(numbers[0]) if numbers else 50_000
    figures = [*measure(n), memory(), *import_time()]
    if "--json" in arguments:
        for figure in figures:
            sys.stdout.write(json.dumps(asdict(figure)) + "\n")
        return
    sys.stdout.write(
        f"{machine('autograd')}\n"
        f"chain of {n:,} operations on 8 float64; median (smallest to largest)\n"
    )
    for figure in figures:
        sys.stdout.write(f"{figure}\n")
