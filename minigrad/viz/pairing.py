"""Which node of a gradient graph is the cotangent of which forward node.

A graph does not note this, but the reverse walk is deterministic: it is done again on the
forward part, and what it records is found in the graph by its structure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.place import host
from minigrad.core.primitive import defined
from minigrad.core.tape import CONSTANT, INPUT
from minigrad.dtypes import scalar

__all__ = ["cotangents", "default_targets", "derived", "level"]

_MANY = 3000  # nodes, from which the second walk would be felt


def level(node: Node) -> int:
    """Return how often reverse mode was applied: 0 forward, 1 backward, 2 backward of that."""
    steps, at = 0, node.partner
    while at is not None:
        steps, at = steps + 1, at.partner
    return steps


def default_targets(graph: Graph) -> list[Node]:
    """Return the inputs that ``graph.grad()`` differentiates by."""
    return [
        n
        for n in graph.inputs
        if n.aval.kind == "f"
        and "gradient" not in n.params
        and ("cell" not in n.params or n.params["cell"].trainable)
    ]


def cotangents(graph: Graph) -> dict[Node, Node]:
    """Return, for forward nodes of a graph, the node that holds the full cotangent."""
    backward = [n for n in graph.nodes if level(n) == 1]
    if not backward or len(graph.nodes) > _MANY:
        return _by_position(graph) if backward else {}
    loss = _loss(graph, backward)
    if loss is None:
        return {}
    forward = [n for n in (*graph.inputs, *graph.nodes) if level(n) == 0]
    again = derived(graph, loss, forward)
    keys = _Keys(forward, graph.inputs)
    present: dict[Hashable, Node] = {}
    for node in graph.nodes:
        present.setdefault(keys.of(node), node)
    found = {}
    for node, cotangent in again.items():
        twin = present.get(keys.of(cotangent))
        if twin is not None and (twin.inputs or twin in graph.outputs):
            found[node] = twin
    return {**_by_position(graph), **found}


def derived(graph: Graph, loss: Node, forward: Iterable[Node]) -> dict[Node, Node]:
    """Return a freshly derived cotangent for each floating forward node that reaches ``loss``."""
    reached = _reaching(loss)
    wrt = [n for n in forward if n.aval.kind == "f" and n in reached and n is not loss]
    if not wrt:
        return {}
    inputs = [n for n in graph.inputs if n in reached]
    delta = next((n for n in graph.inputs if n.name == "delta" and n not in reached), None)
    try:
        part = Graph(inputs, [loss])
        cotangent = None if loss.aval.shape == () else (delta.aval if delta else loss.aval)
        gradients = part.grad(wrt, cotangent=cotangent)
    except Exception:  # names are a help, never a reason to fail
        return {}
    pairs = zip(wrt, gradients.outputs[1:], strict=True)
    return {n: g for n, g in pairs if g.primitive.kind != "creation"}


def _reaching(loss: Node) -> set[Node]:
    seen, todo = set(), [loss]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += node.inputs
    return seen


def _loss(graph: Graph, backward: Sequence[Node]) -> Node | None:
    """Return the forward node from which the backward pass starts."""
    here = set(graph.nodes)
    served = [n.partner for n in backward if n.partner is not None and n.partner in here]
    last = max(served, key=lambda n: n.serial, default=None)
    for node in graph.outputs:
        fits = node in here and node.inputs and level(node) == 0 and node.aval.kind == "f"
        if fits and (last is None or last in _reaching(node)):
            return node
    return last


def _by_position(graph: Graph) -> dict[Node, Node]:
    """Return the pairs of a graph made by ``graph.grad()``: inputs in order, outputs in order."""
    targets = default_targets(graph)
    results = graph.outputs[1:]
    if len(targets) != len(results):
        return {}
    if any(t.aval is not r.aval for t, r in zip(targets, results, strict=True)):
        return {}
    if any(level(r) == 0 and r.inputs for r in results):
        return {}
    return dict(zip(targets, results, strict=True))


class _Keys:
    """Equal numbers for nodes that compute the same from the same forward nodes."""

    def __init__(self, forward: Iterable[Node], given: Iterable[Node]) -> None:
        data = set(given)  # and what depends on it; the rest is known early, and folded
        self._known: dict[Node, int] = {}
        self._uniform: dict[Node, float] = {}
        self._numbers: dict[Hashable, int] = {}
        for node in forward:
            if node in data or any(i in data for i in node.inputs):
                data.add(node)
                self._known[node] = self._number(("forward", _name_or_id(node)))

    def _number(self, key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def of(self, node: Node) -> int:
        """Return the number of a node; iterative, since graphs are deep."""
        todo = [node]
        while todo:
            at = todo[-1]
            missing = [i for i in at.inputs if i not in self._known]
            if missing and at not in self._known:
                todo += missing
                continue
            todo.pop()
            if at not in self._known:
                self._known[at] = self._number(self._key(at))
        return self._known[node]

    def _key(self, node: Node) -> Hashable:
        same = self._uniform_value(node)
        if same is not None:
            self._uniform[node] = same
            return "literal", same, node.aval
        if node.primitive is INPUT:
            return "forward", _name_or_id(node)
        if node.primitive is CONSTANT:
            small = node.aval.nbytes <= 256 and isinstance(node.value, np.ndarray)
            data = node.value.tobytes() if small else id(node.value)
            return "constant", node.aval, data
        operands = tuple(self._known[i] for i in node.inputs)
        params = tuple((k, _hashable(v)) for k, v in sorted(node.params.items()))
        return node.primitive.name, operands, params, node.aval

    def _uniform_value(self, node: Node) -> float | None:
        """Return the number that every element of a constant is, or None.

        A trace computes such constants early; here they are what they would have been.
        """
        name, kind = node.primitive.name, node.primitive.kind
        if name == "full":
            return float(node.params["value"])
        if kind == "leaf":
            if node.value is None or node.aval.size == 0:
                return None
            value = host(node.value)
            first = value.flat[0]
            return float(first) if bool((value == first).all()) else None
        operands = [self._uniform.get(i) for i in node.inputs]
        if None in operands or not operands:
            return None
        if kind == "movement" and len(operands) == 1:
            return operands[0]
        if kind != "elementwise":
            return None
        arrays = [scalar(v, i.aval.dtype) for v, i in zip(operands, node.inputs, strict=True)]
        with np.errstate(all="ignore"):
            return float(defined(node.primitive, arrays, node.params))


def _name_or_id(node: Node) -> Hashable:
    """Return what tells one input from another; the cotangent's is its name."""
    return "delta" if node.name == "delta" and node.primitive is INPUT else id(node)


def _hashable(value: object) -> Hashable:
    return id(value) if isinstance(value, Graph) else repr(value)
