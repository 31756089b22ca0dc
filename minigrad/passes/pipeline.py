"""The ordered list of passes, readable from top to bottom."""

from __future__ import annotations

from minigrad.core.collector import paused_collector
from minigrad.core.graph import Graph

from .rewrite import rebuild, rewriting
from .rules import table
from .tidy import folding, inline, merging

__all__ = ["finalise", "simplify"]

_ROUNDS = 8  # a bound; three are the most that has been seen


def simplify(graph: Graph, *, final: bool = False) -> Graph:
    """Return an equal graph without trivial, constant, repeated or dead operations.

    The result can be differentiated again, unless ``final``. One sweep does all three at
    each node: rewrite, fold, merge.
    """
    rules = table(final=final)
    with paused_collector():
        for _ in range(_ROUNDS):
            before = graph.nodes
            steps = rewriting(rules, final=final), folding(graph), merging(final=final)
            graph = rebuild(graph, *steps)
            if graph.nodes == before:
                break
    return graph


def finalise(graph: Graph) -> Graph:
    """Return the graph that a backend runs: calls opened, then simplified for good."""
    return simplify(inline(graph), final=True)
