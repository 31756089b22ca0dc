"""One traced signature of a compiled function: what it depended on, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from sys import getrefcount
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from minigrad.backends.base import Backend
from minigrad.backends.report import Plan
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.origin import Where, where
from minigrad.core.state import Cell, Parameter, load_all
from minigrad.core.tape import INPUT, Tape, recorder
from minigrad.core.tensor import Tensor
from minigrad.ops.call import call_p
from minigrad.passes import finalise

from .shortcut import shortcut

__all__ = ["Choice", "Entry", "first_valid"]


class Choice(NamedTuple):
    """Why a backend runs an entry: it was named, or is where the arguments are.

    ``holds()`` says whether it would be chosen again.
    """

    named: bool
    holds: Callable[[], bool]


class Entry:
    """A graph, the attributes and state that it depends on, and the executable.

    What a call needs is worked out once, here: a small step is mostly the call itself.
    """

    def __init__(
        self, graph: Graph, tape: Tape, backend: Backend, passed: Sequence[Any], choice: Choice
    ) -> None:
        self.graph, self.tape, self.choice = graph, tape, choice
        self.passed = passed  # kept alive: the signature knows cells by their identity
        start = perf_counter()
        self.final = finalise(graph)
        cleaned = perf_counter()
        self.execute = backend.compile(self.final)
        #: What the clean-up took and what the backend's compiler took, in seconds.
        self.seconds = (cleaned - start, perf_counter() - cleaned)
        self.arity = len(graph.arguments)
        assert graph.structure is not None
        self.build = graph.structure.build
        self.returned = graph.structure.size
        self.first_update = len(graph.outputs)
        self.state = [_source(node) for node in graph.state]
        self.updated = [cell for cell, _ in graph.updates]
        #: State that the executable may write over, where nobody else holds its array.
        reusable: frozenset[int] = getattr(self.execute, "reusable", frozenset())
        self.replaced = [
            (self.arity + i, cell)
            for i, (cell, _, _) in enumerate(self.state)
            if cell is not None and self.arity + i in reusable
        ]
        self.grads = list(tape.grads.items())
        #: Whether ``backward`` may see into the results. A training step has walked back
        #: already; its losses would keep the parameters of every step alive.
        self.linked = not self.grads and not any(cell.trainable for cell in self.updated)

    @cached_property
    def fast(self) -> Callable[[tuple[Any, ...]], Any] | None:
        """The shortest way through a call, or None; made when a call is repeated."""
        return shortcut(self)

    @property
    def valid(self) -> bool:
        """Whether all that the trace depended on is as it was: attributes, types of state."""
        if not self.tape.valid:
            return False
        for cell, parameter, aval in self.state:
            if (cell.kind if cell is not None else parameter._grad.node.aval) is not aval:
                return False
        return True

    def run(self, arrays: Sequence[Any], operands: Callable[[], list[Node]]) -> Any:
        """Run on the arrays of the arguments, update the state, and return the results.

        ``operands()`` are the nodes of the arguments, for results with a history.
        """
        linked = self.linked and recorder.recording
        leaves = [_leaf(cell, parameter) for cell, parameter, _ in self.state] if linked else []
        state = self._arrays()
        if self.replaced and not linked:
            owned = {i for i, cell in self.replaced if _is_owned(cell)}
            results = self.execute(*arrays, *state, owned=owned, cells=self.updated)
        else:
            results = self.execute(*arrays, *state)
        place = where(recorder.scope)
        n, outputs = self.returned, self.graph.outputs
        fresh = zip(outputs[n:], results[n:], strict=False)
        grads = [None if node is None else _result(*next(fresh), place) for _, node in self.grads]
        load_all(self.updated, results[self.first_update :])
        for (parameter, _), gradient in zip(self.grads, grads, strict=True):
            parameter._grad = gradient
        if linked:
            return self.build(self._linked([*operands(), *leaves], results, place))
        return self.build(
            [_result(node, value, place) for node, value in zip(outputs[:n], results, strict=False)]
        )

    def explain(self, arrays: Sequence[Any] | None) -> Plan:
        """Return what runs, timed on the arrays of the arguments if there are any."""
        return self.execute.explain(None if arrays is None else [*arrays, *self._arrays()])

    def _arrays(self) -> list[Any]:
        """Return the arrays of the state that is read."""
        return [
            cell.array if cell is not None else parameter._grad.node.value
            for cell, parameter, _ in self.state
        ]

    def _linked(
        self, operands: Sequence[Node], results: Sequence[Any], place: Where
    ) -> list[Tensor]:
        """Return the results as calls of the graph, so that ``backward`` sees into them.

        The operands are the leaves that were read: a cell that the graph updates has a new
        one since, and the walk back draws the same mask from the old one.
        """
        inputs, graph = tuple(operands), self.graph
        return [
            Tensor(
                Node(call_p, inputs, {"graph": graph, "index": i}, out.aval, value, place, None,
                     out.name)
            )
            for i, (out, value) in enumerate(
                zip(graph.outputs[: self.returned], results, strict=False)
            )
        ]  # fmt: skip


def first_valid(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry whose trace still holds."""
    for entry in entries:
        if entry.valid:
            return entry
    return None


def _is_owned(cell: Cell) -> bool:
    """Whether nobody but the cell, and a list of the present call, holds the cell's array."""
    held = cell._held
    if type(held) is Node or getrefcount(held) != _HELD:
        return False
    base = held.base  # None, or the bytes that an executable keeps to be used again
    if base is None:
        return True
    ours = type(base) is np.ndarray and base.dtype == np.uint8
    return ours and getrefcount(base) == _BASE


class _Probe:
    """Stands for a cell when it is measured what reference counts an owned one has."""

    _held = np.zeros(2).view()


def _counts() -> tuple[int, int]:
    listed = [_Probe._held]
    held = _Probe._held
    base = held.base
    counts = getrefcount(held), getrefcount(base)
    del listed
    return counts


#: Reference counts of an owned array, and of the memory that it is a view of. That memory
#: is also held by the executable that made it.
_HELD, _BASE = _counts()
_BASE += 1


def _source(node: Node) -> tuple[Cell | None, Any, Any]:
    """Return the cell, or the parameter whose ``.grad`` it is, and the type of a state input."""
    return node.params.get("cell"), node.params.get("gradient"), node.aval


def _leaf(cell: Cell | None, parameter: Parameter) -> Node:
    if cell is not None:
        return cell.leaf
    gradient = parameter._grad
    assert gradient is not None
    return gradient.node


def _result(node: Node, value: Any, place: Where) -> Tensor:
    return Tensor(Node(INPUT, (), {}, node.aval, value, place, None, node.name))
