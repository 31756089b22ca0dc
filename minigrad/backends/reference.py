"""The reference backend: runs a graph node by node with the primitives' own references.

It is the definition of every result. It runs on NumPy arrays, and the same functions
run on CuPy arrays. Values are dropped after their last use.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from time import perf_counter
from typing import Any

import numpy as np

from minigrad.core.apply import compute
from minigrad.core.door import module_of
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.place import host, sent
from minigrad.core.primitive import defined
from minigrad.errors import MinigradError
from minigrad.ops.costs import flops

from .report import Plan, PlanBuffer, PlanStep

__all__ = ["Program", "evaluate", "program"]


class Program:
    """A graph as a list of steps: function, where its operands are, what to drop after."""

    def __init__(self, graph: Graph, module: Any = np) -> None:
        self.name = graph.name
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

    def __call__(
        self,
        *arrays: Any,
        owned: Collection[int] = (),  # noqa: ARG002
        cells: Sequence[Any] = (),  # noqa: ARG002
    ) -> list[Any]:
        """Return the outputs, then the new values of state cells; nothing is written over."""
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

    def explain(self, arrays: Sequence[Any] | None = None) -> Plan:
        """Return a step for each node, timed on arrays if there are any."""
        times = {} if arrays is None else self._times(arrays)
        steps = tuple(
            PlanStep(
                what="reference", over=node.aval.shape, computes=(node,), reads=node.inputs,
                writes=(node,), buffers=(*operands, out),
                nbytes=sum(n.aval.nbytes for n in {*node.inputs, node}), flops=flops(node),
                parts=1, estimated=None, measured=times.get(node), source=_name_of(node),
            )
            for node, operands, out, _ in self.steps
        )  # fmt: skip
        buffers, most = self._memory()
        total = sum(b.nbytes for b in buffers if b.kind == "arena")
        return Plan(self.name, "numpy", "NumPy, node by node", steps, buffers, most, total)

    def _times(self, arrays: Sequence[Any]) -> dict[Node, float]:
        values = self._start(arrays)
        found: dict[Node, float] = {}
        with np.errstate(all="ignore"):
            for node, operands, out, _ in self.steps:
                start = perf_counter()
                values[out] = _apply(node, [values[i] for i in operands])
                found[node] = perf_counter() - start
        return found

    def _memory(self) -> tuple[tuple[PlanBuffer, ...], int]:
        """Return what each node takes and how long, and the most bytes at any one time."""
        first, last = {}, dict.fromkeys(range(len(self.order)), len(self.steps))
        for at, (_, _, out, drop) in enumerate(self.steps):
            first[out] = at
            last.update(dict.fromkeys(drop, at))
        kept = set(self.results)
        buffers = tuple(
            PlanBuffer(
                "result" if i in kept else "arena" if i in first else "input" if
                node.primitive.name == "input" else "constant",
                node.aval.nbytes, first.get(i, 0), last[i], 0, (node,),
            )
            for i, node in enumerate(self.order)
        )  # fmt: skip
        change = [0] * (len(self.steps) + 2)
        for b in buffers:
            if b.kind == "arena":
                change[b.first] += b.nbytes
                change[b.last + 1] -= b.nbytes
        return buffers, max(accumulate(change))

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
        return defined(node.primitive, (module,), node.params)
    return host(value) if module is np else sent(module, value)


def _apply(node: Node, values: list[Any]) -> Any:
    try:
        if type(values[0]) is np.ndarray:
            result = defined(node.primitive, values, node.params)
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


def _name_of(node: Node) -> str:
    function = node.primitive.reference
    return f"{function.__module__}.{function.__qualname__}"


def program(graph: Graph) -> Program:
    """Return the program of a graph, made once."""
    if graph._program is None:
        graph._program = Program(graph)
    found: Program = graph._program
    return found


def evaluate(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """Return the outputs of a graph on arrays, one for each of its inputs."""
    return program(graph)(*arrays)
