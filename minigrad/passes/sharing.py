"""What several kernels would compute is stored, where that costs less than computing it again."""

from __future__ import annotations

from collections import defaultdict
from math import prod

from minigrad.core.node import Node
from minigrad.ops.random import is_random_bits

from .draft import ROW, Draft, Group, portion
from .kernels import MOVES, Domain, cost_of

__all__ = ["share"]

#: Operations for each element, above which a value is stored rather than computed again.
_WORTH = 26.0
#: Likewise for elements loaded.
_READS = 2.5


def share(draft: Draft) -> None:
    """Store what several kernels need and is dear; from the results upwards."""
    users: dict[Node, list[Node]] = defaultdict(list)
    for node in draft.graph.nodes:
        for i in node.inputs:
            users[i].append(node)
    computing: dict[Node, set[Group]] = {}  # the groups that compute a node
    for node in reversed(draft.graph.nodes):
        groups: set[Group] = set()
        for user in users[node]:
            groups |= {draft.groups[s] for s in draft.sinks[user] if s.source is node}
            groups |= computing.get(user, set())
        if node in draft.products:
            if any(g[2] is not node for g in groups):
                draft.store(node)
        elif node in draft.divided:
            _share_reduction(draft, node, groups)
        elif (
            node not in draft.stored
            and node.inputs
            and len(groups) > 1
            and _worth(draft, node, groups)
        ):
            draft.store(node)
        computing[node] = _computing(draft, node, groups)


def _computing(draft: Draft, node: Node, groups: set[Group]) -> set[Group]:
    """Return the groups that compute a node, as opposed to loading it."""
    own = {draft.groups[s] for s in draft.sinks[node] if s.source is node}
    if node in draft.products or node in draft.divided or not node.inputs:
        return set()
    if node in draft.cuts:
        return own
    if node in draft.stored:
        return {g for g in groups if g[0] < draft.stored[node]} | own
    return groups


def _share_reduction(draft: Draft, node: Node, groups: set[Group]) -> None:
    """Join the parts of a reduction once, if a larger kernel or several need it."""
    if node in draft.stored or not groups:
        return
    if len(groups) > 1 or any(prod(g[1]) > 4 * node.aval.size for g in groups):
        draft.store(node)


def _worth(draft: Draft, node: Node, groups: set[Group]) -> bool:
    """Whether a node that several groups compute is better stored."""
    fact = draft.facts[node]
    if node.primitive.name in MOVES or is_random_bits(node):
        return False
    later = [g[0] for g in groups if g[0] > fact.level]
    if not later:
        return False  # none of them could load it
    if isinstance(fact.bound, Node):
        return fact.cost > 8
    cost, reads = _again(draft, node, min(later))
    if node.aval.size * 8 <= max(prod(g[1]) for g in groups):
        return cost > 1
    return cost > _WORTH or reads > _READS


def _again(draft: Draft, node: Node, level: int) -> tuple[float, float]:
    """Return the operations and loads that computing a node on a later level takes."""
    cost = reads = 0.0
    seen, todo = {node}, [(node, 1.0)]
    while todo and cost <= _WORTH and reads <= 2 * _READS:
        n, times = todo.pop()
        if n is not node and draft.loaded(n, level):
            reads += times * portion(n, node)
            continue
        if n in draft.divided or isinstance(draft.facts[n].bound, Domain):
            cost += ROW
        elif n.primitive.kind == "reduction":
            (x,), axes = n.inputs, n.params["axes"]
            times *= prod(x.aval.shape[a] for a in axes)
            cost += times
        else:
            cost += times * cost_of(n.primitive.name) * portion(n, node)
        for i in n.inputs:
            if i not in seen and (i.inputs or i in draft.stored):
                seen.add(i)
                todo.append((i, times))
    return cost, reads
