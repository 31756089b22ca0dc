"""Small steps from which rewrites build their results."""

from __future__ import annotations

from typing import Any

from minigrad.core.aval import Aval
from minigrad.core.node import Node
from minigrad.core.primitive import registry
from minigrad.shapes import Axes, Shape

from .rewrite import make, make_literal

__all__ = ["op", "permuted", "renamed", "repeated", "reshaped", "swapped", "unnamed_literal"]


def op(like: Node, name: str, *inputs: Node, **params: Any) -> Node:
    """Return an unnamed operation in the place of ``like``; its type follows."""
    found = registry[name].aval(*[i.aval for i in inputs], **params)
    node = make(like, name, inputs, found, **params)
    node.name = None
    return node


def reshaped(x: Node, shape: Shape) -> Node:
    """Return x in another shape."""
    return x if x.aval.shape == shape else op(x, "reshape", x, shape=shape)


def permuted(x: Node, axes: Axes) -> Node:
    """Return x with its axes in another order."""
    return x if axes == tuple(range(len(axes))) else op(x, "permute_dims", x, axes=axes)


def swapped(x: Node) -> Node:
    """Return x with its last two axes exchanged, without piling up permutations."""
    n = x.aval.ndim
    axes = (*range(n - 2), n - 1, n - 2)
    if x.primitive.name == "permute_dims" and x.params["axes"] == axes:
        return x.inputs[0]
    return permuted(x, axes)


def repeated(x: Node, shape: Shape) -> Node:
    """Return x repeated to a shape."""
    return x if x.aval.shape == shape else op(x, "broadcast_to", x, shape=shape)


def unnamed_literal(like: Node, value: Any, kind: Aval) -> Node:
    """Return a literal in the place of ``like``, without its tag."""
    literal = make_literal(like, value, kind)
    literal.name = None
    return literal


def renamed(node: Node, like: Node) -> Node:
    """Give a new node the tag of the one that it stands for."""
    if like.name is not None:
        node.name = like.name
    return node
