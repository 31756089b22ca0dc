"""Memory of a compiled graph: what lies where, for how long, and results that are used again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from minigrad.dtypes import Array, DType
from minigrad.shapes import Shape

__all__ = ["ALIGN", "Arena", "Buffer", "Recycler", "pack"]

#: Bytes to which buffers are aligned, and by which they are kept apart.
ALIGN = 64

Kind: TypeAlias = Literal["input", "constant", "result", "arena", "own", "error"]


@dataclass(slots=True)
class Buffer:
    """A stretch of memory.

    ``kind`` is where it comes from: the caller (input), the graph (constant), fresh or
    recycled memory for each call (result), memory shared with others at other times
    (arena), memory that belongs to it alone and was filled once (own), the word in which
    a failed check is noted (error). ``first`` and ``last`` are the steps that write and
    read it first and last.
    """

    kind: Kind
    nbytes: int
    first: int = 1 << 60
    last: int = -1
    number: int = 0  # of the input or result
    offset: int = 0  # in the arena
    value: Array | None = None

    def touch(self, step: int) -> None:
        """Note that a step uses it."""
        self.first = min(self.first, step)
        self.last = max(self.last, step)


@dataclass(frozen=True, slots=True)
class Arena:
    """How large the shared memory is, and how large it would be without sharing."""

    nbytes: int
    unshared: int


_MANY = 3000


def pack(buffers: Sequence[Buffer]) -> Arena:
    """Give each arena buffer an offset, so that those alive at one time do not overlap.

    Largest first, each at the lowest place that is free while it lives.
    """
    arena = [b for b in buffers if b.kind == "arena" and b.last >= 0]
    total = sum(_rounded(b.nbytes) for b in arena)
    if len(arena) > _MANY:
        return Arena(_pack_in_order(arena), total)
    placed: list[Buffer] = []
    top = 0
    for buffer in sorted(arena, key=lambda b: (-b.nbytes, b.first)):
        size, at = _rounded(buffer.nbytes), 0
        for other in placed:  # by offset
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if other.offset - at >= size:
                break
            at = max(at, other.offset + _rounded(other.nbytes))
        buffer.offset = at
        top = max(top, at + size)
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
    return Arena(top, total)


def _pack_in_order(arena: Sequence[Buffer]) -> int:
    """Give offsets in the order of the steps, from lists of free places by size; linear."""
    free: dict[int, list[int]] = {}
    ends: dict[int, list[Buffer]] = {}
    top = 0
    done = -1
    for buffer in sorted(arena, key=lambda b: b.first):
        while done < buffer.first - 1:
            done += 1
            for dead in ends.pop(done, ()):
                free.setdefault(_rounded(dead.nbytes), []).append(dead.offset)
        size = _rounded(buffer.nbytes)
        places = free.get(size)
        if places:
            buffer.offset = places.pop()
        else:
            buffer.offset, top = top, top + size
        ends.setdefault(buffer.last, []).append(buffer)
    return top


def _rounded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGN) * ALIGN


class Recycler:
    """Arrays for one result, used again once nobody else holds them.

    Memory that was written before is several times cheaper than memory new from the system,
    which must be cleared first. Whether an array is held is seen from the reference count of
    the memory that it is a view of: views of the array count, too.
    """

    __slots__ = ("_dtype", "_free", "_nbytes", "_shape")

    def __init__(self, shape: Shape, dtype: DType) -> None:
        self._shape = shape
        self._dtype = dtype
        self._nbytes = max(1, prod(shape)) * dtype.itemsize
        self._free: list[tuple[Array, int, int]] = []

    def take(self) -> tuple[Array, int]:
        """Return an array that nobody else holds, and its address."""
        for memory, offset, address in self._free:
            if sys.getrefcount(memory) == _ALONE:
                return np.ndarray(self._shape, self._dtype, memory, offset), address
        memory = np.zeros(self._nbytes + ALIGN, np.uint8)
        address = memory.ctypes.data
        offset = -address % ALIGN
        if len(self._free) >= _MOST:
            del self._free[0]
        self._free.append((memory, offset, address + offset))
        return np.ndarray(self._shape, self._dtype, memory, offset), address + offset

    def take_array(self) -> Array:
        """Return an array that nobody else holds."""
        return self.take()[0]

    @property
    def taker(self) -> Callable[[], Array]:
        """The fastest way to an array: NumPy keeps small memory itself."""
        if self._nbytes <= _SMALL:
            return partial(np.empty, self._shape, self._dtype)
        return self.take_array


_MOST = 8
_SMALL = 512  # bytes


def _measure() -> int:
    """Return the reference count of an array held by a list of tuples, in a loop over it."""
    entries = [(np.zeros(1), 0, 0)]
    for memory, _, _ in entries:
        return sys.getrefcount(memory)
    raise AssertionError


_ALONE = _measure()
