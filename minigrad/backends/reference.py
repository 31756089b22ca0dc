"""The reference backend: runs a graph node by node with the primitives' own references.

It is the definition of every result. It runs on NumPy arrays, and the same functions
run on CuPy arrays. Values are dropped after their last use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.core.apply import compute
from minigrad.core.door import module_of
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.place import host, sent
from minigrad.errors import MinigradError

__all__ = ["Program", "evaluate", "program"]


class Program:
    """A graph as a list of steps: function, where its operands are, what to drop after."""

    def __init__(self, graph: Graph, module: Any = np) -> None:
        self.module = module  # where constants are made if no operand says otherwise
        self.order = (*graph.inputs, *graph.nodes)  # not the graph itself: it holds this program
        slot = {node: i for i, node in enumerate(self.order)}
        self.results = [slot[n] for n in graph.results]
        self.constants: list[tuple[int, Node]] = []
        steps: list[tuple[Node, tuple[int, ...], int]] = []
        for node in graph.nodes:
            if node.inputs:
                steps.append((node, tuple(slot[i] for i in node.inputs), slot[node]))
            else:
                self.constants.append((slot[node], node))
        last: dict[int, int] = {}
        for at, (_, operands, out) in enumerate(steps):
            last.update(dict.fromkeys((*operands, out), at))
        kept = set(self.results)
        drops: list[list[int]] = [[] for _ in steps]
        for i, at in last.items():
            if i not in kept:
                drops[at].append(i)
        self.steps = [(*s, tuple(d)) for s, d in zip(steps, drops, strict=True)]

    def __call__(self, *arrays: Any) -> list[Any]:
        """Return the outputs, then the new values of state cells."""
        values = self._start(arrays)
        with np.errstate(all="ignore"):
            for node, operands, out, drop in self.steps:
                values[out] = _apply(node, [values[i] for i in operands])
                for i in drop:
                    values[i] = None
        return [values[i] for i in self.results]

    def trace(self, arrays: Sequence[Any], module: Any = None) -> dict[Node, Any]:
        """Return the value of every node; ``module`` says where, if the arrays are there."""
        values = self._start(arrays, module)
        with np.errstate(all="ignore"):
            for node, operands, out, _ in self.steps:
                values[out] = _apply(node, [values[i] for i in operands])
        return dict(zip(self.order, values, strict=True))

    def _start(self, arrays: Sequence[Any], module: Any = None) -> list[Any]:
        values: list[Any] = [None] * len(self.order)
        if module is None:
            known = arrays or [n.value for _, n in self.constants]
            module = next((m for m in map(module_of, known) if m is not np), self.module)
        if module is not np:  # data passed as NumPy arrays follows what is on the device
            arrays = [sent(module, a) for a in arrays]
        values[: len(arrays)] = arrays
        for i, node in self.constants:
            values[i] = on_device(node, module)
        return values


def on_device(node: Node, module: Any) -> Any:
    """Return the value of a constant as an array of this module."""
    value = node.value
    if value is not None and isinstance(value, np.ndarray) == (module is np):
        return value
    if node.primitive.kind == "creation":
        return node.primitive.reference(module, **node.params)
    return host(value) if module is np else sent(module, value)


def _apply(node: Node, values: list[Any]) -> Any:
    try:
        if type(values[0]) is np.ndarray:
            result = node.primitive.reference(*values, **node.params)
        else:
            result = compute(node.primitive, values, node.params)
    except MinigradError as error:
        error.operands = error.operands or tuple(i.describe() for i in node.inputs)
        error.layer = error.layer or node.origin.layer
        raise
    except Exception as error:
        error.add_note(f"while computing {node.describe()}")
        raise
    return np.asarray(result) if isinstance(result, np.generic) else result


def program(graph: Graph) -> Program:
    """Return the program of a graph, made once."""
    if graph._program is None:
        graph._program = Program(graph)
    found: Program = graph._program
    return found


def evaluate(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """Return the outputs of a graph on arrays, one for each of its inputs."""
    return program(graph)(*arrays)
