"""Graph to ``networkx.DiGraph`` and back.

Every vertex carries what a node is; every edge lists the operand places that it feeds,
since an operation may use one operand twice. The way back checks everything: the result
is a graph of its own, with fresh nodes, that has passed the verifier.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from minigrad.core.aval import Aval
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.primitive import Primitive, defined, registry
from minigrad.core.tape import CONSTANT, INPUT
from minigrad.core.text import names
from minigrad.errors import BackendUnavailable, GraphInvalid, MinigradError

from .anatomy import anatomy

_TRIED = 1 << 20  # elements up to which an edited operation is tried out

__all__ = ["from_networkx", "import_networkx", "to_networkx"]


def import_networkx() -> Any:
    """Return the module networkx.

    Raises
    ------
    BackendUnavailable
        If it is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise BackendUnavailable(
            "graph queries need networkx",
            fix="pip install 'minigrad[notebook]'; everything else works without it",
        ) from error
    return networkx


def to_networkx(graph: Graph) -> Any:
    """Return a ``networkx.DiGraph``.

    Vertices are called as in the graph's text: inputs by name, ``%3`` for the others.
    Vertex attributes: ``op``, ``shape``, ``dtype``, ``params``, ``name``, ``label``,
    ``role``, ``scope``, ``origin``, ``partner`` (the vertex that a backward node serves),
    ``position``, and ``value`` after a run or at the prompt. Edge attribute ``operands``:
    the places, from 0, at which the operation uses it. Graph attributes: ``name``,
    ``inputs``, ``outputs``, ``updates``.

    Raises
    ------
    BackendUnavailable
        If networkx is not installed.
    """
    nx = import_networkx()
    read = anatomy(graph)
    key = names(graph)
    g = nx.DiGraph(
        name=graph.name,
        inputs=[key[n] for n in graph.inputs],
        outputs=[key[n] for n in graph.outputs],
        updates=[(cell, key[n]) for cell, n in graph.updates],
        structure=graph.structure,
    )
    for position, node in enumerate(read.order):
        attributes: dict[str, Any] = {
            "op": node.primitive.name,
            "shape": node.aval.shape,
            "dtype": node.aval.dtype,
            "params": dict(node.params),
            "name": node.name,
            "label": read.names.get(node),
            "role": read.roles[node],
            "scope": node.scope,
            "origin": node.origin.label,
            "partner": key.get(node.partner) if node.partner is not None else None,
            "position": position,
            "saved": node in read.saved,
            "nbytes": node.aval.nbytes,
            "node": node,
        }
        if node in read.values:
            attributes["value"] = read.values[node]
        g.add_node(key[node], **attributes)
    for node in graph.nodes:
        for place, source in enumerate(node.inputs):
            if g.has_edge(key[source], key[node]):
                g.edges[key[source], key[node]]["operands"].append(place)
            else:
                g.add_edge(key[source], key[node], operands=[place])
    return g


# And back --------------------------------------------------------------------------


def from_networkx(g: Any) -> Graph:
    """Return the graph that a ``DiGraph`` from ``to_networkx`` describes, as edited since.

    Vertices may have been removed, added (with ``op``, ``params`` and edges) and rewired;
    types are derived anew. Vertices from which no output is reached are left out.

    Raises
    ------
    GraphInvalid
        If there is a cycle, an unknown operation, a missing operand, or a type error.
    BackendUnavailable
        If networkx is not installed.
    """
    import_networkx()
    _check_shape(g)
    order = _in_order(g)
    made: dict[Hashable, Node] = {}
    inputs = list(g.graph["inputs"])
    for vertex in order:
        made[vertex] = _node(g, vertex, made, vertex in inputs)
    outputs = g.graph["outputs"]
    structure = g.graph.get("structure")
    if structure is not None and structure.size > len(outputs):
        structure = None  # outputs were removed: they no longer nest as the function's result
    try:
        graph = Graph(
            [_of(made, v, "input") for v in inputs],
            [_of(made, v, "output") for v in outputs],
            updates=[(cell, _of(made, v, "new value")) for cell, v in g.graph.get("updates", ())],
            structure=structure,
            name=str(g.graph.get("name") or "graph"),
        )
        return graph.verify()
    except GraphInvalid:
        raise
    except MinigradError as error:
        raise GraphInvalid(f"from_networkx: {error.message}", operands=error.operands) from error


def _check_shape(g: Any) -> None:
    for name in ("inputs", "outputs"):
        if name not in getattr(g, "graph", {}):
            raise GraphInvalid(
                f"from_networkx: the graph attribute {name!r} is missing",
                fix="start from graph.to_networkx(), and keep g.graph when making a copy",
            )
    if not g.is_directed() or g.is_multigraph():
        raise GraphInvalid("from_networkx: needs a networkx.DiGraph", fix="networkx.DiGraph(g)")


def _in_order(g: Any) -> list[Hashable]:
    """Return the vertices, each after those it uses, in their old order where that is free."""
    nx = import_networkx()
    last = len(g)

    def place(vertex: Hashable) -> tuple[float, str]:
        return g.nodes[vertex].get("position", last), str(vertex)

    try:
        return list(nx.lexicographical_topological_sort(g, key=place))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(g)]
        named = " -> ".join(str(v) for v in [*cycle, cycle[0]])
        raise GraphInvalid(
            f"from_networkx: the graph has a cycle: {named}",
            rule="every operation comes after its operands",
            fix="remove one of these edges",
        ) from None


