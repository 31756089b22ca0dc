"""In which order the axes of each node lie in memory, outermost first.

Arguments and results are in row-major order. What is computed from a node lies as the node
does: a convolution leaves its channels last, and what follows it keeps them there.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import numpy as np

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.shapes import Axes, Shape

from .terms import blocks

__all__ = ["Orders"]


class Orders:
    """The order of axes of every node of a graph.

    ``mixed`` are the reshapes that run across axes in another order than memory does.
    """

    def __init__(self, graph: Graph, apart: Collection[Node] = ()) -> None:
        self._order: dict[Node, Axes] = {}
        self._weak: set[Node] = set()  # repeated data, that follows whatever it meets
        self.mixed: set[Node] = set()
        self._plain = {*apart, *graph.results}
        for node in (*graph.inputs, *graph.nodes):
            self._order[node] = self._of(node)

    def __getitem__(self, node: Node) -> Axes:
        """Return the axes from the outermost to the innermost."""
        return self._order[node]

    def inner(self, node: Node) -> int | None:
        """Return the axis along which neighbours lie side by side; None for a single element."""
        for a in reversed(self._order[node]):
            if node.aval.shape[a] > 1:
                return a
        return None

    def _of(self, node: Node) -> Axes:
        plain = tuple(range(node.aval.ndim))
        if node in self._plain:
            return plain
        if not node.inputs:
            if node.primitive.kind == "creation":
                self._weak.add(node)
            return _of_array(node.value, plain) if node.primitive.name == "constant" else plain
        name, kind = node.primitive.name, node.primitive.kind
        if kind == "elementwise":
            return self._followed(node)
        x = node.inputs[0]
        order = self._order[x]
        if x in self._weak:
            self._weak.add(node)
        if name in ("permute_dims", "reshape"):
            found = moved(node, order)
            if found is None:
                self.mixed.add(node)
            return plain if found is None else found
        if name in ("slice", "pad", "flip", "cumulative_sum"):
            return order
        if name == "broadcast_to":
            self._weak.add(node)
            added = node.aval.ndim - x.aval.ndim
            return (*range(added), *(a + added for a in order))
        if name == "windows":
            return (*order, *range(x.aval.ndim, node.aval.ndim))
        if name == "fold_windows":
            return tuple(a for a in order if a < node.aval.ndim)
        if kind == "reduction" and "axes" in node.params:
            axes = node.params["axes"]
            if node.params["keepdims"]:
                return order
            kept = [a for a in range(x.aval.ndim) if a not in axes]
            return tuple(kept.index(a) for a in order if a not in axes)
        if name == "concat":
            return self._followed(node)
        return plain

    def _followed(self, node: Node) -> Axes:
        """Return the order of the first operand that is neither repeated data nor row-major."""
        found = None
        for i in node.inputs:
            if i.aval.ndim != node.aval.ndim or i in self._weak:
                continue
            order = self._order[i]
            if order != tuple(range(len(order))):
                return order
            found = order
        if found is None:  # nothing lies in memory yet
            self._weak.add(node)
            return tuple(range(node.aval.ndim))
        return found


def moved(node: Node, order: Axes) -> Axes | None:
    """Return the order of a permuted or reshaped node; None if a reshape mixes axes."""
    if node.primitive.name == "permute_dims":
        axes = node.params["axes"]
        return tuple(axes.index(a) for a in order)
    return _reshaped(order, node.inputs[0].aval.shape, node.aval.shape)


def same_memory(shape: Shape, one: Axes, other: Axes) -> bool:
    """Whether two orders of axes are the same, but for axes of size 1."""
    return [a for a in one if shape[a] > 1] == [a for a in other if shape[a] > 1]


def _of_array(value: object, plain: Axes) -> Axes:
    """Return the order in which the elements of a captured array lie."""
    if not isinstance(value, np.ndarray) or value.flags.c_contiguous or not value.size:
        return plain
    order = tuple(sorted(plain, key=lambda a: (-value.strides[a], a)))
    return order if value.transpose(order).flags.c_contiguous else plain


def _reshaped(order: Axes, source: Shape, target: Shape) -> Axes | None:
    """Return the order after a reshape, if what it joins or cuts lies in row-major order."""
    place: dict[int, list[int]] = {}
    runs = blocks(target, source)
    for number, (here, there) in enumerate(runs):
        old = [a for a in range(there.start, there.stop) if source[a] > 1]
        inside = [a for a in order if a in old]
        if inside != sorted(inside):
            return None
        place[number] = list(range(here.start, here.stop))
    owner = {a: k for k, (_, there) in enumerate(runs) for a in range(there.start, there.stop)}
    seen = list(dict.fromkeys(owner[a] for a in order if source[a] > 1))
    spread = [k for k, (_, there) in enumerate(runs) if k not in seen]
    for k in seen:
        mine = [i for i, a in enumerate(order) if owner[a] == k and source[a] > 1]
        if mine != list(range(mine[0], mine[0] + len(mine))) and any(
            owner[order[i]] != k and source[order[i]] > 1 for i in range(mine[0], mine[-1])
        ):
            return None
    result = [a for k in spread for a in place[k]] + [a for k in seen for a in place[k]]
    return tuple(result)


def strides_of(shape: Shape, order: Axes) -> tuple[int, ...]:
    """Return the strides, in elements, of an array whose axes lie in this order."""
    strides, total = [0] * len(shape), 1
    for a in reversed(order):
        strides[a] = total
        total *= shape[a]
    assert total == prod(shape)
    return tuple(strides)


__all__ += ["moved", "same_memory", "strides_of"]
