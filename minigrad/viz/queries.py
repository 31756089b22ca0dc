"""Questions about a graph, answered with networkx: paths, dead parameters, bottlenecks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tensor import Tensor

from .anatomy import Anatomy, anatomy
from .labels import byte_text
from .networkx import import_networkx, to_networkx
from .pairing import level
from .symbols import VIEWS
from .table import html_table, text_table

__all__ = ["Saved", "SavedNode", "bottlenecks", "dead_parameters", "paths", "saved_for_backward"]


def _as_graph(graph: Graph | Tensor) -> Graph:
    return graph.graph() if isinstance(graph, Tensor) else graph


def _node(graph: Graph, wanted: Node | Tensor | str) -> Node:
    if isinstance(wanted, Tensor):
        return wanted.node
    return graph.node(wanted) if isinstance(wanted, str) else wanted


def _keyed(graph: Graph) -> tuple[Any, dict[Node, str]]:
    """Return the DiGraph, and the vertex of each node."""
    g = to_networkx(graph)
    return g, {data["node"]: vertex for vertex, data in g.nodes(data=True)}


def paths(
    graph: Graph | Tensor, from_: Node | Tensor | str, to: Node | Tensor | str, limit: int = 100
) -> list[list[Node]]:
    """Return the paths along which one node depends on another, shortest first.

    Parameters
    ----------
    graph
        A graph, or a tensor made at the prompt.
    from_, to
        Nodes or names, in either order: from a loss to a parameter, or the other way.
    limit
        How many paths at most: there may be very many.

    Raises
    ------
    KeyError
        If a name is not in the graph.
    BackendUnavailable
        If networkx is not installed.
    """
    graph = _as_graph(graph)
    nx = import_networkx()
    g, key = _keyed(graph)
    start, end = key[_node(graph, from_)], key[_node(graph, to)]
    turned = not nx.has_path(g, start, end)
    if turned:
        start, end = end, start
    if start == end or not nx.has_path(g, start, end):
        return []
    found = islice(nx.shortest_simple_paths(g, start, end), limit)
    nodes = [[g.nodes[v]["node"] for v in path] for path in found]
    return [path[::-1] for path in nodes] if turned else nodes


def dead_parameters(graph: Graph | Tensor) -> list[Node]:
    """Return the trainable inputs from which no gradient arrives.

    In a forward graph: those from which no differentiable path leads to an output. In a
    graph with a backward pass: those also that it gives no gradient, or zero by construction.
    Inputs that are never read are among them.

    Raises
    ------
    BackendUnavailable
        If networkx is not installed.
    """
    graph = _as_graph(graph)
    nx = import_networkx()
    g, key = _keyed(graph)
    read = anatomy(graph, values=False)
    blocked = [v for v, data in g.nodes(data=True) if _blocks(data["node"])]
    open_ = g.copy()
    open_.remove_nodes_from(blocked)
    reached: set[str] = set()
    for node in graph.outputs:
        if level(node) == 0 and key[node] in open_:
            reached |= {key[node], *nx.ancestors(open_, key[node])}
    backward = any(level(n) for n in graph.nodes)
    dead = []
    for node in graph.inputs:
        if read.roles[node] != "parameter" and not (_no_cells(graph) and node.aval.kind == "f"):
            continue
        without = backward and _without_gradient(read, node)
        if key[node] not in reached or without:
            dead.append(node)
    return dead


def _no_cells(graph: Graph) -> bool:
    return not any("cell" in n.params or "owner" in n.params for n in graph.inputs)


def _blocks(node: Node) -> bool:
    """Whether no gradient flows through a node."""
    return node.stopped or node.aval.kind != "f" or node.primitive.name == "stop_gradient"


def _without_gradient(read: Anatomy, node: Node) -> bool:
    """Whether a backward graph returns zeros, made from nothing, for an input."""
    cotangent = read.cotangents.get(node)
    return cotangent is not None and cotangent.primitive.kind == "creation"


def bottlenecks(
    graph: Graph | Tensor, of: Node | Tensor | str, loss: Node | Tensor | str | None = None
) -> list[Node]:
    """Return the nodes through which every path from the loss to a parameter goes.

    These are the dominators of the parameter in the graph walked backwards, in forward
    order, without the two ends: if the gradient vanishes at one of them, it has vanished.

    Parameters
    ----------
    of
        The parameter, or any other node.
    loss
        Where the gradient starts; by default the first output.

    Raises
    ------
    BackendUnavailable
        If networkx is not installed.
    """
    graph = _as_graph(graph)
    nx = import_networkx()
    g, key = _keyed(graph)
    start = key[graph.outputs[0] if loss is None else _node(graph, loss)]
    end = key[_node(graph, of)]
    backwards = g.reverse(copy=False)
    if start == end or not nx.has_path(backwards, start, end):
        return []
    above = nx.immediate_dominators(backwards, start)
    found: list[Node] = []
    at = above.get(end)
    while at is not None and at != start:
        found.append(g.nodes[at]["node"])
        at = above.get(at)
    return found


# What is kept ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SavedNode:
    """A forward result that backward operations read. ``users`` are those operations."""

    node: Node
    name: str
    nbytes: int
    users: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """What must be kept from the forward pass for the backward pass, the largest first."""

    rows: tuple[SavedNode, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return sum(row.nbytes for row in self.rows)

    def __iter__(self) -> Iterator[SavedNode]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return f"{text_table(_HEAD, self._cells(), (3,))}\n{self._total()}"

    def __repr__(self) -> str:
        return f"<{self._total()}>"

    def _total(self) -> str:
        return f"{len(self.rows)} values kept for the backward pass, {byte_text(self.nbytes)}"

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.name, row.node.primitive.name, repr(row.node.aval), byte_text(row.nbytes),
                ", ".join(_served(row.users)),
            )
            for row in self.rows
        ]  # fmt: skip

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        html = f"{html_table(_HEAD, self._cells(), (3,))}<p>{self._total()}</p>"
        return {"text/plain": str(self), "text/html": html}


_HEAD = ("value", "operation", "type", "bytes", "for the backward of")


def _served(users: Iterable[Node]) -> list[str]:
    names = [u.partner.name or u.partner.primitive.name for u in users if u.partner is not None]
    return list(dict.fromkeys(names))


def _readers(g: Any, key: dict[Node, str], node: Node) -> Iterator[Node]:
    """Yield what reads a node, itself or a view of it."""
    for vertex in g.successors(key[node]):
        user: Node = g.nodes[vertex]["node"]
        if user.primitive.name in VIEWS:
            yield from _readers(g, key, user)
        else:
            yield user


def saved_for_backward(graph: Graph | Tensor) -> Saved:
    """Return the forward results that a graph's backward pass reads, with their bytes.

    Inputs and parameters are kept anyway and are not among them.

    Raises
    ------
    BackendUnavailable
        If networkx is not installed.
    """
    graph = _as_graph(graph)
    g, key = _keyed(graph)
    read = anatomy(graph, values=False)
    rows = []
    for node in read.saved:
        later = tuple(u for u in _readers(g, key, node) if read.column[u] > read.column[node])
        rows.append(SavedNode(node, read.name(node), node.aval.nbytes, later))
    rows.sort(key=lambda row: (-row.nbytes, g.nodes[key[row.node]]["position"]))
    return Saved(tuple(rows))
