"""Compiled code held to the reference: bits where a graph is exact, else its rounding errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.api.tracing import state_value
from minigrad.backends.cpu import code, layout, loops, pool, rows
from minigrad.backends.cpu import executable as executables
from minigrad.backends.cpu import program as plans
from minigrad.backends.cpu.executable import Executable, compile_graph
from minigrad.backends.reference import program
from minigrad.core import Graph
from minigrad.passes import finalise, kernels, lower, numbers, schedule
from minigrad.testing.retype import retyped

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Limits:
    """Sizes at which the compiler changes its way; small ones show all ways on small arrays."""

    parts: int = 0  # into how many parts every large reduction is divided
    product_parts: int = 0
    serial: bool = True
    across: int = 4096
    row_bytes: int = 1 << 20
    unroll: int = 36
    scratch: int = 96 << 10
    epilogues: bool = True
    separate: int = 3000
    distribute: bool = True  # take factors out of sums, where 0 times infinity is then not seen


@contextmanager
def limits(chosen: Limits) -> Iterator[None]:
    """Let the compiler decide by other sizes."""
    with pytest.MonkeyPatch.context() as patch:
        if chosen.parts:
            patch.setattr(plans, "parts", lambda x, y: chosen.parts if x > 60 and y < x else 1)
        if chosen.product_parts:
            patch.setattr(
                plans, "product_parts", lambda _, inner: chosen.product_parts if inner > 20 else 1
            )
        if not chosen.serial:
            patch.setattr(code, "SERIAL", 0.0)
            patch.setattr(code, "CHUNK", 50.0)
        patch.setattr(loops, "_ACROSS", chosen.across)
        patch.setattr(rows, "SCRATCH", chosen.scratch)
        for module in (schedule,):
            patch.setattr(module, "UNROLL", chosen.unroll)
        if not chosen.distribute:
            patch.setattr(lower, "distributed", lambda node, _: node)
        patch.setattr(numbers, "SEPARATE", chosen.separate)
        patch.setattr(numbers, "FEW", 8 if chosen.separate > 1 else 0)
        original = kernels.Options

        def options(**given: Any) -> Any:
            return original(
                **{"row_bytes": chosen.row_bytes, "epilogues": chosen.epilogues,
                   "separate": chosen.separate, **given}
            )  # fmt: skip

        patch.setattr(plans, "Options", options)
        yield


_ZONE = 4096
_FILL = 0xA5


@contextmanager
def zones() -> Iterator[None]:
    """Put memory that nobody may write around what compiled code writes; look at the end."""
    made: list[Array] = []

    def zoned(count: int, dtype: Any = np.int64) -> Array:
        size = count * np.dtype(dtype).itemsize
        memory = np.full(size + 2 * _ZONE + 63, _FILL, np.uint8)
        start = _ZONE + -(memory.ctypes.data + _ZONE) % 64
        memory[start : start + size] = 0
        made.append(memory[start - _ZONE : start])
        made.append(memory[start + size : start + size + _ZONE])
        return memory[start : start + size].view(np.dtype(dtype))

    def take(recycler: Any) -> tuple[Array, int]:
        count = int(np.prod(recycler._shape))
        array = zoned(count, recycler._dtype).reshape(recycler._shape)
        return array, array.ctypes.data

    with pytest.MonkeyPatch.context() as patch:
        for module in (executables, layout):
            patch.setattr(module, "aligned", zoned)
        patch.setattr(executables.Recycler, "take", take)
        yield
    assert all((zone == _FILL).all() for zone in made), "memory beside a buffer was written"


def inputs_of(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """Return the arrays for all inputs of a graph: its arguments, then its state."""
    given = iter(arrays)
    return [
        np.asarray(state_value(n)) if "cell" in n.params or "gradient" in n.params else next(given)
        for n in graph.inputs
    ]


def hold(f: Any, arrays: Sequence[Array], chosen: Limits | None = None) -> Executable:
    """Assert that a function's compiled code computes what the reference does."""
    with np.errstate(all="ignore"):
        graph = mg.trace(f, *arrays)
        final = finalise(graph)
        return hold_graph(final, inputs_of(final, arrays), chosen)


