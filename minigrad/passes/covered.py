"""Which nodes of a graph a kernel computes, and which it loads."""

from __future__ import annotations

from minigrad.core.node import Node
from minigrad.shapes import Shape

from .kernels import Contraction, Kernel, Loops, Schedule, Special

__all__ = ["Covered", "covered", "extent"]

#: What a kernel computes, what it loads, what it stores; each in the order of recording.
Covered = tuple[tuple[Node, ...], tuple[Node, ...], tuple[Node, ...]]


def covered(plan: Schedule, kernel: Kernel) -> Covered:
    """Return the nodes that a kernel computes, loads and stores. Literals count as neither."""
    if isinstance(kernel, Special):
        return (kernel.node,), kernel.node.inputs, (kernel.node,)
    level = kernel.level
    written = [s.target for s in kernel.sinks]
    computed = {s.target for s in kernel.sinks if s.target is not s.source}
    found = [s.source for s in kernel.sinks]
    if isinstance(kernel, Contraction):
        found.append(kernel.node)
        if kernel.node in plan.divided:
            written.append(kernel.node)
    loaded: set[Node] = set()
    while found:
        node = found.pop()
        if node in computed or node in loaded or not (node.inputs or node in plan.stored):
            continue
        here = isinstance(kernel, Contraction) and node is kernel.node
        if not here and (plan.stored.get(node, level + 1) <= level or node in plan.divided):
            loaded.add(node)
            continue
        computed.add(node)
        found += node.inputs
    return _ordered(computed), _ordered(loaded), _ordered(set(written))


def extent(kernel: Kernel) -> Shape:
    """Return the shape that a kernel goes through; a product's is its result's and inner one."""
    if isinstance(kernel, Loops):
        return kernel.shape
    shape = kernel.node.aval.shape
    inner = kernel.node.inputs[0].aval.shape[-1:]
    return (*shape, *inner) if isinstance(kernel, Contraction) else shape


def _ordered(nodes: set[Node]) -> tuple[Node, ...]:
    return tuple(sorted(nodes, key=lambda n: n.serial))
