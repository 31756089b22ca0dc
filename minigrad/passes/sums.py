"""Sums of products and of sums, taken apart so that they can be added up in fewer sweeps."""

from __future__ import annotations

from math import prod
from typing import TypeAlias

from minigrad.core.aval import aval
from minigrad.core.node import Node
from minigrad.shapes import Axes, Shape, reduced

from .build import op, repeated, reshaped, unnamed_literal

__all__ = ["Depths", "distributed"]


class Depths(dict[Node, int]):
    """How many reductions and products follow one another on the way to each node."""

    def __missing__(self, node: Node) -> int:
        todo = [node]
        while todo:
            top = todo[-1]
            missing = [i for i in top.inputs if i not in self]
            if missing:
                todo += missing
                continue
            below = max([self[i] for i in top.inputs], default=0)
            self[top] = below + (top.primitive.kind in ("reduction", "contraction"))
            todo.pop()
        return self[node]


def distributed(node: Node, depth: Depths) -> Node:
    """sum(c a + d b)  ->  c sum(a) + d sum(b), for c and d that the sum does not run over.

    A product is always taken apart. A sum is when its terms wait for fewer reductions than
    itself: then all its parts can be added up in an earlier sweep. A difference from a mean
    is left alone, since taking it apart would cancel.
    """
    if node.primitive.name != "sum" or node.aval.kind != "f" or node.name:
        return node
    (x,), axes = node.inputs, node.params["axes"]
    if not axes:
        return node
    parts = _parts(x, axes)
    if len(parts) > 1:
        waits = depth[x]
        if any(_waits(f, depth) >= waits for _, _, f in parts):
            parts = [_factors(x, axes)]
    if len(parts) == 1 and not parts[0][1] and parts[0][0] > 0:
        return node
    shape = node.aval.shape
    total: Node | None = None
    for sign, outside, inside in parts:
        term = _product(inside, node) if inside else None
        if term is None:
            count = prod(x.aval.shape[a] for a in axes)
            value = unnamed_literal(node, float(count), node.aval)
        else:
            value = op(node, "sum", term, axes=axes, keepdims=node.params["keepdims"])
        for c in outside:
            value = op(node, "mul", value, _reduced_factor(c, axes, x.aval.shape, shape))
        if total is None:
            total = value if sign > 0 else op(node, "neg", value)
        else:
            total = op(node, "add" if sign > 0 else "sub", total, value)
    assert total is not None
    return total


def _waits(factors: list[Node], depth: Depths) -> int:
    return max([depth[f] for f in factors], default=0)


_Part: TypeAlias = tuple[int, list[Node], list[Node]]


def _parts(x: Node, axes: Axes, sign: int = 1, room: int = 8) -> list[_Part]:
    """Return x as a sum: for each term its sign, the factors to take out, and the others."""
    name = x.primitive.name
    if name == "neg":
        return _parts(x.inputs[0], axes, -sign, room)
    if name in ("add", "sub") and room > 1:
        a, b = x.inputs
        if not (_invariant(a, axes) or _invariant(b, axes)):
            second = -sign if name == "sub" else sign
            return _parts(a, axes, sign, room // 2) + _parts(b, axes, second, room // 2)
    plus, outside, inside = _factors(x, axes)
    return [(sign * plus, outside, inside)]


def _factors(x: Node, axes: Axes) -> _Part:
    """Return a product's sign, the factors that do not vary along the axes, and the others."""
    sign, todo = 1, [x]
    outside: list[Node] = []
    inside: list[Node] = []
    while todo:
        f = todo.pop()
        name = f.primitive.name
        if _invariant(f, axes):
            outside.append(f)
        elif name == "neg":
            sign = -sign
            todo.append(f.inputs[0])
        elif name == "mul" and len(todo) + len(inside) < 6:
            todo += f.inputs
        else:
            inside.append(f)
    inside.sort(key=lambda f: f.serial)
    return sign, outside, inside


def _product(factors: list[Node], like: Node) -> Node:
    result = factors[0]
    for f in factors[1:]:
        result = op(like, "mul", result, f)
    return result


def _invariant(x: Node, axes: Axes) -> bool:
    """Whether x is the same all along the axes, by the way it is made."""
    if x.primitive.name == "full":
        return True
    if x.primitive.name != "broadcast_to":
        return False
    source = x.inputs[0].aval.shape
    missing = x.aval.ndim - len(source)
    return all(a < missing or source[a - missing] == 1 for a in axes)


def _reduced_factor(x: Node, axes: Axes, whole: Shape, shape: Shape) -> Node:
    """Return an invariant factor of shape ``whole`` in the shape of the reduced result."""
    if x.primitive.name == "full":
        return unnamed_literal(x, x.params["value"], aval(shape, x.aval.dtype))
    (source,) = x.inputs
    padded = reshaped(source, ((1,) * (len(whole) - source.aval.ndim)) + source.aval.shape)
    spread = repeated(padded, reduced(whole, axes, keepdims=True))
    return reshaped(spread, shape)
