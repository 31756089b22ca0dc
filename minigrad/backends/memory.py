"""Stretches of memory of a compiled graph, and how those not alive together share one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from minigrad.dtypes import Array

__all__ = ["Arena", "Buffer", "pack", "rounded"]

Kind: TypeAlias = Literal["input", "constant", "result", "arena", "own", "error"]


@dataclass(slots=True)
class Buffer:
    """A stretch of memory.

    ``kind`` is where it comes from: the caller (input), the graph (constant), memory for each
    call (result), memory shared with others at other times (arena), memory that belongs to it
    alone and was filled once (own), the word in which a failed check is noted (error).
    ``first`` and ``last`` are the steps that write and read it first and last.
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


def pack(buffers: Sequence[Buffer], align: int) -> Arena:
    """Give each arena buffer an offset, so that those alive at one time do not overlap.

    Largest first, each at the lowest place that is free while it lives.
    """
    arena = [b for b in buffers if b.kind == "arena" and b.last >= 0]
    total = sum(rounded(b.nbytes, align) for b in arena)
    if len(arena) > _MANY:
        return Arena(_pack_in_order(arena, align), total)
    placed: list[Buffer] = []
    top = 0
    for buffer in sorted(arena, key=lambda b: (-b.nbytes, b.first)):
        size, at = rounded(buffer.nbytes, align), 0
        for other in placed:  # by offset
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if other.offset - at >= size:
                break
            at = max(at, other.offset + rounded(other.nbytes, align))
        buffer.offset = at
        top = max(top, at + size)
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
    return Arena(top, total)


def _pack_in_order(arena: Sequence[Buffer], align: int) -> int:
    """Give offsets in the order of the steps, from lists of free places by size; linear."""
    free: dict[int, list[int]] = {}
    ends: dict[int, list[Buffer]] = {}
    top = 0
    done = -1
    for buffer in sorted(arena, key=lambda b: b.first):
        while done < buffer.first - 1:
            done += 1
            for dead in ends.pop(done, ()):
                free.setdefault(rounded(dead.nbytes, align), []).append(dead.offset)
        size = rounded(buffer.nbytes, align)
        places = free.get(size)
        if places:
            buffer.offset = places.pop()
        else:
            buffer.offset, top = top, top + size
        ends.setdefault(buffer.last, []).append(buffer)
    return top


def rounded(nbytes: int, align: int) -> int:
    """Return a size, at least 1, rounded up to a multiple of ``align``."""
    return -(-max(nbytes, 1) // align) * align
