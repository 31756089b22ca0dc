"""``mg.checkpoint``: memory for time. What was computed is computed again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from minigrad.core.aval import aval
from minigrad.core.graph import Graph
from minigrad.core.node import Node, ancestors
from minigrad.core.state import Cell
from minigrad.core.tape import Tape, placeholder, recorder
from minigrad.core.tensor import Tensor
from minigrad.dtypes import float32
from minigrad.errors import MinigradError
from minigrad.ops.call import call_graph
from minigrad.trees import flatten

from .derivatives import transforming
from .tracing import output_nodes

__all__ = ["checkpoint"]

_SCALAR = aval((), float32)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``f`` with its intermediate results forgotten and computed again on the way back.

    Saves memory for the price of computing ``f`` twice. State that ``f`` changes, such as
    running statistics or the count of random draws, changes once.
    """

    @wraps(f)
    def checkpoint_f(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten(args)
        marker = placeholder(_SCALAR)  # what is recorded before it, the function closes over
        passed = [isinstance(leaf, Tensor) and not isinstance(leaf, Cell) for leaf in leaves]
        operands = [leaf for leaf, on in zip(leaves, passed, strict=True) if on]
        inputs = [placeholder(x.node.aval, x.node.name) for x in operands]
        fresh = iter(inputs)
        opened = [Tensor(next(fresh)) if on else x for x, on in zip(leaves, passed, strict=True)]
        with transforming(), Tape(closed=False) as tape:
            nodes, out_tree = output_nodes(f(*tree.build(opened), **kwargs), "checkpoint")
        if recorder.tape is not None:
            recorder.tape.guards.update(tape.guards)
        if tape.grads:
            raise MinigradError(
                "checkpoint: the function calls backward",
                fix="checkpoint a part of the forward pass only",
            )
        outputs = [*nodes, *tape.writes.values()]
        closed_over = _older(outputs, marker.serial)
        inputs += [*tape.reads.values(), *closed_over]
        operands += [Tensor(cell.node) for cell in tape.reads]
        operands += [Tensor(node) for node in closed_over]
        graph = Graph(inputs, outputs, name=getattr(f, "__name__", "checkpoint"))
        found = call_graph(graph, operands)
        for cell, value in zip(tape.writes, found[len(nodes) :], strict=True):
            cell.assign(value)
        return out_tree.build(found[: len(nodes)])

    return checkpoint_f


def _older(outputs: Sequence[Node], serial: int) -> list[Node]:
    """Return the nodes recorded before a point that those recorded after it use."""
    found: dict[Node, None] = {}
    for node in ancestors(outputs, since=serial):
        for source in (node, *node.inputs):
            if source.serial < serial and source.primitive.kind != "creation":
                found[source] = None
    found.update(dict.fromkeys(n for n in outputs if n.serial < serial))
    return list(found)
