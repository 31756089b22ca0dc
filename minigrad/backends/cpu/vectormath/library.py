"""Functions of the C library, lane by lane, and those that are one instruction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from minigrad.backends.cpu.values import TYPES, Value
from minigrad.dtypes import float32

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Writer

__all__ = ["fmod", "intrinsic", "library", "library_where"]


def intrinsic(name: str) -> Callable[..., Value]:
    """Return the rule of a function that LLVM knows: exact, or rounded once."""
    return lambda k, *values: k.intrinsic(name, *values)


def library(name: str) -> Callable[..., Value]:
    """Return the rule of a function of the C library."""

    def rule(k: Writer, *values: Value) -> Value:
        if all(v.lanes == 1 for v in values):
            return _each_lane(k, name, *values)
        return k.routine(f"each.{name}", lambda inside, *xs: _each_lane(inside, name, *xs), *values)

    return rule


def _each_lane(k: Writer, name: str, *values: Value) -> Value:
    _, dtype, lanes, depth = values[0]
    element, callee = TYPES[dtype, 1], f"@{name}{'f' if dtype == float32 else ''}"
    k.declarations.add(f"declare {element} {callee}({', '.join([element] * len(values))})")
    if lanes == 1:
        return k.apply(callee, dtype, values)
    kind, result = TYPES[dtype, lanes], "poison"
    for i in range(lanes):
        one = [k.line(depth, f"extractelement {kind} {v.regs[0]}, i64 {i}") for v in values]
        inside = ", ".join([f"{element} {x}" for x in one])
        y = k.line(depth, f"call {element} {callee}({inside})")
        result = k.line(depth, f"insertelement {kind} {result}, {element} {y}, i64 {i}")
    return Value((result,), dtype, lanes, depth)


def library_where(k: Writer, name: str, where: Value, near: Value, *values: Value) -> Value:
    """Return the C library's result in some lanes, and ``near`` in the others.

    A branch, at the end of a routine: the library is called only if there is such a lane.
    """
    kind, out = TYPES[near.dtype, near.lanes], k.text[0]
    out.append(f"  br i1 {k.reduce('or', where).regs[0]}, label %far, label %done")
    out.append("far:")
    mixed = k.select(where, library(name)(k, *values), near).regs[0]
    out += ["  br label %done", "done:"]
    found = k.line(0, f"phi {kind} [ {near.regs[0]}, %entry ], [ {mixed}, %far ]")
    return Value((found,), near.dtype, near.lanes, 0)


def fmod(k: Writer, x: Value, y: Value) -> Value:
    """Return x - y trunc(x / y), exactly, with the sign of x."""
    return k.routine("fmod", _fmod, x, y) if k.target.has_fma else library("fmod")(k, x, y)


def _fmod(k: Writer, x: Value, y: Value) -> Value:
    """Subtract a whole multiple with one multiply-add, which is exact while it is small.

    The rounded quotient may be the next whole number, never the one before: then the rest
    has the wrong sign, and one y corrects it.
    """
    size = k.intrinsic("fabs", y)
    q = k.intrinsic("trunc", k.binary("fdiv", x, y))
    rest = k.fma(k.neg(q), y, x)
    zero = k.const(0.0, x)
    wrong = k.less(k.select(k.less(x, zero), k.neg(rest), rest), zero)
    rest = k.select(wrong, k.add(rest, k.intrinsic("copysign", size, x)), rest)
    exact = k.less(k.intrinsic("fabs", q), 2.0**22 if x.dtype == float32 else 2.0**51)
    near = k.bit_and(exact, k.less(size, math.inf))
    return library_where(k, "fmod", k.bit_not(near), k.intrinsic("copysign", rest, x), x, y)
