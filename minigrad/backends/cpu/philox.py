"""Philox-4x32-10 in registers: the words of ``ops/random.py``, many blocks at once.

Element i of a draw is word i % 4 of block i // 4; a block's counter is (i // 4, 0, low and
high half of the stream), the key the halves of the seed. A product of 32-bit words needs
64-bit lanes, so the state is kept in such lanes all along: 32 bits in the lower half, and
in the upper half whatever the last product left there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from minigrad.dtypes import uint32, uint64

from .values import TYPES, Value

if TYPE_CHECKING:
    from .dialect import Writer

__all__ = ["bits", "bits_at", "mulhi"]

_M0: Final = 0xD2511F53
_M1: Final = 0xCD9E8D57
_W0: Final = 0x9E3779B9
_W1: Final = 0xBB67AE85
_LOW: Final = 0xFFFFFFFF


def _rounds(
    k: Writer, product: Value, key: tuple[Value, Value], stream: tuple[Value, Value]
) -> tuple[Value, Value, Value, Value]:
    """Return the last products and what their high words are to be combined with.

    ``product`` is that of the block's number and the first multiplier. Words 0 and 1 are
    the high word of the first result, xor the second, and its low word; 2 and 3 likewise.
    """
    k0, k1 = (k.cast(x, uint64) for x in key)
    c2, c3 = (k.cast(x, uint64) for x in stream)
    c1 = k.literal(0, uint64)
    p0, p1 = product, k.mul(k.bit_and(c2, _LOW), _M1)
    for _ in range(9):
        # What does not differ between lanes is joined first: it is computed before the loop.
        c0 = k.bit_xor(k.shift_right(p1, 32), k.bit_xor(c1, k0))
        c2 = k.bit_xor(k.shift_right(p0, 32), k.bit_xor(c3, k1))
        c1, c3 = p1, p0
        k0, k1 = k.add(k0, _W0), k.add(k1, _W1)
        p0 = k.mul(k.bit_and(c0, _LOW), _M0)
        p1 = k.mul(k.bit_and(c2, _LOW), _M1)
    return p1, k.bit_xor(c1, k0), p0, k.bit_xor(c3, k1)


def _pair(k: Writer, product: Value, other: Value) -> Value:
    """Return the two words of a product: its halves exchanged, the low one xor another's."""
    turned = k.intrinsic("fshl", product, product, 32)
    return k.bit_xor(turned, k.bit_and(other, _LOW))


def bits(
    k: Writer, key_low: Value, key_high: Value, stream_low: Value, stream_high: Value, base: Value
) -> Value:
    """Return the words of U * W elements in a row, of which ``base`` is the first.

    ``base``, an integer scalar, must be a multiple of 4, and no element's index may reach
    2**34. Each block is computed once.
    """
    words, lanes = k.unroll * k.lanes, k.lanes
    if lanes == 1 or words % 4 or words < 8:
        index = base if lanes == 1 else k.iota(base, 1, base.dtype)
        return bits_at(k, key_low, key_high, stream_low, stream_high, index)
    blocks = words // 4
    group = min(blocks, max(k.target.vector_bytes // 8, lanes // 4))
    first = k.mul(k.cast(k.shift_right(base, 2), uint64), _M0)
    products = k.iota(first, _M0, uint64, lanes=group, unroll=blocks // group)
    p1, x0, p0, x1 = _rounds(k, products, (key_low, key_high), (stream_low, stream_high))
    even, odd = _pair(k, p1, x0), _pair(k, p0, x1)  # the halves of each block's 128 bits
    kind, half, depth = TYPES[uint64, group], lanes // 2, even.depth
    found = []
    for u in range(k.unroll):
        g, start = divmod(u * half, 2 * group)
        chosen = [(start + i) // 2 + (start + i) % 2 * group for i in range(half)]
        order = f"<{half} x i32> <{', '.join([f'i32 {i}' for i in chosen])}>"
        text = f"shufflevector {kind} {even.regs[g]}, {kind} {odd.regs[g]}, {order}"
        found.append(k.line(depth, text))
    tail = f" to {TYPES[uint32, lanes]}"
    return k.each(f"bitcast <{half} x i64> ", found, tail, uint32, lanes, depth)


def bits_at(
    k: Writer, key_low: Value, key_high: Value, stream_low: Value, stream_high: Value, index: Value
) -> Value:
    """Return the word of each element whose flat index is given, in any order.

    Each lane computes its own block: four times the work of ``bits``.
    """
    block = k.cast(k.shift_right(index, 2), uint32)
    place = k.bit_and(k.cast(index, uint32), 3)
    blocks = [k.cast(block, uint64)] if index.lanes <= 2 else _halves(k, block)
    sides = []
    for side in blocks:
        product = k.mul(k.bit_and(side, _LOW), _M0)
        p1, x0, p0, x1 = _rounds(k, product, (key_low, key_high), (stream_low, stream_high))
        w0, w2 = k.bit_xor(k.shift_right(p1, 32), x0), k.bit_xor(k.shift_right(p0, 32), x1)
        sides.append((w0, p1, w2, p0))
    words = [_joined(k, one, index.lanes) for one in zip(*sides, strict=True)]
    found = words[3]
    for i in range(3):
        found = k.select(k.equal(place, i), words[i], found)
    return found


def _halves(k: Writer, a: Value) -> list[Value]:
    """Return the even and the odd lanes of a uint32 as 64-bit lanes; the even ones unmasked."""
    registers, _, lanes, depth = a
    tail = f" to {TYPES[uint64, lanes // 2]}"
    wide = k.each(f"bitcast {TYPES[uint32, lanes]} ", registers, tail, uint64, lanes // 2, depth)
    return [wide, k.shift_right(wide, 32)]


def _joined(k: Writer, sides: Sequence[Value], lanes: int) -> Value:
    """Return the low words of 64-bit lanes: of one value, or of even and odd lanes in turn."""
    if len(sides) == 1:
        return k.cast(sides[0], uint32)
    even, odd = sides
    both = k.bit_or(k.bit_and(even, _LOW), k.shift_left(odd, 32))
    head = f"bitcast {TYPES[uint64, lanes // 2]} "
    return k.each(head, both.regs, f" to {TYPES[uint32, lanes]}", uint32, lanes, both.depth)


def mulhi(k: Writer, a: Value, b: Value) -> Value:
    """Return the high words of products of uint32: even and odd lanes apart, if there are lanes."""
    a, b = k.meet(a, b)
    if a.lanes <= 2:
        product = k.mul(k.cast(a, uint64), k.cast(b, uint64))
        return k.cast(k.shift_right(product, 32), uint32)
    (a0, a1), (b0, b1) = _halves(k, a), _halves(k, b)
    even = k.mul(k.bit_and(a0, _LOW), k.bit_and(b0, _LOW))
    odd = k.mul(a1, b1)
    return _joined(k, [k.shift_right(even, 32), k.shift_right(odd, 32)], a.lanes)
