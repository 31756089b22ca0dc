"""Copies that change the order of axes: panels of a product's right factor, whole arrays.

Where neighbours in the source lie apart in the result, squares of as many rows and columns
as a register has lanes are transposed in registers: both sides are touched in whole lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from minigrad.backends.layout import Place
from minigrad.dtypes import DType, int64
from minigrad.dtypes import bool as bool_
from minigrad.passes.affine import ZERO, Affine, Var

from .code import Code, grain_of
from .dialect import Writer
from .emit import Emitter
from .target import Target
from .values import TYPES, Value

__all__ = ["copy_code", "pack_code", "transposed"]

#: Estimated nanoseconds for an element that is copied.
_COPY = 0.25


def _nowhere(_: object) -> Place:
    raise AssertionError("a copy reads no node")


def copy_code(
    target: Target,
    dtype: DType,
    source: int,
    result: int,
    origin: Affine,
    goal: Affine,
    loops: Sequence[Var],
) -> Code:
    """Return the code that copies the elements at ``origin`` to ``goal``, two addresses.

    One loop goes through the source side by side, another one through the result.
    """
    lanes = target.vector_bytes // max(dtype.itemsize, 4)
    out = Emitter(target, lanes, _nowhere, _nowhere, {})
    row = next(v for v in loops if origin.coefficient(v) == 1)
    column = next(v for v in loops if goal.coefficient(v) == 1)
    around = sorted(
        [v for v in loops if v not in (row, column)], key=lambda v: -abs(goal.coefficient(v))
    )
    first = around[0] if around else column
    cost = prod(v.extent for v in loops) * _COPY
    grain = grain_of(first.extent, cost, lanes if first is column else 1)
    for v in around:
        out.loop(v, *(("%lo", "%hi") if v is first else ("0", str(v.extent))), 1)
    base = out.argument(result)
    _squares(out, dtype, source, base, origin, goal, row, column, chunk=first is column)
    for v in reversed(around):
        out.end(v)
    text = "\n".join(["entry:", *out.writer.take(0), "  ret void"])
    return Code(text, out.writer.declarations, out.slots, first.extent, grain, cost)


def _squares(
    out: Emitter,
    dtype: DType,
    source: int,
    result: str,
    origin: Affine,
    goal: Affine,
    row: Var,
    column: Var,
    *,
    chunk: bool = False,
    columns: tuple[str, str] | None = None,
) -> None:
    """Write loops over squares: ``row`` is contiguous in the source, ``column`` in the result.

    ``chunk`` divides the columns among calls; ``columns`` are their first and end otherwise.
    """
    k, lanes = out.writer, out.writer.lanes
    low, high = ("%lo", "%hi") if chunk else columns or ("0", str(column.extent))
    whole = column.extent - column.extent % lanes
    for start, stop, width in _ranges(out, low, high, whole, column.extent, lanes):
        out.loop(column, start, stop, lanes)
        for begin, end in (
            (0, row.extent - row.extent % lanes),
            (row.extent - row.extent % lanes, row.extent),
        ):
            if begin == end:
                continue
            out.loop(row, str(begin), str(end), lanes)
            depth = out.nest.depth
            height = min(lanes, end - begin)
            mask = None if height == lanes else _mask(lanes, height)
            k.unroll = 1
            lines = []
            for i in range(width):
                place = origin + i * origin.coefficient(column)
                pointer, level = out.pointer(source, dtype, place)
                lines.append(k.load(pointer, dtype, lanes, max(level, depth), mask).regs[0])
            lines += ["poison"] * (lanes - width)
            found = transposed(k, lines, dtype, depth)
            mask = None if width == lanes else _mask(lanes, width)
            for i in range(height):
                place = goal + i * goal.coefficient(row)
                pointer, level = out.pointer(result, dtype, place)
                k.store(pointer, Value((found[i],), dtype, lanes, depth), max(level, depth), mask)
            out.end(row)
        out.end(column)


def _ranges(
    out: Emitter, low: str, high: str, whole: int, extent: int, lanes: int
) -> list[tuple[str, str, int]]:
    """Return the stretches of columns in full squares, and in the last, narrower ones."""
    if whole == extent:
        return [(low, high, lanes)]
    middle = out.least(high, whole, 0) if high.startswith("%") else str(whole)
    found = [(low, middle, lanes)] if whole else []
    return [*found, (middle if whole else low, high, extent - whole)]


def _mask(lanes: int, count: int) -> Value:
    text = ", ".join(f"i1 {'true' if i < count else 'false'}" for i in range(lanes))
    return Value((f"<{text}>",), bool_, lanes, 0)


def transposed(k: Writer, rows: Sequence[str], dtype: DType, depth: int) -> list[str]:
    """Return the columns of a square of registers: log2(lanes) rounds of interleaving."""
    lanes = len(rows)
    kind = TYPES[dtype, lanes]
    orders = []
    for start in (0, lanes // 2):
        numbers = [start + i // 2 + (lanes if i % 2 else 0) for i in range(lanes)]
        orders.append(", ".join(f"i32 {n}" for n in numbers))
    current = list(rows)
    for _ in range(lanes.bit_length() - 1):
        following = []
        for a, b in zip(current[: lanes // 2], current[lanes // 2 :], strict=True):
            for order in orders:
                text = f"shufflevector {kind} {a}, {kind} {b}, <{lanes} x i32> <{order}>"
                following.append(k.line(depth, text))
        current = following
    return current


def pack_code(
    target: Target,
    dtype: DType,
    source: int,
    result: int,
    at: Affine,
    loops: Sequence[Var],
    n: Var,
    inner: Sequence[Var],
    width: int,
    panels: int,
) -> Code:
    """Return the code that copies a right factor to ``[loops][panel][inner][width]``.

    ``at`` is its address, ``n`` the column; columns that do not exist are 0.
    """
    lanes = target.vector_bytes // dtype.itemsize
    out = Emitter(target, lanes, _nowhere, _nowhere, {})
    k = out.writer
    total = prod(v.extent for v in loops) * panels
    size = prod(v.extent for v in inner) * width
    task = Var(total, "panel")
    cost = total * size * _COPY
    out.loop(task, "%lo", "%hi", 1)
    depth = out.nest.depth
    number = rest = out.counter[task].regs[0]
    if loops and panels > 1:
        number = k.line(depth, f"urem i64 {rest}, {panels}")
        rest = k.line(depth, f"udiv i64 {rest}, {panels}")
    elif loops:
        number = "0"
    for v in reversed(loops):
        out.level[v] = depth
        out.counter[v] = Value((k.line(depth, f"urem i64 {rest}, {v.extent}"),), int64, 1, depth)
        rest = k.line(depth, f"udiv i64 {rest}, {v.extent}")
    first = k.line(depth, f"mul nuw nsw i64 {number}, {width}")
    left = Value((k.line(depth, f"sub nsw i64 {n.extent}, {first}"),), int64, 1, depth)
    goal, step = ZERO, width
    for v in reversed(inner):
        goal, step = goal + Affine.of(v, step), step * v.extent
    # A panel's place is counted from its first column: goal + n - first.
    skip = k.line(depth, f"mul nuw nsw i64 {out.counter[task].regs[0]}, {size}")
    skip = k.line(depth, f"sub nsw i64 {skip}, {first}")
    skip = k.line(depth, f"mul nsw i64 {skip}, {dtype.itemsize}")
    base = out.argument(result)
    base = k.line(depth, f"getelementptr i8, ptr {base}, i64 {skip}")
    fastest = min(inner, key=lambda v: abs(at.coefficient(v)) or 1 << 60) if inner else None
    if at.coefficient(n) != 1 and fastest is not None and _is_square(at, fastest, n, lanes):
        end = k.line(depth, f"add nuw nsw i64 {first}, {width}")
        if n.extent % width:
            end = out.least(end, n.extent, depth)
        around = [v for v in inner if v is not fastest]
        for v in around:
            out.loop(v, "0", str(v.extent), 1)
        _squares(
            out, dtype, source, base, at, goal + Affine.of(n), fastest, n, columns=(first, end)
        )
        if n.extent % width:
            _clear(out, dtype, base, goal + Affine.of(n), fastest, n, end, first, width)
        for v in reversed(around):
            out.end(v)
    else:
        for v in inner:
            out.loop(v, "0", str(v.extent), 1)
        out.level[n], out.counter[n] = depth, Value((first,), int64, 1, depth)
        out.vector, k.unroll = n, width // lanes
        if n.extent % width:
            out.mask = k.tail_mask(left)
        value = out.load(source, dtype, at)
        out.mask = None
        pointer, level = out.pointer(base, dtype, goal + Affine.of(n))
        k.store(pointer, k.splat(value), max(level, out.nest.depth))
        out.vector, k.unroll = None, 1
        del out.level[n], out.counter[n]
        for v in reversed(inner):
            out.end(v)
    for v in loops:
        del out.level[v], out.counter[v]
    out.end(task)
    text = "\n".join(["entry:", *k.take(0), "  ret void"])
    return Code(text, k.declarations, out.slots, total, grain_of(total, cost), cost)


def _is_square(at: Affine, row: Var, column: Var, lanes: int) -> bool:
    """Whether transposing squares pays: enough of both, and rows that lie side by side."""
    whole = column.extent % lanes == 0
    return at.coefficient(row) == 1 and row.extent >= lanes and whole


def _clear(
    out: Emitter,
    dtype: DType,
    base: str,
    goal: Affine,
    row: Var,
    n: Var,
    end: str,
    first: str,
    width: int,
) -> None:
    """Write zeros for the columns of the last panel that do not exist."""
    k = out.writer
    depth = out.nest.depth
    stop = k.line(depth, f"add nuw nsw i64 {first}, {width}")
    out.loop(n, end, stop, k.lanes)
    out.loop(row, "0", str(row.extent), 1)
    depth = out.nest.depth
    pointer, level = out.pointer(base, dtype, goal)
    k.store(pointer, k.splat(k.literal(0, dtype), k.lanes, 1), max(level, depth))
    out.end(row)
    out.end(n)
