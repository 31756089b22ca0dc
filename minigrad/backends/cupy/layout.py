"""Where each node of a schedule lies on the device: its buffer, offset and strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from minigrad.core.node import Node
from minigrad.core.place import host
from minigrad.dtypes import DType, float16, float32
from minigrad.passes.kernels import Schedule
from minigrad.passes.layout import strides_of
from minigrad.passes.terms import row_major
from minigrad.shapes import Axes

__all__ = ["ALIGN", "Buffer", "Layout", "Place", "constant_array", "pack", "wide"]

#: Bytes to which buffers are aligned: vector loads, and what CuPy's pool aligns to.
ALIGN = 256

Kind: TypeAlias = Literal["input", "constant", "result", "arena", "own"]


def wide(dtype: DType) -> DType:
    """Return the dtype in which a dtype is added up."""
    return float32 if dtype == float16 else dtype


@dataclass(frozen=True, slots=True)
class Place:
    """A buffer, and the offset and strides of a node's elements in it."""

    buffer: int
    offset: int
    strides: tuple[int, ...]
    dtype: DType


@dataclass(slots=True)
class Buffer:
    """A stretch of device memory.

    ``kind``: a copy of an argument (input), a captured array (constant), a result, memory
    that is shared with others at other times (arena), or filled once and for all (own).
    ``first`` and ``last`` are the steps that use it first and last.
    """

    kind: Kind
    nbytes: int
    number: int = 0  # of the input or result
    value: Any = None
    first: int = 1 << 60
    last: int = -1
    offset: int = 0  # in the one allocation of the executable

    def touch(self, step: int) -> None:
        """Note that a step uses it."""
        self.first, self.last = min(self.first, step), max(self.last, step)


@dataclass(slots=True)
class Layout:
    """The buffers of a compiled graph, made as its kernels mention its nodes."""

    schedule: Schedule
    buffers: list[Buffer] = field(default_factory=list)
    results: dict[Node, int] = field(default_factory=dict)
    _places: dict[Node, Place] = field(default_factory=dict)
    _partial: dict[Node, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.schedule.graph
        for i, node in enumerate(graph.inputs):
            self._new(node, Buffer("input", node.aval.nbytes, number=i))
        for node in graph.results:
            if node not in self._places and node.inputs:
                self.results[node] = len(self.results)
                buffer = Buffer("result", node.aval.nbytes, number=self.results[node])
                if node.primitive.name == "pad":
                    buffer.value = _filled(node)
                self._new(node, buffer)

    def place(self, node: Node) -> Place:
        """Return where a node lies; what has no place yet gets one."""
        found = self._places.get(node)
        if found is None:
            found = self._places[node] = self._find(node)
        return found

    def places(self) -> list[tuple[Node, Place]]:
        """Return the nodes that have a place, with it."""
        return list(self._places.items())

    def _find(self, node: Node) -> Place:
        sink = self.schedule.inside.get(node)
        if sink is not None:
            assert sink.low is not None and sink.step is not None
            outer = self.place(sink.target)
            offset = sum(low * s for low, s in zip(sink.low, outer.strides, strict=True))
            strides = tuple(t * s for t, s in zip(sink.step, outer.strides, strict=True))
            return Place(outer.buffer, outer.offset + offset, strides, node.aval.dtype)
        if not node.inputs:
            order = self.schedule.orders[node]
            array = np.array(constant_array(node).transpose(order), order="C")
            return self._new(node, Buffer("constant", array.nbytes, value=array))
        if node not in self.schedule.stored and node.primitive.name == "reshape":
            below = self.place(node.inputs[0])
            return Place(below.buffer, below.offset, row_major(node.aval.shape), node.aval.dtype)
        if node.primitive.name == "pad":
            return self._new(node, Buffer("own", node.aval.nbytes, value=_filled(node)))
        return self._new(node, Buffer("arena", node.aval.nbytes))

    def _new(self, node: Node, buffer: Buffer) -> Place:
        strides = self.strides(node, self.schedule.orders[node])
        place = Place(self.scratch(buffer), 0, strides, node.aval.dtype)
        self._places[node] = place
        return place

    def strides(self, node: Node, order: Axes) -> tuple[int, ...]:
        """Return strides, in elements, for an order of axes."""
        return strides_of(node.aval.shape, order)

    def scratch(self, buffer: Buffer) -> int:
        """Add a buffer; return its number."""
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def partial(self, node: Node) -> Place:
        """Return where the parts of a reduction lie: the parts are the first axis."""
        found = self._partial.get(node)
        if found is None:
            count, dtype = self.schedule.divided[node], wide(node.aval.dtype)
            buffer = self.scratch(Buffer("arena", count * node.aval.size * dtype.itemsize))
            strides = self.strides(node, self.schedule.orders[node])
            found = Place(buffer, 0, (node.aval.size, *strides), dtype)
            self._partial[node] = found
        return found


def _filled(node: Node) -> Any:
    """Return what a padded node holds before anything is stored in it."""
    return np.full(node.aval.size, node.params["value"], node.aval.dtype)


def constant_array(node: Node) -> Any:
    """Return the host array of a constant."""
    if node.value is not None:
        return host(node.value)
    return np.asarray(node.primitive.reference(np, **node.params))


def pack(buffers: Sequence[Buffer]) -> int:
    """Give every buffer its offset in one allocation; return its size.

    Arena buffers that are not alive together share memory: largest first, each at the
    lowest place that is free while it lives. The others have memory of their own.
    """
    top = 0
    for b in buffers:
        if b.kind != "arena":
            b.offset, top = top, top + _rounded(b.nbytes)
    base = top
    placed: list[Buffer] = []
    for b in sorted((b for b in buffers if b.kind == "arena"), key=lambda b: (-b.nbytes, b.first)):
        size, at = _rounded(b.nbytes), base
        for other in placed:  # by offset
            if other.last < b.first or b.last < other.first:
                continue
            if other.offset - at >= size:
                break
            at = max(at, other.offset + _rounded(other.nbytes))
        b.offset = at
        top = max(top, at + size)
        placed.append(b)
        placed.sort(key=lambda x: x.offset)
    return top


def _rounded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGN) * ALIGN
