"""The rewriting engine: apply a table of rules to a graph, in one sweep from inputs to outputs.

Nodes never change: a rewrite makes new ones, with the place, layer and role of the node
they stand for. Nodes that the user tagged stay findable under their name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigrad.core.aval import Aval
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.primitive import registry

__all__ = ["Rule", "literal", "make", "rebuild", "rewrite"]


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


def literal(node: Node) -> Any:
    """Return the number that a node is filled with, or None."""
    return node.params["value"] if node.primitive.name == "full" else None


_MANY_REWRITES = 64  # of one node; a table that needs more does not terminate


def rewrite(graph: Graph, rules: Mapping[str, Sequence[Rule]]) -> Graph:
    """Return the graph with rules applied to each node until none fits; rules are by primitive."""

    def step(node: Node) -> Node:
        for _ in range(_MANY_REWRITES):
            for rule in rules.get(node.primitive.name, ()):
                other = rule.replace(node)
                if other is not None and (node.name is None or other.name == node.name):
                    node = other
                    break
            else:
                return node
        raise AssertionError(f"rewriting {node!r} does not come to an end")

    return rebuild(graph, step)


def rebuild(graph: Graph, step: Callable[[Node], Node]) -> Graph:
    """Return the graph with ``step`` applied to each node, once its inputs are final."""
    stands: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple([stands.get(i, i) for i in node.inputs])
        stands[node] = step(node.rebuilt(inputs))
    return Graph(
        graph.inputs,
        [stands.get(n, n) for n in graph.outputs],
        updates=[(cell, stands.get(n, n)) for cell, n in graph.updates],
        structure=graph.structure,
        name=graph.name,
    )
