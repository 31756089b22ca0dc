"""What the writer's mathematics and random words cost: ``python -m tests.benchmarks.vectormath``.

Nanoseconds per element or word on one thread, the smallest of the repetitions, for the
levels of x86-64 that this machine can imitate and for NumPy; 24 K elements, two registers
an iteration. The rate of multiply-adds tells how fast the core was meanwhile.
"""

# ruff: noqa: T201
from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backends.cpu import jit
from minigrad.backends.cpu.dialect import Value, Writer
from minigrad.backends.cpu.target import Target
from minigrad.backends.scalar import FUNCTIONS
from minigrad.dtypes import float32, float64, int64, uint32
from minigrad.errors import BackendUnavailable
from tests.backends.cpu.writer import LEVELS, Body, address, lanes_of, module

SIZE = 24576  # whole registers for every unrolling here
RANGES = {
    "log": (0.01, 100), "log1p": (-0.9, 50), "pow": (0.1, 5), "sqrt": (0, 10), "fmod": (1, 50),
    "sin": (-30, 30), "cos": (-30, 30), "tan": (-30, 30),
}  # fmt: skip
NAMES = (
    "exp", "expm1", "tanh", "sinh", "cosh", "log", "log1p", "erf", "sin", "cos", "tan", "pow",
    "sqrt", "fmod", "atan",
)  # fmt: skip


def best(f: Callable[[], Any], count: int, repetitions: int = 15) -> float:
    """Return nanoseconds an element, of the fastest repetition."""
    found = []
    for _ in range(repetitions):
        start = time.perf_counter()
        f()
        found.append(time.perf_counter() - start)
    return min(found) / count * 1e9


def native(target: Target, body: Body, arrays: list[Any], lanes: int, unroll: int) -> float:
    """Return nanoseconds an element of a loop around ``body``."""
    k = Writer(target, 2, unroll, lanes)
    values = [k.load(address(k, i, a.dtype), a.dtype, lanes, 1) for i, a in enumerate(arrays)]
    result = body(k, *values)
    k.store(address(k, len(arrays), result.dtype), result, 1)
    text = module(k, len(arrays) + 1, lanes * unroll)
    function = jit.load(text, ["loop"], target=target)["loop"]
    out = np.zeros(SIZE, result.dtype)
    table = np.array([a.ctypes.data for a in (*arrays, out)], np.uint64)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(function)
    return best(lambda: call(table.ctypes.data, SIZE), SIZE, 50)


def rate(target: Target) -> float:
    """Return billions of float32 operations a second in twelve chains of multiply-adds."""
    lanes = lanes_of(target, float32)

    def body(k: Writer, x: Value) -> Value:
        for _ in range(16):
            x = k.fma(x, 0.5, 1.0)
        return x

    return 32 / native(target, body, [np.zeros(SIZE, float32)], lanes, 12 if lanes > 4 else 8)


def words(k: Writer, in_a_row: bool) -> Value:
    state = [Value((k.line(0, "load i32, ptr %p0, align 4"),), uint32, 1, 0) for _ in range(4)]
    index = Value(("%i",), int64, 1, 1)
    return k.bits(*state, index) if in_a_row else k.bits_at(*state, k.iota(index, 1, int64))


def main() -> None:
    targets = []
    for level in LEVELS:
        try:
            targets.append((level, jit.named_target(level)))
        except BackendUnavailable as error:
            print(error)
    host = targets[0][1]
    print(f"{host.cpu}, load {os.getloadavg()[0]:.1f}, {rate(host):.0f} GFLOP/s")
    print(f"{'':14}" + "".join(f"{level:>12}" for level, _ in targets) + f"{'NumPy':>12}")
    rng = np.random.default_rng(0)
    for dtype in (float32, float64):
        for name in NAMES:
            arrays = [rng.uniform(*RANGES.get(name, (-0.9, 0.9)), SIZE).astype(dtype)]
            if name in ("pow", "fmod"):
                arrays.append(rng.uniform(0.5, 3, SIZE).astype(dtype))

            def body(k: Writer, *xs: Value, name: str = name) -> Value:
                return k.call(name, *xs)

            row = [native(t, body, arrays, lanes_of(t, dtype), 2) for _, t in targets]

            def reference(name: str = name, arrays: list[Any] = arrays) -> None:
                FUNCTIONS[name](*arrays)

            row.append(best(reference, SIZE, 5))
            print(f"{name + ' ' + str(dtype):14}" + "".join(f"{ns:12.2f}" for ns in row))
    for unroll in (2, 4, 8):
        for in_a_row in (True, False):
            zeros = [np.zeros(SIZE, uint32)]
            row = [
                native(
                    t,
                    lambda k, _, kind=in_a_row: words(k, kind),
                    zeros,
                    lanes_of(t, uint32),
                    unroll,
                )
                for _, t in targets
            ]
            what = f"{'words' if in_a_row else 'any order'}, U={unroll}"
            print(f"{what:14}" + "".join(f"{ns:12.2f}" for ns in row))
    print(f"{rate(host):.0f} GFLOP/s")


if __name__ == "__main__":
    main()
