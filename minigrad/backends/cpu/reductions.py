"""Reductions in registers: from U registers of W lanes to one scalar, in a fixed order.

Operations are ``sum``, ``prod``, ``max``, ``min``, and ``and`` and ``or`` for booleans.
In ``max`` and ``min`` NaN wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from minigrad.dtypes import DType, kind_of
from minigrad.dtypes import bool as bool_

from .values import TYPES, Value

if TYPE_CHECKING:
    from .dialect import Writer

__all__ = ["combine", "identity", "reduce"]

_BITWISE: Final = {"max": "or", "or": "or", "min": "and", "and": "and"}


def identity(k: Writer, op: str, dtype: DType) -> Value:
    """Return the scalar that changes nothing: 0, 1, the least or the greatest number."""
    if op in ("sum", "prod"):
        return k.literal(0 if op == "sum" else 1, dtype)
    if kind_of(dtype) == "b":
        return k.literal(_BITWISE[op] == "and", dtype)
    if kind_of(dtype) == "f":
        return k.literal(-np.inf if op == "max" else np.inf, dtype)
    info = np.iinfo(dtype)
    return k.literal(info.min if op == "max" else info.max, dtype)


def combine(k: Writer, op: str, a: Value, b: Value) -> Value:
    """Return a and b joined, lane by lane: one step of an accumulator."""
    if op == "sum":
        return k.add(a, b)
    if op == "prod":
        return k.mul(a, b)
    if kind_of(a.dtype) == "b":
        return k.binary(_BITWISE[op], a, b)
    chosen = k.select(k.less(b, a) if op == "max" else k.less(a, b), a, b)
    if kind_of(a.dtype) != "f":
        return chosen
    return k.select(k.binary("fcmp uno", a, a, bool_), a, chosen)  # a NaN in b was chosen


def reduce(k: Writer, op: str, value: Value) -> Value:
    """Return all lanes of all registers joined into a scalar.

    Neighbouring registers are joined first, then the upper half of the lanes to the lower:
    the order is the same whenever U and W are.
    """
    registers, dtype, lanes, depth = value
    while len(registers) > 1:
        pairs = len(registers) // 2
        left = Value(registers[: 2 * pairs : 2], dtype, lanes, depth)
        right = Value(registers[1 : 2 * pairs : 2], dtype, lanes, depth)
        registers = combine(k, op, left, right).regs + registers[2 * pairs :]
    if lanes > 1 and kind_of(dtype) == "b":
        return _reduce_mask(k, op, registers[0], lanes, depth)
    while lanes > 1:
        kind, half = TYPES[dtype, lanes], lanes // 2
        low, high = (
            _lanes(k, kind, registers[0], range(start, start + half), depth) for start in (0, half)
        )
        joined = combine(
            k, op, Value((low,), dtype, half, depth), Value((high,), dtype, half, depth)
        )
        registers, lanes = joined.regs, half
    return Value(registers, dtype, 1, depth)


def _lanes(k: Writer, kind: str, register: str, which: range, depth: int) -> str:
    """Return some lanes of a register, as a scalar if there is one."""
    if len(which) == 1:
        return k.line(depth, f"extractelement {kind} {register}, i64 {which[0]}")
    numbers = ", ".join([f"i32 {i}" for i in which])
    return k.line(
        depth,
        f"shufflevector {kind} {register}, {kind} poison, <{len(which)} x i32> <{numbers}>",
    )


def _reduce_mask(k: Writer, op: str, register: str, lanes: int, depth: int) -> Value:
    """Return whether any lane, or every lane, is true: one comparison of all bits."""
    number = k.line(depth, f"bitcast <{lanes} x i1> {register} to i{lanes}")
    text = f"icmp ne i{lanes} {number}, 0" if _BITWISE[op] == "or" else (
        f"icmp eq i{lanes} {number}, -1"
    )  # fmt: skip
    return Value((k.line(depth, text),), bool_, 1, depth)
