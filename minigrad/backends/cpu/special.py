"""LLVM text of the terms that are more than an operation: random words, gathers, padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minigrad.dtypes import DType, int64, wide
from minigrad.passes.affine import Affine, Var
from minigrad.passes.terms import Bits, Gather, Guard, Partial, Reduce

from .values import Value

if TYPE_CHECKING:
    from .emit import Emitter

__all__ = ["bits", "gather", "guard", "joined"]


def bits(out: Emitter, term: Bits, key: Value, stream: Value) -> Value:
    """Return random words: whole blocks of four where a vector goes along the draw."""
    k = out.writer
    at = out.at(term.at)
    step = at.coefficient(out.vector) if out.vector is not None else 0
    words = (*_halves(out, key, term.dtype), *_halves(out, stream, term.dtype))
    whole = all(c % 4 == 0 for v, c in at.terms if v is not out.vector) and at.const % 4 == 0
    if step == 1 and whole and k.unroll % 4 == 0:
        base = out.number(_without(at, out.vector))
        counter = out.counter[out.vector] if out.vector is not None else base
        start = k.add(base, counter) if base.regs != ("0",) else counter
        found: Value = k.bits(*words, start)
        return found
    index = out.number(at)
    general: Value = k.bits_at(*words, index)
    return general


def _halves(out: Emitter, word: Value, dtype: DType) -> tuple[Value, Value]:
    """Return the low and the high half of a 64-bit word."""
    k = out.writer
    high = k.shift_right(word, k.literal(32, word.dtype))
    return k.cast(k.bit_and(word, k.literal(0xFFFFFFFF, word.dtype)), dtype), k.cast(high, dtype)


def gather(out: Emitter, term: Gather, index: Value) -> Value:
    """Return the elements at computed indices."""
    k = out.writer
    place = out.place(term.node)
    at = out.address(place, term.index)
    stride = place.strides[term.axis]
    step = at.coefficient(out.vector) if out.vector is not None else 0
    index = k.cast(index, int64)
    offset = index if stride == 1 else k.mul(index, k.literal(stride, int64))
    mask = out.lanes()
    if step == 0 and offset.lanes == 1:
        pointer, depth = out.pointer(place.buffer, term.dtype, at)
        if any(g.lanes > 1 for g in out.guards):
            return k.gather(pointer, k.splat(offset), term.dtype, out.nest.depth, mask)
        for guard in out.guards:
            offset = k.select(guard, offset, k.const(0, offset))
        return k.gather(pointer, offset, term.dtype, depth)
    if step == 1 and offset.lanes == 1:
        pointer, depth = out.pointer(place.buffer, term.dtype, at)
        size = term.dtype.itemsize
        depth = max(depth, offset.depth)
        moved = k.mul(offset, k.literal(size, int64)) if size > 1 else offset
        pointer = k.line(depth, f"getelementptr inbounds i8, ptr {pointer}, i64 {moved.regs[0]}")
        return k.load(pointer, term.dtype, k.lanes, depth, mask)
    if step:
        offset = k.add(offset, k.iota(0, step, int64))
    pointer, depth = out.pointer(place.buffer, term.dtype, at)
    return k.gather(pointer, offset, term.dtype, depth, mask)


def guard(out: Emitter, term: Guard) -> Value:
    """Return what is inside where all conditions hold, else the filling."""
    k = out.writer
    condition: Value | None = None
    for affine, low, high in term.conditions:
        at = out.at(affine)
        number = out.number(at, int64)
        least, most = at.bounds
        for part in (
            k.less_equal(k.literal(low, int64), number) if least < low else None,
            k.less(number, k.literal(high, int64)) if most >= high else None,
        ):
            if part is not None:
                condition = part if condition is None else k.bit_and(condition, part)
    if condition is None:
        return out.value(term.args[0])
    before = out.guards
    out.guards = (*before, condition)
    inside = out.value(term.args[0])
    out.guards = before
    return k.select(condition, inside, k.literal(term.fill, term.dtype))


def joined(out: Emitter, term: Reduce) -> Value:
    """Return the joined parts of a reduction that was stored in parts."""
    k = out.writer
    (var,) = term.over
    (inside,) = term.args
    assert isinstance(inside, Partial)
    dtype = wide(inside.dtype)
    parts = out.parts.get(inside.node, var.extent)
    place = out.partial(inside.node)
    at = out.address(place, (Affine.of(var), *inside.index))
    vector = out.vector is not None and at.coefficient(out.vector) != 0
    start = k.identity(term.op, dtype)
    initial = k.splat(start) if vector else start
    if parts == 1:
        total = out.load(place.buffer, dtype, at.substitute({var: Affine(0)}))
    else:
        (total,) = out.loop(var, "0", str(parts), 1, [initial])
        part = out.load(place.buffer, dtype, at)
        (total,) = out.end(var, [k.combine(term.op, total, part)])
    return total if dtype == term.dtype else k.cast(total, term.dtype)


def _without(at: Affine, var: Var | None) -> Affine:
    return Affine(at.const, tuple([(v, c) for v, c in at.terms if v is not var]))
