"""Programs of very many small operations: their numbers are loaded, not written into the code."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from minigrad.core.apply import NO_PARAMS
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tape import CONSTANT
from minigrad.dtypes import scalar

from .rewrite import literal, rebuild

__all__ = ["FEW", "SEPARATE", "SMALL", "loaded_numbers", "small_operations"]

#: Elements up to which an operation is small.
SMALL = 4096
#: Number of small operations above which each is a kernel of its own, so that equal kernels
#: are compiled once. (A few in a row go together, see ``draft``.)
SEPARATE = 3000
#: Different numbers up to which one operation is written for each of them.
FEW = 8


def small_operations(graph: Graph) -> list[Node]:
    """Return the elementwise operations on small arrays."""
    return [n for n in graph.nodes if n.primitive.kind == "elementwise" and n.aval.size <= SMALL]


def loaded_numbers(graph: Graph) -> Graph:
    """Return the graph with arrays in the place of numbers that keep kernels from being equal.

    ``x * 0.31`` and ``x * 0.32`` are two kernels; as ``x * y``, one. A load costs less than
    compiling a kernel for each number. Only where each operation is a kernel of its own.
    """
    small = small_operations(graph)
    if len(small) <= SEPARATE:
        return graph
    numbers = defaultdict(set)
    for node in small:
        for i in node.inputs:
            if not i.inputs and literal(i) is not None:
                numbers[node.primitive.name, node.aval].add(repr(literal(i)))
    many = {operation for operation, found in numbers.items() if len(found) > FEW}
    arrays: dict[Node, Node] = {}

    def loaded(i: Node) -> Node:
        if i.inputs or literal(i) is None or i.aval.size == 1:
            return i
        if i not in arrays:
            full = np.full(i.aval.shape, scalar(literal(i), i.aval.dtype))
            arrays[i] = Node(CONSTANT, (), NO_PARAMS, i.aval, full, i.where, i.partner, i.name)
        return arrays[i]

    def step(node: Node) -> Node:
        if (node.primitive.name, node.aval) not in many:
            return node
        inputs = tuple([loaded(i) for i in node.inputs])
        return node if inputs == node.inputs else node.rebuilt(inputs)

    return rebuild(graph, step)
