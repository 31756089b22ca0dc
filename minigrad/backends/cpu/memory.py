"""Between memory and registers: loads, stores, gathers, and the numbers of the lanes.

In memory a boolean is a byte and a half type two; registers hold ``i1`` and ``float``.
Addresses are registers of type ``ptr``. The U registers of a vector lie one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from minigrad.dtypes import DType, halves, int32, int64, kind_of
from minigrad.dtypes import bool as bool_

from . import half
from .values import TYPES, Value, suffix

if TYPE_CHECKING:
    from .dialect import Writer

__all__ = ["gather", "iota", "load", "store", "tail_mask"]


def _stored(dtype: DType, lanes: int) -> tuple[str, str]:
    """Return the type in memory, and its name in an intrinsic's name."""
    if dtype != bool_ and dtype not in halves:
        return TYPES[dtype, lanes], suffix(dtype, lanes)
    kind, short = ("i8", "i8") if dtype == bool_ else half.stored_type(dtype)
    return (kind, short) if lanes == 1 else (f"<{lanes} x {kind}>", f"v{lanes}{short}")


def _loaded(k: Writer, registers: Sequence[str], dtype: DType, lanes: int, depth: int) -> Value:
    """Return what was loaded, in the form that registers have."""
    kind = _stored(dtype, lanes)[0]
    if dtype == bool_:
        zero = "0" if lanes == 1 else "zeroinitializer"
        return k.each(f"icmp ne {kind} ", registers, f", {zero}", dtype, lanes, depth)
    if dtype in halves:
        return half.loaded(k, registers, dtype, lanes, depth)
    return Value(tuple(registers), dtype, lanes, depth)


def _addresses(
    k: Writer, pointer: str, dtype: DType, lanes: int, count: int, depth: int
) -> list[str]:
    """Return the address of each of ``count`` registers."""
    step = lanes * dtype.itemsize
    return [
        k.line(depth, f"getelementptr inbounds i8, ptr {pointer}, i64 {u * step}") if u else pointer
        for u in range(count)
    ]


def load(
    k: Writer, pointer: str, dtype: DType, lanes: int, depth: int, mask: Value | None = None,
    *, align: int | None = None,
) -> Value:  # fmt: skip
    """Return what lies at an address: a scalar for one lane, else U registers of ``lanes``.

    Lanes that the mask leaves out are 0, and their memory is not touched. Addresses are
    aligned to the element, unless ``align`` promises more bytes.
    """
    align = align or dtype.itemsize
    count = 1 if lanes == 1 else len(mask.regs) if mask else k.unroll
    places = _addresses(k, pointer, dtype, lanes, count, depth)
    kind, short = _stored(dtype, lanes)
    if mask is None:
        found = k.each(f"load {kind}, ptr ", places, f", align {align}", dtype, lanes, depth)
    else:
        bits = TYPES[bool_, lanes]
        callee = f"@llvm.masked.load.{short}.p0"
        k.declarations.add(f"declare {kind} {callee}(ptr, i32, {bits}, {kind})")
        middles = [
            f"{place}, i32 {align}, {bits} {m}" for place, m in zip(places, mask.regs, strict=True)
        ]
        tail = f", {kind} zeroinitializer)"
        depth = max(depth, mask.depth)
        found = k.each(f"call {kind} {callee}(ptr ", middles, tail, dtype, lanes, depth)
    return _loaded(k, found.regs, dtype, lanes, depth)


def store(
    k: Writer, pointer: str, value: Value, depth: int, mask: Value | None = None,
    *, align: int | None = None, past_cache: bool = False,
) -> None:  # fmt: skip
    """Write a value at an address, at a loop level; lanes that the mask leaves out stay.

    ``past_cache`` writes whole lines of memory that will not be read again soon, without
    reading them first; ``align`` must be true then. The module defines ``!1 = !{i32 1}``.
    """
    registers, dtype, lanes, _ = value
    align = align or dtype.itemsize
    kind, short = _stored(dtype, lanes)
    depth = max(depth, value.depth, mask.depth if mask else 0)
    if dtype == bool_:
        head = f"zext {TYPES[dtype, lanes]} "
        registers = k.each(head, registers, f" to {kind}", dtype, lanes, depth).regs
    elif dtype in halves:
        registers = half.stored(k, value, depth)
    places = _addresses(k, pointer, dtype, lanes, len(registers), depth)
    out = k.text[depth]
    if mask is None:
        for x, place in zip(registers, places, strict=True):
            hint = ", !nontemporal !1" if past_cache else ""
            out.append(f"  store {kind} {x}, ptr {place}, align {align}{hint}")
        return
    bits = TYPES[bool_, lanes]
    callee = f"@llvm.masked.store.{short}.p0"
    k.declarations.add(f"declare void {callee}({kind}, ptr, i32, {bits})")
    for x, place, m in zip(registers, places, mask.regs, strict=True):
        if m.count("true") == 1 and m[0] == "<":
            _store_lane(k, place, x, value, m.strip("<>").split(", ").index("i1 true"), depth)
        else:
            out.append(f"  call void {callee}({kind} {x}, ptr {place}, i32 {align}, {bits} {m})")