def hold_graph(final: Graph, given: Sequence[Array], chosen: Limits | None = None) -> Executable:
    """Assert it of a final graph; the bits are the same for every number of threads."""
    expected = program(final)(*given)
    with zones():
        with limits(chosen or Limits()):
            executable = compile_graph(final)
        found = runs(executable, given)
    exact = is_exact(final, given)
    allowed = [0.0] * len(expected) if exact else errors(final, given, expected)
    for i, (x, y, tolerance) in enumerate(zip(found, expected, allowed, strict=True)):
        compare(x, y, tolerance, f"result {i}{' (exact)' if exact else ''}")
    return executable


def runs(executable: Executable, given: Sequence[Array]) -> list[Array]:
    """Run with one, two and three threads; return the results, which have the same bits."""
    before = pool.get_num_threads()
    found: list[list[Array]] = []
    try:
        for threads in (1, 2, 3):
            pool.set_num_threads(threads)
            found.append([np.array(x) for x in executable(*given)])
    finally:
        pool.set_num_threads(before)
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            assert x.tobytes() == y.tobytes(), "the bits depend on the number of threads"
    return found[0]


def compare(found: Array, expected: Array, tolerance: float, where: str) -> None:
    """Equal types, NaN and infinities; numbers within a tolerance. Zeros have no sign here."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), where
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=where)
        return
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=where)


#: Bits of the fraction that stay free, for sums in another order and products taken apart.
_ROOM = 6


def is_exact(graph: Graph, given: Sequence[Array]) -> bool:
    """Whether no operation rounds: every value is a multiple of 1/64, and not large."""
    for node, value in program(graph).trace(given).items():
        if value.dtype.kind != "f":
            continue
        numbers = value[np.isfinite(value)].astype(np.float64)
        most = 2.0 ** (np.finfo(value.dtype).nmant - _ROOM)
        if numbers.size and (
            np.abs(numbers).sum() > most or (np.rint(numbers * 64) != numbers * 64).any()
        ):
            return False
        if node.primitive.name == "matmul":
            a, b = (
                np.abs(np.nan_to_num(x, posinf=0, neginf=0)) for x in _operands(graph, node, given)
            )
            if (a.astype(float) @ b.astype(float)).sum() > most:
                return False
    return True


def _operands(graph: Graph, node: Any, given: Sequence[Array]) -> list[Array]:
    values = program(graph).trace(given)
    return [values[i] for i in node.inputs]


def errors(graph: Graph, given: Sequence[Array], expected: Sequence[Array]) -> list[float]:
    """Return an allowed absolute error for each result, from the graph in other precisions.

    The reference in float32 differs from the reference in float64 by what its rounding
    errors come to; compiled code may err some times as much.
    """
    values = program(graph).trace(given)
    floats = [v for v in values.values() if v.dtype.kind == "f"]
    coarse = np.dtype(np.float32) if any(v.dtype == np.float32 for v in floats) else np.dtype(
        np.float64
    )  # fmt: skip
    finite = [np.abs(v[np.isfinite(v)]).max(initial=0.0) for v in floats]
    scale = max([1.0, *[float(x) for x in finite]])
    eps = float(np.finfo(coarse).eps)
    single, double = (
        program(retyped(graph, np.dtype(t))[0])(
            *[g.astype(t) if g.dtype.kind == "f" else g for g in given]
        )
        for t in (np.float32, np.float64)
    )
    found = []
    count = len(expected)
    single += [None] * (count - len(single))
    double += [None] * (count - len(double))
    for s, d in zip(single, double, strict=True):
        spread = 0.0
        if s is not None and s.dtype.kind == "f":
            difference = np.abs(s.astype(np.float64) - d)
            spread = float(np.nanmax(difference[np.isfinite(difference)], initial=0.0))
        found.append(8 * spread * eps / float(np.finfo(np.float32).eps) + 64 * eps * scale)
    return found
