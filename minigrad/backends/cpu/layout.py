"""Where each node of a schedule lies: its buffer, and its strides there."""

from __future__ import annotations

import numpy as np

from minigrad.core.node import Node
from minigrad.dtypes import Array
from minigrad.passes.kernels import Schedule
from minigrad.passes.layout import strides_of
from minigrad.passes.terms import row_major
from minigrad.shapes import Axes

from .buffers import Buffer
from .place import Place, wide
from .plan import aligned

__all__ = ["Layout"]


class Layout:
    """The buffers of a compiled graph, made as its kernels mention its nodes.

    ``results`` numbers the results that are computed; others are inputs or constants.
    """

    def __init__(self, schedule: Schedule, flags: set[Node]) -> None:
        self.schedule = schedule
        self.buffers: list[Buffer] = []
        self.results: dict[Node, int] = {}
        self._places: dict[Node, Place] = {}
        self._partial: dict[Node, Place] = {}
        self._constants: dict[int, int] = {}
        graph = schedule.graph
        for i, node in enumerate(graph.inputs):
            self._new(node, Buffer("input", node.aval.nbytes, number=i))
        for node in graph.results:
            if node in self._places or not node.inputs:
                continue
            if node in flags:
                self._new(node, Buffer("error", node.aval.nbytes))
            else:
                self.results[node] = len(self.results)
                self._new(node, Buffer("result", node.aval.nbytes, number=self.results[node]))

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
            return Place(outer.buffer, outer.offset + offset, strides)
        if not node.inputs:
            return self._constant(node)
        if node not in self.schedule.stored and node.primitive.name == "reshape":
            below = self.place(node.inputs[0])
            return Place(below.buffer, below.offset, row_major(node.aval.shape))
        if node.primitive.name == "pad":
            own = aligned(node.aval.size, node.aval.dtype)
            own[:] = node.aval.dtype.type(node.params["value"])
            return self._new(node, Buffer("own", node.aval.nbytes, value=own))
        return self._new(node, Buffer("arena", node.aval.nbytes))

    def _new(self, node: Node, buffer: Buffer) -> Place:
        place = Place(self.scratch(buffer), 0, self._strides(node, self.schedule.orders[node]))
        self._places[node] = place
        return place

    def _strides(self, node: Node, order: Axes) -> tuple[int, ...]:
        return strides_of(node.aval.shape, order)

    def _constant(self, node: Node) -> Place:
        """Return the place of a captured array, which is copied: its owner may change it."""
        order = self.schedule.orders[node]
        array = np.array(value_of(node).transpose(order), order="C")
        return self._new(node, Buffer("constant", array.nbytes, value=array))

    def scratch(self, buffer: Buffer) -> int:
        """Add a buffer; return its number."""
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def partial(self, node: Node) -> Place:
        """Return where the parts of a reduction lie; the parts are the first axis."""
        found = self._partial.get(node)
        if found is None:
            count, size = self.schedule.divided[node], wide(node.aval.dtype).itemsize
            buffer = self.scratch(Buffer("arena", count * node.aval.size * size))
            strides = self._strides(node, self.schedule.orders[node])
            found = self._partial[node] = Place(buffer, 0, (node.aval.size, *strides))
        return found


def value_of(node: Node) -> Array:
    """Return the array of a constant."""
    if node.value is not None:
        return np.asarray(node.value)
    return np.asarray(node.primitive.reference(np, **node.params))


__all__ += ["value_of"]
