"""Batching: the third graph-to-graph transformation.

A function is recorded once, on one element. Every node that depends on a batched input
is then recorded again for the whole batch, by the rule of its primitive's kind; the
batch is axis 0 of everything in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.core.apply import apply
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
    """Batch a call: the inside, node by node; what depends on no batch is recorded as it is."""
    known = dict(zip(graph.inputs, operands, strict=True))
    batched = {n for n, b in zip(graph.inputs, flags, strict=True) if b}

    def step(node: Node, xs: tuple[Tensor, ...]) -> Tensor:
        hit = tuple([i in batched for i in node.inputs])
        if not any(hit):
            return apply(node.primitive, xs, node.params)
        batched.add(node)
        return node.primitive.batch(node.primitive, xs, hit, size, node.params)  # type: ignore[no-any-return]

    out = graph.outputs[index]
    replay(ancestors([out], stop=known), known, step)
    result = known[out] if out in known else Tensor(out)
    return result if out in batched else broadcast_to(result, (size, *out.aval.shape))