def _store_lane(k: Writer, place: str, register: str, value: Value, lane: int, depth: int) -> None:
    """Write the one lane that a mask of constants lets through.

    LLVM's own way, where it folds a narrowing into the store, writes the lane before it was
    narrowed, over its neighbour (AVX-512, LLVM 22).
    """
    kind, element = _stored(value.dtype, value.lanes)[0], _stored(value.dtype, 1)[0]
    size = value.dtype.itemsize
    one = k.line(depth, f"extractelement {kind} {register}, i64 {lane}")
    if lane:
        place = k.line(depth, f"getelementptr inbounds i8, ptr {place}, i64 {lane * size}")
    k.text[depth].append(f"  store {element} {one}, ptr {place}, align {size}")


def gather(
    k: Writer, base: str, index: Value, dtype: DType, depth: int = 0, mask: Value | None = None
) -> Value:
    """Return the elements at ``base[index]``, index counting elements.

    Lanes that the mask leaves out are 0, and their index is not used. ``depth`` is the
    level below which the memory changes.
    """
    if kind_of(index.dtype) == "u":  # an address is computed with signed numbers
        index = k.cast(index, int64)
    registers, counts, lanes, level = index
    depth = max(depth, level, mask.depth if mask else 0)
    kind, short = _stored(dtype, lanes)
    element = _stored(dtype, 1)[0]
    head = f"getelementptr inbounds {element}, ptr {base}, {TYPES[counts, lanes]} "
    places = k.each(head, registers, "", dtype, lanes, depth).regs
    if lanes == 1:
        found = k.each(f"load {kind}, ptr ", places, f", align {dtype.itemsize}", dtype, 1, depth)
        return _loaded(k, found.regs, dtype, 1, depth)
    bits = TYPES[bool_, lanes]
    callee = f"@llvm.masked.gather.{short}.v{lanes}p0"
    k.declarations.add(f"declare {kind} {callee}(<{lanes} x ptr>, i32, {bits}, {kind})")
    masks = mask.regs if mask else ("splat (i1 true)",) * len(places)
    middles = [
        f"{place}, i32 {dtype.itemsize}, {bits} {m}" for place, m in zip(places, masks, strict=True)
    ]
    head, tail = f"call {kind} {callee}(<{lanes} x ptr> ", f", {kind} zeroinitializer)"
    found = k.each(head, middles, tail, dtype, lanes, depth)
    return _loaded(k, found.regs, dtype, lanes, depth)


def iota(
    k: Writer, base: Value | int, step: int, dtype: DType,
    *, lanes: int | None = None, unroll: int | None = None,
) -> Value:  # fmt: skip
    """Return base + step * (lane + u * lanes) for register u; integers wrap.

    ``base`` is a number or a scalar of this dtype, an integer one.
    """
    lanes, unroll = lanes or k.lanes, unroll or k.unroll
    if type(base) is not Value:
        base = k.literal(base, dtype)
    if lanes == 1:
        return base
    element, start = TYPES[dtype, 1], k.number(base)
    rows = [
        [k.literal((start or 0) + step * (u * lanes + i), dtype).regs[0] for i in range(lanes)]
        for u in range(unroll)
    ]
    texts = [f"<{', '.join([f'{element} {x}' for x in row])}>" for row in rows]
    numbers = Value(tuple(texts), dtype, lanes, 0)
    return numbers if start is not None else k.add(numbers, base)


def tail_mask(k: Writer, remaining: Value) -> Value:
    """Return which lanes come before ``remaining``, an int64 scalar from 0 to 2**31 - 1."""
    return k.less(k.iota(0, 1, int32), k.cast(remaining, int32))
