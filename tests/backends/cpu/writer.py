"""Loops around what the writer writes, for its tests; and errors in units of the last place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.backends.cpu.dialect import Value, Writer
from minigrad.backends.cpu.jit import load
from minigrad.backends.cpu.target import Target, named_target
from minigrad.errors import BackendUnavailable

Array = np.ndarray[Any, Any]
Body = Callable[..., Value]

#: This machine, and narrower ones that it can imitate: with and without a multiply-add.
LEVELS = ("host", "x86-64-v3", "baseline")


def target_named(name: str) -> Target:
    """Return a target, or skip the test with what this machine lacks."""
    try:
        return named_target(name)
    except BackendUnavailable as error:
        pytest.skip(str(error))


def lanes_of(target: Target, *dtypes: Any) -> int:
    """Return the lanes of a loop in which the widest of these dtypes fills a register."""
    return target.vector_bytes // max(np.dtype(d).itemsize for d in dtypes)


def address(k: Writer, argument: int, dtype: Any, index: str = "%i") -> str:
    """Return the address of element ``index`` of an argument, at level 1."""
    offset = k.line(1, f"mul i64 {index}, {np.dtype(dtype).itemsize}")
    return k.line(1, f"getelementptr inbounds i8, ptr %p{argument}, i64 {offset}")


def module(k: Writer, arguments: int, step: int) -> str:
    """Return a function ``loop(ptr table, i64 count)`` around the writer's two levels."""
    lines = ["define void @loop(ptr %table, i64 %count) alignstack(64) nounwind {", "entry:"]
    for i in range(arguments):
        lines += [
            f"  %q{i} = getelementptr inbounds ptr, ptr %table, i64 {i}",
            f"  %p{i} = load ptr, ptr %q{i}",
        ]
    lines += k.text[0]
    lines += ["  br label %body", "body:", "  %i = phi i64 [ 0, %entry ], [ %next, %body ]"]
    lines += k.text[1]
    lines += [
        f"  %next = add nuw nsw i64 %i, {step}",
        "  %more = icmp ult i64 %next, %count",
        "  br i1 %more, label %body, label %end",
        "end:",
        "  ret void",
        "}",
    ]
    return "\n".join([*sorted(k.declarations), *lines, ""])


def call(text: str, target: Target, arrays: list[Array], count: int) -> None:
    """Run the loop once over arrays in place."""
    function = load(text, ["loop"], target=target)["loop"]
    table = np.array([a.ctypes.data for a in arrays], np.uint64)
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(function)
    native(table.ctypes.data, count)


def run(
    target: Target, body: Body, *arrays: Array, lanes: int = 1, unroll: int = 1,
    shared: bool = False,
) -> Array:  # fmt: skip
    """Return ``body(writer, *values)`` of every element, lanes and registers at a time."""
    k = Writer(target, 2, unroll, lanes, shared=shared)
    values = [k.load(address(k, i, a.dtype), a.dtype, lanes, 1) for i, a in enumerate(arrays)]
    result = body(k, *values)
    if lanes > 1:
        result = k.splat(result)
    k.store(address(k, len(arrays), result.dtype), result, 1)
    step = lanes * unroll if lanes > 1 else 1
    size = arrays[0].size
    whole = -(-size // step) * step
    padded = [np.concatenate([a, np.repeat(a[-1:], whole - size)]) for a in arrays]
    out = np.zeros(whole, result.dtype)
    call(module(k, len(arrays) + 1, step), target, [*padded, out], whole)
    return out[:size]


def ulps(found: Array, exact: Array) -> Array:
    """Return the error of each number in units of the last place of the exact result.

    ``exact`` has more digits than ``found``. Infinite where one is NaN, infinite or of
    another sign at 0 and the other, rounded, is not.
    """
    info = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        rounded = exact.astype(found.dtype)
        exponent = np.frexp(np.where(np.isfinite(exact) & (exact != 0), exact, 1))[1] - 1
        last = np.ldexp(exact.dtype.type(1), np.maximum(exponent, info.minexp) - info.nmant)
        error = np.abs(found.astype(exact.dtype) - exact) / last
    same = (rounded == found) | (np.isnan(rounded) & np.isnan(found))
    error = np.where(np.isfinite(rounded) & np.isfinite(found), error, np.where(same, 0, np.inf))
    signs = (rounded == 0) & (found == 0) & (np.signbit(rounded) != np.signbit(found))
    return np.where(signs, np.inf, error).astype(np.float64)
