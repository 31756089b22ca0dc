"""Folding layers that repeat: six equal blocks in a row become one box, ``× 6``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from minigrad.core.graph import Graph
from minigrad.core.node import Node

from .groups import Group
from .scopes import path_text

__all__ = ["fold_repeats"]

_FEWEST = 3  # equal layers in a row that are worth folding
_PERIODS = (1, 2, 3)  # layers that repeat together, such as Linear, ReLU


def fold_repeats(group: dict[Node, Group], forward: Sequence[Node]) -> None:
    """Replace the groups of repeating layers by one group, in place.

    Layers repeat if they do the same operations on the same types, each on the result of
    the one before and of nothing else.
    """
    items = _items(group, forward)
    signatures = [_signature(item) for item in items]
    start = 0
    while start < len(items):
        period, times = _repetition(items, signatures, start, group)
        if times < _FEWEST:
            start += 1
            continue
        stop = start + period * times
        first, last = group[items[start][0]], group[items[stop - 1][0]]
        nodes = tuple(n for item in items[start:stop] for n in item)
        names = (path_text(first.path), path_text(last.path))
        whole = replace(first, nodes=nodes, times=times, ends=names)
        group.update(dict.fromkeys(nodes, whole))
        start = stop


def _items(group: dict[Node, Group], forward: Sequence[Node]) -> list[list[Node]]:
    """Return the nodes of each box, in order."""
    items: list[list[Node]] = []
    for node in forward:
        found = group.get(node)
        if items and found is not None and group.get(items[-1][0]) is found:
            items[-1].append(node)
        else:
            items.append([node])
    return items


def _signature(item: Sequence[Node]) -> Hashable:
    """Return what equal layers have in common: all but names and data."""
    place = {n: i for i, n in enumerate(item)}
    parts = []
    for node in item:
        params = tuple(
            (k, id(v) if isinstance(v, Graph) else repr(v)) for k, v in sorted(node.params.items())
        )
        operands = tuple(place.get(i, i.aval) for i in node.inputs)
        parts.append((node.primitive.name, params, operands, node.aval))
    return tuple(parts)


def _repetition(
    items: Sequence[Sequence[Node]],
    signatures: Sequence[Hashable],
    start: int,
    group: dict[Node, Group],
) -> tuple[int, int]:
    """Return period and count of the longest repetition that begins at an item."""
    best = (1, 1)
    for period in _PERIODS:
        unit = signatures[start : start + period]
        times = 1
        while signatures[start + times * period : start + (times + 1) * period] == unit:
            times += 1
        if times < _FEWEST or any(
            items[i][0] not in group for i in range(start, start + period * times)
        ):
            continue
        units = [
            [n for item in items[start + k * period : start + (k + 1) * period] for n in item]
            for k in range(times)
        ]
        times = _chained(units)
        if period * times > best[0] * best[1] and times >= _FEWEST:
            best = (period, times)
    return best


def _chained(units: Sequence[Sequence[Node]]) -> int:
    """Return how many units in a row use only the unit before them and leaves."""
    for k in range(1, len(units)):
        known = {*units[k], *units[k - 1]}
        if any(i.inputs and i not in known for n in units[k] for i in n.inputs):
            return k
    return len(units)
