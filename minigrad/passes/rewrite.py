"""The rewriting engine: apply a table of rules to a graph, in one sweep from inputs to outputs.

Nodes never change: a rewrite makes new ones, with the place, layer and role of the node
they stand for. Nodes that the user tagged stay findable under their name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from minigrad.core.aval import Aval
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.primitive import defined, registry

__all__ = [
    "Rule", "Step", "literal", "make", "make_literal", "rebuild", "rebuild_at", "rewrite",
    "rewriting",
]  # fmt: skip

#: What a pass does at a node whose inputs are final: return it, or what stands for it.
Step: TypeAlias = Callable[[Node], Node]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewrite.

    Attributes
    ----------
    formula
        What it does, for people.
    exact
        Whether every bit of every result stays; or a sentence about the exception.
    final
        Valid only when no gradient will be derived from the result any more.
    replace
        Returns the node to use instead, or None.
    """

    formula: str
    exact: bool | str
    final: bool
    replace: Callable[[Node], Node | None]


def make(like: Node, name: str, inputs: tuple[Node, ...], aval: Aval, **params: Any) -> Node:
    """Return a new node in the place of ``like``."""
    return Node(
        registry[name], inputs, params, aval, None, like.where, like.partner, like.name,
        like.stopped,
    )  # fmt: skip


def make_literal(like: Node, value: Any, aval: Aval) -> Node:
    """Return a new literal in the place of ``like``, with its value, so that it folds on."""
    node = make(like, "full", (), aval, value=value, shape=aval.shape, dtype=aval.dtype)
    with np.errstate(all="ignore"):
        node.value = defined(node.primitive, (np,), node.params)
    return node


def literal(node: Node) -> Any:
    """Return the number that a node is filled with, or None."""
    return node.params["value"] if node.primitive.name == "full" else None


_MANY_REWRITES = 64  # of one node; a table that needs more does not terminate


def rewriting(rules: Mapping[str, Sequence[Rule]], *, final: bool = False) -> Step:
    """Return the step that applies rules, listed by primitive, to a node until none fits.

    ``final`` says that no gradient will be derived from the result any more.
    """

    def step(node: Node) -> Node:
        if node.primitive.name not in rules:
            return node
        for _ in range(_MANY_REWRITES):
            for rule in rules.get(node.primitive.name, ()):
                other = rule.replace(node)
                if other is not None and _may_stand(other, node, final):
                    node = other
                    break
            else:
                return node
        raise AssertionError(f"rewriting {node!r} does not come to an end")

    return step


def rewrite(graph: Graph, rules: Mapping[str, Sequence[Rule]], *, final: bool = False) -> Graph:
    """Return the graph with rules applied to each node until none fits; see ``rewriting``."""
    return rebuild(graph, rewriting(rules, final=final))


def _may_stand(other: Node, node: Node, final: bool) -> bool:
    """Whether ``other`` may stand for a node without losing what a user or a gradient needs.

    A tag stays findable. What was recorded under ``no_grad`` goes on stopping gradients:
    it is not replaced by what lets them through.
    """
    if node.name is not None and other.name != node.name:
        return False
    if node.stopped and not (final or other.stopped or other.primitive.kind == "creation"):
        return False
    kept = (other, *other.inputs)
    return not any(
        (s.name or (s.stopped and not final)) and s not in kept and _passed_by(s, kept, node.inputs)
        for s in node.inputs
    )


def _passed_by(source: Node, kept: Sequence[Node], inputs: Sequence[Node]) -> bool:
    """Whether what ``source`` was computed from is used in its place: oftener than before."""
    return any(kept.count(i) > inputs.count(i) for i in source.inputs)


def rebuild(graph: Graph, *steps: Step) -> Graph:
    """Return the graph with the steps applied to each node, once its inputs are final."""
    stands: dict[Node, Node] = {}
    for node in graph.nodes:
        stand = node
        for i in node.inputs if stands else ():
            if i in stands:
                stand = node.rebuilt(tuple([stands.get(i, i) for i in node.inputs]))
                break
        for step in steps:
            stand = step(stand)
        if stand is not node:
            stands[node] = stand
    if not stands:
        return graph
    return Graph(
        graph.inputs,
        [stands.get(n, n) for n in graph.outputs],
        updates=[(cell, stands.get(n, n)) for cell, n in graph.updates],
        structure=graph.structure,
        name=graph.name,
    )


def rebuild_at(name: str, graph: Graph, step: Step) -> Graph:
    """Return the graph with a step applied that changes one primitive only: at once if none is."""
    if any(node.primitive.name == name for node in graph.nodes):
        return rebuild(graph, step)
    return graph
