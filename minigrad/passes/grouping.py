"""What belongs together becomes one kernel: one level, one shape, loops that fit."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from minigrad.core.node import Node
from minigrad.shapes import Axes, Shape

from .draft import Draft
from .kernels import Domain, Kernel, Loops, Sink

__all__ = ["grouped"]

#: Level, shape, row domain, axes that are added up over; and the sink, if each is by itself.
_Key: TypeAlias = tuple[int, Shape, Domain | None, Axes | None, Sink | None]


def grouped(draft: Draft) -> list[Kernel]:
    """Return the kernels of a draft."""
    _place_inside(draft)
    found: dict[_Key, Loops] = {}
    for sink, (level, shape, bound) in draft.groups.items():
        if isinstance(bound, Node):
            draft.products[bound].sinks.append(sink)
            continue
        axes = sink.target.params["axes"] if sink.parts else None
        key = (level, shape, bound, axes, sink if draft.separate else None)
        if key not in found:
            found[key] = Loops(level, shape, bound)
        found[key].sinks.append(sink)
    if draft.separate:
        _find_alike(draft, sorted(found.values(), key=lambda k: k.level))
    else:
        _merge(found)
        _delay(draft, found)
    return [*draft.kernels, *found.values()]


def _find_alike(draft: Draft, kernels: list[Loops]) -> None:
    """Find kernels of a few operations each that do the same: their code is written once."""
    first: dict[Hashable, Loops] = {}
    for kernel in kernels:
        (sink,) = kernel.sinks
        if sink.target is not sink.source:
            continue
        leaves: dict[Node, int] = {}
        key = _form(draft, sink.source, kernel.level, leaves)
        if key is not None:
            kernel.leaves = tuple(leaves)
            alike = first.setdefault(key, kernel)
            kernel.like = alike if alike is not kernel else None


def _form(draft: Draft, node: Node, level: int, leaves: dict[Node, int]) -> Hashable | None:
    """Return what a kernel does, whatever the nodes that it loads; those are put in a row.

    None if it is more than elementwise operations on what lies like their result.
    """
    if node.primitive.kind != "elementwise":
        return None
    operands: list[Hashable] = []
    for i in node.inputs:
        if draft.loaded(i, level):
            if i in draft.inside or draft.orders[i] != draft.orders[node]:
                return None  # it lies within its padding, or may have to be copied first
            operands.append((leaves.setdefault(i, len(leaves)), i.aval))
        elif i.primitive.name == "full":
            operands.append((repr(i.params["value"]), i.aval.dtype))
        elif (inner := _form(draft, i, level, leaves)) is not None:
            operands.append(inner)
        else:
            return None
    params = tuple(sorted(node.params.items()))
    return node.primitive.name, params, node.aval, draft.orders[node], tuple(operands)


def _place_inside(draft: Draft) -> None:
    """Let what is stored twice, by itself and within its padding, lie in the padding only."""
    results = set(draft.graph.results)
    for sinks in list(draft.sinks.values()):
        for sink in sinks:
            x = sink.source
            if sink.target.primitive.name != "pad" or sink.target is x or x in results:
                continue
            own = next((s for s in draft.sinks[x] if s.source is x and not s.parts), None)
            if own is not None and own in draft.groups and draft.groups[own] == draft.groups[sink]:
                draft.inside[x] = sink
                del draft.groups[own]


def _merge(found: dict[_Key, Loops]) -> None:
    """Let kernels of one level over one shape go through it together, where loops allow it.

    What stores joins what adds up; what adds up over the rows of a domain joins the domain.
    """
    by_shape: dict[tuple[int, Shape], list[_Key]] = {}
    for key in found:
        by_shape.setdefault(key[:2], []).append(key)
    for keys in by_shape.values():
        for key in sorted(keys, key=lambda k: (k[3] is not None, k[2] is not None)):
            host = next((k for k in keys if k != key and k in found and _fits(key, k)), None)
            if host is not None:
                found[host].sinks += found.pop(key).sinks


def _delay(draft: Draft, found: dict[_Key, Loops]) -> None:
    """Store results that nothing else loads with the last kernel that goes over their shape.

    What both load is then loaded once.
    """
    results = set(draft.graph.results)
    used = {i for n in draft.graph.nodes for i in n.inputs}
    for key in sorted(found, key=lambda k: k[0]):
        level, shape, bound, axes, _ = key
        if bound is not None or axes is not None:
            continue
        free = [
            s for s in found[key].sinks
            if s.target is s.source and s.source in results and s.source not in used
        ]  # fmt: skip
        later = [
            k for k in found
            if k[0] > level and k[1] == shape and k[2] is None and k[3] is None
        ]  # fmt: skip
        if free and later and len(shape) > 0:
            host = found[max(later, key=lambda k: k[0])]
            host.sinks += free
            draft.stored.update((s.target, host.level + 1) for s in free)
            found[key].sinks = [s for s in found[key].sinks if s not in free]
            if not found[key].sinks:
                del found[key]


def _fits(key: _Key, host: _Key) -> bool:
    """Whether what one kernel does can be done within the loops of another."""
    _, _, bound, axes, _ = key
    domain = host[2]
    if axes is None:
        return bound is None
    if isinstance(domain, Domain):
        return host[3] is None and axes == domain.rows and bound in (None, domain)
    return False
