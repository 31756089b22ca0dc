"""Estimates of work: floating-point operations of a node, by kind of primitive.

A multiply-add counts two. Moving data counts nothing; a function such as exp counts one,
since what it costs depends on the machine.
"""

from __future__ import annotations

from minigrad.core.node import Node

__all__ = ["flops"]


def flops(node: Node) -> int:
    """Return an estimate of the arithmetic operations that a node does."""
    kind, name = node.primitive.kind, node.primitive.name
    if kind == "contraction":
        return 2 * node.aval.size * node.inputs[0].aval.shape[-1]
    if kind == "call":
        return sum(flops(n) for n in node.params["graph"].nodes)
    if kind in ("reduction", "scan"):
        return node.inputs[0].aval.size
    if kind == "windows":
        return node.inputs[0].aval.size if name == "fold_windows" else 0
    if name == "scatter_add":
        return node.inputs[0].aval.size
    if name == "argsort":
        size = node.aval.size
        return size * max(size.bit_length() - 1, 1)
    if kind == "elementwise" and name not in ("astype", "stop_gradient", "barrier", "in_range"):
        return node.aval.size
    return 0
