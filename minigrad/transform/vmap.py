"""Batching: the third graph-to-graph transformation.

A function is recorded once, on one element. Every node that depends on a batched input
is then recorded again for the whole batch, by the rule of its primitive's kind; the
batch is axis 0 of everything in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node, ancestors
from minigrad.core.tensor import Tensor
from minigrad.ops.call import replay
from minigrad.ops.structural import broadcast_to

__all__ = ["batch", "call_batch"]


def batch(
    inputs: Sequence[Node], values: Sequence[Tensor], outputs: Sequence[Node], size: int
) -> list[Tensor]:
    """Return the outputs for a batch: axis 0 of each of ``values``, and of each result.

    ``values[i]`` stands for ``inputs[i]`` and has one axis more. Outputs that do not
    depend on the batch are repeated.
    """
    batched: dict[Node, Tensor] = dict(zip(inputs, values, strict=True))

    def step(node: Node, operands: tuple[Tensor, ...]) -> Tensor:
        flags = tuple([i in batched for i in node.inputs])
        return node.primitive.batch(  # type: ignore[no-any-return]
            node.primitive, operands, flags, size, node.params
        )

    since = min((n.serial for n in inputs), default=0)
    replay(ancestors(outputs, since=since), batched, step)
    return [
        batched[n] if n in batched else broadcast_to(Tensor(n), (size, *n.aval.shape))
        for n in outputs
    ]


def call_batch(
    operands: Sequence[Tensor], flags: Sequence[bool], size: int, graph: Graph, index: int
) -> Tensor:
    """Batch a call: the inside, node by node."""
    known: dict[Node, Any] = {
        n: x for n, x, b in zip(graph.inputs, operands, flags, strict=True) if not b
    }
    fixed = replay(graph.nodes, dict(known))
    inputs = [n for n, b in zip(graph.inputs, flags, strict=True) if b]
    values = [x for x, b in zip(operands, flags, strict=True) if b]
    batched: dict[Node, Tensor] = dict(zip(inputs, values, strict=True))
    for node in graph.nodes:
        hit = [i in batched for i in node.inputs]
        if any(hit):
            xs = [
                batched[i] if i in batched else fixed[i] if i in fixed else Tensor(i)
                for i in node.inputs
            ]
            batched[node] = node.primitive.batch(node.primitive, xs, hit, size, node.params)
    out = graph.outputs[index]
    if out in batched:
        return batched[out]
    plain = fixed[out] if out in fixed else Tensor(out)
    return broadcast_to(plain, (size, *out.aval.shape))
