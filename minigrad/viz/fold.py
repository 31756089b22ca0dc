"""Folding: which nodes share a box, so that a picture stays readable.

Operations are folded by the call of the layer that made them, then by source line, then
by mere sequence. A group is always a run of consecutive operations, or is checked, so that
the folded picture has no cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from minigrad.core.node import Node

from .anatomy import Anatomy
from .groups import REST, SHARED, Fold, Frame, Group
from .repeats import fold_repeats
from .scopes import layers_of, path_text
from .variables import statement

__all__ = ["Grouping", "deepest", "grouping"]


@dataclass(slots=True)
class Grouping:
    """The group of each folded node, and the frames around each node, outermost first."""

    group: dict[Node, Group]
    frames: dict[Node, tuple[Frame, ...]]

    def of(self, node: Node) -> Group | None:
        """Return the group of a node, or None if it is drawn by itself."""
        return self.group.get(node)


def deepest(anatomy: Anatomy) -> int:
    """Return the greatest depth of layers within layers in a graph."""
    return max((len(layers_of(n.scope)) for n in anatomy.graph.nodes if n.inputs), default=0)


def grouping(anatomy: Anatomy, fold: Fold) -> Grouping:
    """Return the groups of a graph for a way of folding."""
    calls = _calls(anatomy)
    group: dict[Node, Group] = {}
    frames: dict[Node, tuple[Frame, ...]] = {}
    forward = _operations(anatomy, 0)
    outer = _containers(forward)
    for i, (key, nodes) in enumerate(_runs(forward, lambda n: _key(n, calls[n], fold, outer))):
        inside = key.depth if isinstance(key, Frame) else fold.depth
        frames.update((n, calls[n][:inside]) for n in nodes)
        if key is not None:
            group.update(dict.fromkeys(nodes, _forward_group(f"g{i}", key, nodes)))
    if fold.repeats:
        fold_repeats(group, forward)
    for column in range(1, anatomy.after):
        nodes = _operations(anatomy, column)
        group.update(_backward_groups(anatomy, column, nodes, group))
        for node in nodes:
            served = anatomy.served.get(node)
            frames[node] = _mirrored(frames.get(served, ()) if served else (), column)
    if fold.depth is not None or fold.lines:
        group.update(_update_groups(anatomy, group))
    if fold.steps is not None:
        _cut(anatomy, group, frames, fold.steps)
    _place_leaves(anatomy, group, frames)
    return Grouping(group, frames)


def _operations(anatomy: Anatomy, column: int) -> list[Node]:
    return [n for n in anatomy.graph.nodes if n.inputs and anatomy.column[n] == column]


def _calls(anatomy: Anatomy) -> dict[Node, tuple[Frame, ...]]:
    """Return, for each forward operation, the layer calls around it, outermost first.

    Consecutive operations of one scope belong to one call of the layer.
    """
    found: dict[Node, tuple[Frame, ...]] = {}
    current: list[Frame] = []
    for node in _operations(anatomy, 0):
        common = 0
        for frame, name in zip(current, node.scope, strict=False):
            if frame.label != name:
                break
            common += 1
        del current[common:]
        current += [
            Frame(f"f{len(found)}_{depth}", node.scope[depth], depth)
            for depth in range(common, len(node.scope))
        ]
        found[node] = tuple(current)
    return found


def _containers(nodes: Iterable[Node]) -> frozenset[tuple[str, ...]]:
    """Return the layers that have layers inside."""
    paths = {layers_of(n.scope) for n in nodes}
    return frozenset(p[:i] for p in paths for i in range(1, len(p)))


def _key(
    node: Node, calls: Sequence[Frame], fold: Fold, containers: frozenset[tuple[str, ...]]
) -> Hashable:
    """Return what the nodes of one box have in common: a call, a statement, or None."""
    if fold.depth is not None and calls:
        whole = len(layers_of(node.scope))
        if fold.depth <= whole:
            return calls[fold.depth - 1]
        if node.scope[:whole] not in containers:
            return calls[whole - 1]
        if whole < len(calls):  # a function in a layer that is drawn open
            return calls[whole]
    return (calls, statement(node)[0]) if fold.lines else None


def _runs(
    nodes: Iterable[Node], key: Callable[[Node], Hashable]
) -> list[tuple[Hashable, list[Node]]]:
    """Return consecutive nodes with one key; nodes whose key is None stay alone."""
    runs: list[tuple[Hashable, list[Node]]] = []
    for node in nodes:
        k = key(node)
        if runs and k is not None and runs[-1][0] == k:
            runs[-1][1].append(node)
        else:
            runs.append((k, [node]))
    return runs


def _forward_group(name: str, key: Hashable, nodes: Sequence[Node]) -> Group:
    scope = nodes[0].scope
    if isinstance(key, Frame):
        return Group(name, 0, "layer", scope[: key.depth + 1], tuple(nodes))
    return Group(name, 0, "line", layers_of(scope), tuple(nodes))


def _backward_groups(
    anatomy: Anatomy, column: int, nodes: Sequence[Node], group: dict[Node, Group]
) -> dict[Node, Group]:
    """Return one group for all that serves one forward group; several if that made a cycle."""

    def key(node: Node) -> Hashable:
        served = anatomy.served.get(node)
        found = group.get(served) if served is not None else None
        return found.id if found else None

    whole: dict[Hashable, list[Node]] = {}
    for node in nodes:
        whole.setdefault(key(node) or node, []).append(node)
    parts = [(k if isinstance(k, str) else None, v) for k, v in whole.items()]
    runs = parts if _acyclic([v for _, v in parts]) else _runs(nodes, key)
    by_id = {g.id: g for g in group.values()}
    found: dict[Node, Group] = {}
    used: dict[Hashable, int] = {}
    for k, members in runs:
        if k is None:
            continue
        served, count = by_id[str(k)], used.get(k, 0)
        used[k] = count + 1
        name = f"b{column}_{served.id}" + (f"_{count}" if count else "")
        made = Group(
            name, column, served.kind, served.path, tuple(members), served.id, served.times,
            served.ends,
        )  # fmt: skip
        found.update(dict.fromkeys(members, made))
    return found


def _acyclic(parts: Sequence[Sequence[Node]]) -> bool:
    """Whether the graph in which each part is one vertex has no cycle."""
    part = {node: i for i, nodes in enumerate(parts) for node in nodes}
    sources: list[set[int]] = [
        {part[s] for n in nodes for s in n.inputs if s in part} - {i}
        for i, nodes in enumerate(parts)
    ]
    waiting = [len(s) for s in sources]
    users: list[list[int]] = [[] for _ in parts]
    for i, found in enumerate(sources):
        for s in found:
            users[s].append(i)
    ready = [i for i, n in enumerate(waiting) if n == 0]
    done = 0
    while ready:
        done += 1
        for user in users[ready.pop()]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    return done == len(parts)


def _mirrored(frames: Sequence[Frame], column: int) -> tuple[Frame, ...]:
    return tuple(Frame(f"b{column}{f.id}", f"∂ {f.label}", f.depth) for f in frames)


def _update_groups(anatomy: Anatomy, group: dict[Node, Group]) -> dict[Node, Group]:
    """Return a group for each layer whose state changes late, and one for what they share."""
    nodes = _operations(anatomy, anatomy.after)
    feeds: dict[Node, set[str]] = {n: set() for n in nodes}
    parameters = {
        n.name for n in anatomy.graph.inputs if n.name and anatomy.roles[n] == "parameter"
    }
    for cell, node in anatomy.graph.updates:
        if node in feeds:
            feeds[node].add(_layer_of_cell(cell.name or "", parameters))
    for node in reversed(nodes):
        for source in node.inputs:
            if source in feeds:
                feeds[source] |= feeds[node]
    whole: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        layers = feeds[node]
        path = SHARED if len(layers) > 1 else tuple(layers) if layers else REST
        whole.setdefault(path, []).append(node)
    homes = {path_text(g.path): g.id for g in group.values() if g.column == 0}
    found: dict[Node, Group] = {}
    for i, (path, members) in enumerate(whole.items()):
        home = homes.get(path[0])
        kind = "steps" if path == REST else "update"
        made = Group(f"u{i}", anatomy.after, kind, path, tuple(members), home)
        found.update(dict.fromkeys(members, made))
    return found


def _layer_of_cell(name: str, parameters: Collection[str]) -> str:
    """Return the layer of a parameter, or of the parameter to which a moment belongs."""
    owner = name.rpartition(".")[0]
    return owner.rpartition(".")[0] if owner in parameters else owner


def _cut(
    anatomy: Anatomy,
    group: dict[Node, Group],
    frames: dict[Node, tuple[Frame, ...]],
    steps: int,
) -> None:
    """Cut each column that has more boxes than allowed into that many sequences."""
    for column in range(anatomy.after + 1):
        nodes = _operations(anatomy, column)
        boxes: dict[Hashable, list[Node]] = {}
        for node in nodes:
            found = group.get(node)
            boxes.setdefault(found.id if found else node, []).append(node)
        if len(boxes) <= steps:
            continue
        size = -(-len(nodes) // steps)
        for i in range(0, len(nodes), size):
            part = nodes[i : i + size]
            path = (f"{part[0].primitive.name} … {part[-1].primitive.name}",)
            made = Group(f"s{column}_{i // size}", column, "steps", path, tuple(part))
            group.update(dict.fromkeys(part, made))
            frames.update(dict.fromkeys(part, ()))


def _place_leaves(
    anatomy: Anatomy, group: dict[Node, Group], frames: dict[Node, tuple[Frame, ...]]
) -> None:
    """Put parameters, state and constants into the one group or frame that uses them."""
    results = set(anatomy.graph.results)
    for node in anatomy.order:
        if node.inputs or node in results or anatomy.roles[node] == "input":
            continue
        users = [u for u in anatomy.consumers[node] if anatomy.column[u] == anatomy.column[node]]
        if not users:
            continue
        groups = {group[u].id if u in group else None for u in users}
        if groups != {None} and len(groups) == 1:
            group[node] = group[users[0]]
            continue
        around = [frames.get(u, ()) for u in users]
        common = around[0]
        for other in around[1:]:
            common = tuple(a for a, b in zip(common, other, strict=False) if a == b)
        frames[node] = common
