"""The ordered list of passes, readable from top to bottom."""

from __future__ import annotations

from minigrad.core.graph import Graph

from .rewrite import rewrite
from .rules import table
from .tidy import fold, inline, merge

__all__ = ["finalise", "simplify"]

_ROUNDS = 8  # a bound; three are the most that has been seen


def simplify(graph: Graph, *, final: bool = False) -> Graph:
    """Return an equal graph without trivial, constant, repeated or dead operations.

    The result can be differentiated again, unless ``final``.
    """
    rules = table(final=final)
    for _ in range(_ROUNDS):
        before = graph.nodes
        graph = merge(fold(rewrite(graph, rules, final=final)))
        if graph.nodes == before:
            break
    return graph


def finalise(graph: Graph) -> Graph:
    """Return the graph that a backend runs: calls opened, then simplified for good."""
    return simplify(inline(graph), final=True)
