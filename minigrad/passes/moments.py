"""Variances from one sweep: sums of x - s and of its squares, with s not far from the mean.

The mean of squared deviations needs the mean first: two sweeps over memory. With d = x - s,

    sum((x - mean)^2) = sum(d^2) - sum(d)^2 / n

and one is enough. The difference cancels where s is far from the mean beside the deviation:
what is lost are the bits of 1 + (mean - s)^2 / variance. The mean of a few values of x is a
fraction of the deviation away, and cannot be far even if one of them is an outlier.
"""

from __future__ import annotations

from math import prod

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.dtypes import float32, float64
from minigrad.shapes import Axes

from .build import op, repeated, reshaped, unnamed_literal
from .rewrite import literal, rebuild_at

__all__ = ["in_one_sweep"]

#: How many values of x are looked at first, out of at least how many.
_SOME, _LEAST = 8, 64


def in_one_sweep(graph: Graph, row_bytes: int) -> Graph:
    """Return the graph with moments about a value in place of moments about the mean.

    Not where up to ``row_bytes`` along the reduced axes stay at hand: they are read once.
    """

    def step(node: Node) -> Node:
        axes = node.params["axes"] if node.primitive.name == "sum" else ()
        x = _squared_deviation(node, axes) if axes else None
        return node if x is None or _is_row(x, axes, row_bytes) else _in_one_sweep(node, x, axes)

    return rebuild_at("sum", graph, step)


def _squared_deviation(node: Node, axes: Axes) -> Node | None:
    """Return x if a node is the sum of (x - mean(x))^2, the mean over the same axes."""
    (square,) = node.inputs
    if square.primitive.name != "mul" or square.inputs[0] is not square.inputs[1]:
        return None
    c = square.inputs[0]
    if c.primitive.name != "sub" or c.inputs[1].primitive.name != "broadcast_to":
        return None
    x, mean = c.inputs[0], c.inputs[1].inputs[0]
    if mean.primitive.name not in ("mul", "div") or x.aval.dtype not in (float32, float64):
        return None
    total, n = mean.inputs[0], literal(mean.inputs[1])
    if total.primitive.name != "sum" or total.inputs[0] is not x or n is None:
        return None
    count = _count(x, axes)
    is_mean = n == count if mean.primitive.name == "div" else n * count == 1
    same = total.params == {"axes": axes, "keepdims": True}
    return x if is_mean and same and count >= _LEAST else None


def _is_row(x: Node, axes: Axes, row_bytes: int) -> bool:
    return x.aval.ndim - 1 in axes and _count(x, axes) * x.aval.dtype.itemsize <= row_bytes


def _in_one_sweep(node: Node, x: Node, axes: Axes) -> Node:
    shape = x.aval.shape
    d = op(node, "sub", x, repeated(_near_the_mean(node, x, axes), shape))
    first = op(node, "sum", d, axes=axes, keepdims=True)
    second = op(node, "sum", op(node, "mul", d, d), axes=axes, keepdims=True)
    n = unnamed_literal(node, float(_count(x, axes)), first.aval)
    rest = op(node, "sub", second, op(node, "div", op(node, "mul", first, first), n))
    zero = unnamed_literal(node, 0.0, first.aval)
    result = reshaped(op(node, "maximum", rest, zero), node.aval.shape)
    result.name = node.name
    return result


def _near_the_mean(node: Node, x: Node, axes: Axes) -> Node:
    """Return the mean of some values, evenly apart along the longest of the axes."""
    shape = x.aval.shape
    longest = max(axes, key=lambda a: shape[a])
    some = min(_SOME, shape[longest])
    apart = shape[longest] // some
    step = tuple(apart if a == longest else 1 for a in range(len(shape)))
    stop = tuple(
        (some - 1) * apart + 1 if a == longest else 1 if a in axes else n
        for a, n in enumerate(shape)
    )
    values = op(node, "slice", x, start=(0,) * len(shape), stop=stop, step=step)
    total = op(node, "sum", values, axes=(longest,), keepdims=True)
    return op(node, "mul", total, unnamed_literal(node, 1.0 / some, total.aval))


def _count(x: Node, axes: Axes) -> int:
    return prod(x.aval.shape[a] for a in axes)