def _of(made: dict[Hashable, Node], vertex: Hashable, what: str) -> Node:
    if vertex not in made:
        raise GraphInvalid(
            f"from_networkx: the {what} {vertex!r} is not among the vertices",
            fix="keep it, or take it out of g.graph too",
        )
    return made[vertex]


def _node(g: Any, vertex: Hashable, made: dict[Hashable, Node], given: bool) -> Node:
    data = g.nodes[vertex]
    primitive = _primitive(vertex, data)
    operands = _operands(g, vertex, made)
    old: Node | None = data.get("node")
    params = dict(data.get("params") or {})
    if primitive in (INPUT, CONSTANT):
        if operands:
            raise GraphInvalid(f"from_networkx: {vertex!r} is an input, but an edge leads to it")
        return _leaf(vertex, data, primitive, params, old, given)
    try:
        derived = primitive.aval(*(n.aval for n in operands), **params)
    except MinigradError as error:
        raise GraphInvalid(
            f"from_networkx: {vertex!r}: {error.message}",
            operands=[n.describe() for n in operands],
            rule=error.rule,
        ) from error
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise GraphInvalid(
            f"from_networkx: {vertex!r}: {primitive.name} does not take {len(operands)} operands "
            f"with params {sorted(params)}: {error}"
        ) from error
    if old is None or params != old.params or primitive is not old.primitive:
        _try(vertex, primitive, operands, params, derived)
    value = old.value if old is not None and primitive.kind == "creation" else None
    same_type = value is not None and tuple(value.shape) == derived.shape
    where = old.where if old is not None else (None, 0, tuple(data.get("scope") or ()))
    partner = made.get(data.get("partner")) or (old.partner if old is not None else None)
    stopped = old.stopped if old is not None else False
    return Node(
        primitive, tuple(operands), params, derived, value if same_type else None, where, partner,
        data.get("name"), stopped,
    )  # fmt: skip


def _try(
    vertex: Hashable,
    primitive: Primitive,
    operands: Sequence[Node],
    params: dict[str, Any],
    derived: Aval,
) -> None:
    """Compute an edited operation on zeros: its type rule trusts params that ops have checked."""
    if max((n.aval.size for n in operands), default=0) > _TRIED or primitive.kind == "call":
        return
    zeros = [np.zeros(n.aval.shape, n.aval.dtype) for n in operands]
    arguments = (np, *zeros) if primitive.kind == "creation" else zeros
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(defined(primitive, arguments, params))
    except Exception as error:
        raise GraphInvalid(
            f"from_networkx: {vertex!r}: {primitive.name} cannot be computed with {params}: {error}"
        ) from error
    if result.shape != derived.shape:
        raise GraphInvalid(
            f"from_networkx: {vertex!r}: {primitive.name} with {params} gives shape "
            f"{result.shape}, its type says {derived.shape}"
        )


def _leaf(
    vertex: Hashable,
    data: dict[str, Any],
    primitive: Primitive,
    params: dict[str, Any],
    old: Node | None,
    given: bool,
) -> Node:
    """Return an input or a constant; both keep their array and their cell."""
    if old is None:
        raise GraphInvalid(
            f"from_networkx: {vertex!r} is a new {primitive.name}, which has no data here",
            fix="trace a function that has it, or add a 'full' vertex with a value",
        )
    value = old.value
    if not given and value is None:
        raise GraphInvalid(
            f"from_networkx: {vertex!r} was an input and is not among g.graph['inputs'] any more",
            fix="remove what uses it, or put it back",
        )
    return Node(primitive, (), params, old.aval, value, old.where, None, data.get("name"))


def _primitive(vertex: Hashable, data: dict[str, Any]) -> Primitive:
    name = data.get("op")
    if name not in registry:
        raise GraphInvalid(
            f"from_networkx: {vertex!r} has the operation {name!r}, which is none of ours",
            fix="op is a name in mg.registry",
        )
    return registry[name]


def _operands(g: Any, vertex: Hashable, made: dict[Hashable, Node]) -> Sequence[Node]:
    """Return the operands in order; every place must be taken exactly once."""
    at: dict[int, Hashable] = {}
    for source, _, data in g.in_edges(vertex, data=True):
        places = data.get("operands")
        if not places:
            raise GraphInvalid(
                f"from_networkx: the edge {source!r} -> {vertex!r} does not say which operand",
                fix="g.add_edge(u, v, operands=[0])",
            )
        for place in places:
            if place in at:
                raise GraphInvalid(
                    f"from_networkx: {vertex!r} has two edges for operand {place}, "
                    f"from {at[place]!r} and {source!r}"
                )
            at[place] = source
    rules = _primitive(vertex, g.nodes[vertex]).vjp
    wanted = len(rules) if isinstance(rules, tuple) and rules else max(at, default=-1) + 1
    extra = [i for i in at if i >= wanted]
    if extra:
        raise GraphInvalid(
            f"from_networkx: {vertex!r} takes {wanted} operands, and {at[extra[0]]!r} is operand "
            f"{extra[0]} of it"
        )
    missing = [i for i in range(wanted) if i not in at]
    if missing:
        raise GraphInvalid(
            f"from_networkx: {vertex!r} has no edge for operand {missing[0]}",
            fix="every operand needs an edge, with its place in 'operands'",
        )
    return [made[at[i]] for i in range(len(at))]
