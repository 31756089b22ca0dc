"""Constant folding, merging of equal nodes, and opening of calls."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from minigrad.core.apply import NO_PARAMS
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.place import host
from minigrad.core.primitive import defined
from minigrad.core.tape import CONSTANT, INPUT, recorder
from minigrad.core.tensor import Tensor
from minigrad.dtypes import scalar
from minigrad.errors import MinigradError
from minigrad.ops.call import expand
from minigrad.ops.random import is_random_bits

from .rewrite import Step, literal, make_literal, rebuild
from .rules import MOVES

__all__ = ["fold", "folding", "inline", "merge", "merging"]

_SMALL = 1 << 12  # elements: larger results are cheaper to compute again than to keep


def fold(graph: Graph) -> Graph:
    """Return the graph with operations on literals, and small ones on constants, done."""
    return rebuild(graph, folding(graph))


def folding(graph: Graph) -> Step:
    """Return the step of ``fold``. A constant of one element for all places is a literal."""
    given = set(graph.inputs)

    def step(node: Node) -> Node:
        if node.primitive is CONSTANT and _known(node) and _uniform(node):
            return make_literal(node, host(node.value).flat[0].item(), node.aval)
        if not node.inputs or node.name:
            return node
        for i in node.inputs:
            if i.inputs or i in given or not _known(i):
                return node
        if node.primitive.name in ("barrier", "stop_gradient", "in_range", "call", "all_reduce"):
            return node
        numbers = [literal(i) for i in node.inputs]
        if node.primitive.name in MOVES and None not in numbers:
            return node  # a rule makes it a literal
        try:
            if node.primitive.kind == "elementwise" and None not in numbers:
                return _folded_literal(node)
            return _folded(node) if node.aval.size <= _SMALL else node
        except (MinigradError, ValueError, OverflowError):
            return node  # it will be raised when the graph runs, with the values at hand

    return step


def _known(node: Node) -> bool:
    """Whether a value is known; a large one on another device is not fetched."""
    value = node.value
    return isinstance(value, np.ndarray) or (value is not None and node.aval.size <= _SMALL)


def _uniform(node: Node) -> bool:
    """Whether a constant has one element in memory, as the gradient of a mean has at first."""
    shape, value = node.aval.shape, node.value
    if shape == ():
        return True
    return isinstance(value, np.ndarray) and 0 not in shape and not any(value.strides)


def _folded_literal(node: Node) -> Node:
    arrays = [scalar(literal(i), i.aval.dtype) for i in node.inputs]
    with np.errstate(all="ignore"):
        result = np.asarray(defined(node.primitive, arrays, node.params))
    return make_literal(node, result.item(), node.aval)


def _folded(node: Node) -> Node:
    values = [host(i.value) for i in node.inputs]
    with np.errstate(all="ignore"):
        result = np.ascontiguousarray(defined(node.primitive, values, node.params))
    result = result.reshape(node.aval.shape)
    return Node(CONSTANT, (), NO_PARAMS, node.aval, result, node.where, node.partner)


def merge(graph: Graph) -> Graph:
    """Return the graph with equal operations on equal inputs done once; see ``merging``."""
    return rebuild(graph, merging())


def merging(*, final: bool = False) -> Step:
    """Return the step of ``merge``.

    The gradient with respect to a tagged node counts the uses of that node. An equal one
    without the tag is therefore not merged with it, unless the result is ``final``.
    """
    first: dict[Hashable, Node] = {}

    def step(node: Node) -> Node:
        if node.primitive is INPUT:
            return node
        found = first.setdefault(_key(node), node)
        if node.name == found.name or (final and node.name is None):
            return found
        return first.setdefault((_key(node), node.name), node)

    return step


def _key(node: Node) -> Hashable:
    if not node.params and node.inputs:
        return node.primitive, node.inputs, node.aval, node.stopped
    data: Hashable = None
    if node.primitive is CONSTANT:
        small = node.aval.nbytes <= 256 and isinstance(node.value, np.ndarray)
        data = node.value.tobytes() if small else id(node)
    params = tuple([(k, type(v), _exact(v)) for k, v in sorted(node.params.items())])
    return node.primitive, node.inputs, params, node.aval, node.stopped, data


def _exact(value: Any) -> Hashable:
    """Return a key that tells -0.0 from 0.0."""
    return repr(value) if isinstance(value, float) else value


def inline(graph: Graph) -> Graph:
    """Return the graph with calls replaced by what they call; draws of random words stay."""
    while any(_opens(n) for n in graph.nodes):
        graph = rebuild(graph, _opened)
    return graph


def _opens(node: Node) -> bool:
    return node.primitive.kind == "call" and not is_random_bits(node)


def _opened(node: Node) -> Node:
    if not _opens(node):
        return node
    before = recorder.scope, recorder.recording, recorder.tape
    recorder.recording, recorder.tape = not node.stopped, None
    try:
        operands, index = [Tensor(i) for i in node.inputs], node.params["index"]
        return expand(operands, node.params["graph"], [index], node.where)[0].node
    finally:
        recorder.scope, recorder.recording, recorder.tape = before
