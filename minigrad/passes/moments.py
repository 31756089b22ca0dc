"""Moments from one sweep: sums of x - s in place of x - mean(x), with s not far from the mean.

A sum of deviations needs the mean first: two sweeps over memory. With d = x - s,

    sum((x - mean)^2) = sum(d^2) - sum(d)^2 / n,     sum(x) = sum(d) + n s,
    sum(p (x - mean)) = sum(p d) - sum(p) sum(d) / n

and one is enough. The difference cancels where s is far from the mean beside the deviation:
what is lost are the bits of 1 + (mean - s)^2 / variance. The mean of a few values of x is a
fraction of the deviation away, and cannot be far even if one of them is an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.dtypes import float32, float64
from minigrad.shapes import Axes

from .build import op, renamed, repeated, reshaped, unnamed_literal
from .kernels import Options, by_rows
from .rewrite import literal, rebuild
from .sums import Depths

__all__ = ["in_one_sweep"]

#: How many values of x are looked at first, out of at least how many.
_SOME, _LEAST = 8, 64


@dataclass(frozen=True, slots=True)
class _Deviation:
    """d = x - s, and its sum over axes, which are kept."""

    d: Node
    total: Node
    near: Node  # s


def in_one_sweep(graph: Graph, options: Options) -> Graph:
    """Return the graph with moments about a value in place of moments about the mean.

    Not where the options let what is reduced stay at hand: it is read once.
    """
    moments = {n: m for n in graph.nodes if (m := _moment(n)) is not None}
    at_hand = by_rows(graph, options, lambda x: x.aval.ndim - 1)
    totals = {m.total for m in moments.values() if m.is_square and m.total not in at_hand}
    totals = {t for t in totals if _count(t.inputs[0], t.params["axes"]) >= _LEAST}
    if not totals:
        return graph
    depth = Depths()
    found: dict[Node, _Deviation] = {}
    originals = iter(graph.nodes)

    def step(node: Node) -> Node:
        original = next(originals)  # nodes are visited in their order
        if original in totals:
            found[original] = _deviation(node)
            return _sum(node, found[original])
        moment = moments.get(original)
        if moment is None or moment.total not in totals:
            return node
        if moment.is_square:
            return _squares(node, found[moment.total])
        if moment.p is None:
            return _nothing(node, found[moment.total])
        p = moment.p
        if depth[p] > depth[moment.c.inputs[0]]:  # it is not there yet when x is read
            return node
        mine = node.inputs[0].inputs[original.inputs[0].inputs.index(p)]
        return _product(node, mine, found[moment.total])

    return rebuild(graph, step)


# What it looks like ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Moment:
    """A sum of p c, or of c alone, with c = x - mean(x), and the sum out of which the mean is."""

    p: Node | None
    c: Node
    total: Node

    @property
    def is_square(self) -> bool:
        return self.p is self.c


def _moment(node: Node) -> _Moment | None:
    if node.primitive.name != "sum":
        return None
    inside = node.inputs[0]
    pairs: list[tuple[Node | None, Node]] = [(None, inside)]
    if inside.primitive.name == "mul":
        a, b = inside.inputs
        pairs = [(a, b), (b, a)]
    for p, c in pairs:
        total = _total_of(c, node.params["axes"])
        if total is not None:
            return _Moment(p, c, total)
    return None


def _total_of(c: Node, axes: Axes) -> Node | None:
    """Return the sum of x if a node is x - mean(x), the mean over these axes."""
    if c.primitive.name != "sub" or c.aval.dtype not in (float32, float64):
        return None
    x, mean = c.inputs
    while mean.primitive.name == "broadcast_to":
        (mean,) = mean.inputs
    if mean.primitive.name not in ("mul", "div"):
        return None
    total, n = mean.inputs[0], literal(mean.inputs[1])
    if n is None or total.primitive.name != "sum" or total.inputs[0] is not x:
        return None
    is_mean = n == _count(x, axes) if mean.primitive.name == "div" else n * _count(x, axes) == 1
    return total if is_mean and total.params == {"axes": axes, "keepdims": True} else None


# What it becomes ------------------------------------------------------------------


def _deviation(total: Node) -> _Deviation:
    (x,), axes = total.inputs, total.params["axes"]
    near = _near_the_mean(total, x, axes)
    d = op(total, "sub", x, repeated(near, x.aval.shape))
    return _Deviation(d, op(total, "sum", d, axes=axes, keepdims=True), near)


def _sum(total: Node, by: _Deviation) -> Node:
    """Return sum(d) + n s: out of the sum of d, or x would be read once more for it."""
    n = unnamed_literal(total, float(_count(by.d, total.params["axes"])), total.aval)
    return renamed(op(total, "add", by.total, op(total, "mul", by.near, n)), total)


def _squares(node: Node, by: _Deviation) -> Node:
    """Return sum(d^2) - sum(d)^2 / n."""
    rest = _less(node, by.d, by.total, by)
    least = unnamed_literal(node, 0.0, rest.aval)  # rounding must not go below
    return renamed(reshaped(op(node, "maximum", rest, least), node.aval.shape), node)


def _product(node: Node, p: Node, by: _Deviation) -> Node:
    """Return sum(p d) - sum(p) sum(d) / n."""
    over = op(node, "sum", p, axes=node.params["axes"], keepdims=True)
    return renamed(reshaped(_less(node, p, over, by), node.aval.shape), node)


def _nothing(node: Node, by: _Deviation) -> Node:
    """Return the sum of all deviations, which is 0, or NaN."""
    return renamed(reshaped(op(node, "sub", by.total, by.total), node.aval.shape), node)


def _less(node: Node, p: Node, over: Node, by: _Deviation) -> Node:
    axes = node.params["axes"]
    first = op(node, "sum", op(node, "mul", p, by.d), axes=axes, keepdims=True)
    n = unnamed_literal(node, float(_count(by.d, axes)), first.aval)
    return op(node, "sub", first, op(node, "div", op(node, "mul", over, by.total), n))


def _near_the_mean(like: Node, x: Node, axes: Axes) -> Node:
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
    values = op(like, "slice", x, start=(0,) * len(shape), stop=stop, step=step)
    total = op(like, "sum", values, axes=(longest,), keepdims=True)
    return op(like, "mul", total, unnamed_literal(like, 1.0 / some, total.aval))


def _count(x: Node, axes: Axes) -> int:
    return prod(x.aval.shape[a] for a in axes)
