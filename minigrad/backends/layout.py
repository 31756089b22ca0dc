"""Where each node of a schedule lies: its buffer, and its offset and strides there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from minigrad.core.node import Node
from minigrad.core.place import host
from minigrad.core.primitive import defined
from minigrad.dtypes import Array, DType, wide
from minigrad.passes.kernels import Schedule
from minigrad.passes.layout import strides_of
from minigrad.passes.terms import row_major

from .memory import Buffer

__all__ = ["Layout", "Place", "value_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node lies: a buffer, and the offset and strides of its elements in it."""

    buffer: int
    offset: int
    strides: tuple[int, ...]
    dtype: DType


class Layout:
    """The buffers of a compiled graph, made as its kernels mention its nodes.

    ``results`` numbers the results that are computed; others are inputs or constants. Nodes
    in ``errors`` are the word in which a failed check is noted.
    """

    def __init__(self, schedule: Schedule, errors: Collection[Node] = ()) -> None:
        self.schedule = schedule
        self.buffers: list[Buffer] = []
        self.results: dict[Node, int] = {}
        self._places: dict[Node, Place] = {}
        self._partial: dict[Node, Place] = {}
        graph = schedule.graph
        for i, node in enumerate(graph.inputs):
            self._new(node, Buffer("input", node.aval.nbytes, number=i))
        for node in graph.results:
            if node in self._places or not node.inputs:
                continue
            if node in errors:
                self._new(node, Buffer("error", node.aval.nbytes))
            else:
                self.results[node] = len(self.results)
                self._new(node, self._result(node, self.results[node]))

    def place(self, node: Node) -> Place:
        """Return where a node lies; what has no place yet gets one."""
        found = self._places.get(node)
        if found is None:
            found = self._places[node] = self._find(node)
        return found

    def places(self) -> list[tuple[Node, Place]]:
        """Return the nodes that have a place, with it."""
        return list(self._places.items())

    def partial(self, node: Node) -> Place:
        """Return where the parts of a reduction lie; the parts are the first axis."""
        found = self._partial.get(node)
        if found is None:
            count, dtype = self.schedule.divided[node], wide(node.aval.dtype)
            buffer = self.scratch(Buffer("arena", count * node.aval.size * dtype.itemsize))
            strides = strides_of(node.aval.shape, self.schedule.orders[node])
            found = Place(buffer, 0, (node.aval.size, *strides), dtype)
            self._partial[node] = found
        return found

    def scratch(self, buffer: Buffer) -> int:
        """Add a buffer; return its number."""
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def _result(self, node: Node, number: int) -> Buffer:
        return Buffer("result", node.aval.nbytes, number=number)

    def _filled(self, node: Node) -> Array:
        """Return what a padded node holds before anything is stored in it."""
        return np.full(node.aval.size, node.params["value"], node.aval.dtype)

    def _find(self, node: Node) -> Place:
        sink = self.schedule.inside.get(node)
        if sink is not None:
            assert sink.low is not None and sink.step is not None
            outer = self.place(sink.target)
            offset = sum(low * s for low, s in zip(sink.low, outer.strides, strict=True))
            strides = tuple(t * s for t, s in zip(sink.step, outer.strides, strict=True))
            return Place(outer.buffer, outer.offset + offset, strides, node.aval.dtype)
        if not node.inputs:  # a captured array is copied: its owner may change it
            array = np.array(value_of(node).transpose(self.schedule.orders[node]), order="C")
            return self._new(node, Buffer("constant", array.nbytes, value=array))
        if node not in self.schedule.stored and node.primitive.name == "reshape":
            below = self.place(node.inputs[0])
            return Place(below.buffer, below.offset, row_major(node.aval.shape), node.aval.dtype)
        if node.primitive.name == "pad":
            return self._new(node, Buffer("own", node.aval.nbytes, value=self._filled(node)))
        return self._new(node, Buffer("arena", node.aval.nbytes))

    def _new(self, node: Node, buffer: Buffer) -> Place:
        strides = strides_of(node.aval.shape, self.schedule.orders[node])
        place = Place(self.scratch(buffer), 0, strides, node.aval.dtype)
        self._places[node] = place
        return place


def value_of(node: Node) -> Array:
    """Return the array of a constant, on the host."""
    if node.value is not None:
        return np.asarray(host(node.value))
    return np.asarray(defined(node.primitive, (np,), node.params))
