"""Reading a graph for a picture: columns, roles, names, values, gradients, what is hidden.

Everything here is about nodes; what is drawn of them, and where, is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tape import CONSTANT
from minigrad.core.tensor import Tensor

from .pairing import cotangents, derived, level
from .stats import Stats, statistics
from .symbols import PASSING, VIEWS, is_literal
from .variables import statement

__all__ = ["Anatomy", "anatomy", "leaf_gradient", "variable_names"]

_MANY = 2000  # nodes of a history, up to which its gradients are derived for the picture


@dataclass(slots=True)
class Anatomy:
    """What is known about each node of a graph.

    Attributes
    ----------
    ids
        ``n17`` for node %17, ``i0`` for input 0: stable names.
    column
        0 forward, 1 backward, 2 backward of backward, ...; ``after`` for what depends on
        gradients without being one, such as an optimiser's step.
    names
        What the user calls a node; not every node has a name.
    hidden
        Literals, and operations that only move data.
    served
        For a backward node, the forward node of this graph that it serves.
    cotangents
        For a forward node, the node of this graph that holds its cotangent.
    """

    graph: Graph
    ids: dict[Node, str]
    column: dict[Node, int]
    after: int
    roles: dict[Node, str]
    names: dict[Node, str]
    hidden: set[Node]
    consumers: dict[Node, list[Node]]
    served: dict[Node, Node]
    cotangents: dict[Node, Node]
    saved: set[Node]
    values: dict[Node, Any]
    gradients: dict[Node, Any]
    _stats: dict[int, Stats] = field(default_factory=dict)

    @property
    def order(self) -> tuple[Node, ...]:
        """Inputs, then nodes."""
        return (*self.graph.inputs, *self.graph.nodes)

    def stats(self, array: Any) -> Stats:
        """Return the statistics of an array, computed once."""
        found = self._stats.get(id(array))
        if found is None:
            found = self._stats[id(array)] = statistics(array)
        return found

    def starts_alarm(self, node: Node) -> bool:
        """Whether a value is NaN or infinite though the operands were not."""
        if not node.inputs or self._alarm(node) is None:
            return False
        return all(self._alarm(i) is None for i in node.inputs)

    def _alarm(self, node: Node) -> str | None:
        array = self.values.get(node)
        return None if array is None else self.stats(array).alarm

    def name(self, node: Node) -> str:
        """Return the user's name of a node, else its id in the graph's text."""
        return self.names.get(node) or f"%{self.ids[node][1:]}"


def anatomy(
    graph: Graph,
    *,
    values: bool | None = None,
    gradients: bool | None = None,
    constants: bool = False,
    shown: frozenset[Node] = frozenset(),
) -> Anatomy:
    """Read a graph. ``shown`` are nodes that must not be hidden."""
    order = (*graph.inputs, *graph.nodes)
    ids = {n: f"i{i}" for i, n in enumerate(graph.inputs)}
    ids.update((n, f"n{i}") for i, n in enumerate(graph.nodes))
    consumers: dict[Node, list[Node]] = {n: [] for n in order}
    for node in graph.nodes:
        for source in dict.fromkeys(node.inputs):
            consumers[source].append(node)
    column, after = _columns(graph, consumers)
    pairs = cotangents(graph)
    known = _values(graph, values)
    hidden = _hidden(graph, constants, shown)
    return Anatomy(
        graph=graph,
        ids=ids,
        column=column,
        after=after,
        roles=_roles(graph, column, after, set(pairs.values())),
        names=_names(graph, pairs),
        hidden=hidden,
        consumers=consumers,
        served=_served(graph, column, after),
        cotangents=pairs,
        saved=_saved(graph, column, after),
        values=known,
        gradients=_gradients(graph, known, pairs, gradients) if known else {},
    )


def _columns(graph: Graph, consumers: dict[Node, list[Node]]) -> tuple[dict[Node, int], int]:
    found: dict[Node, int] = {}
    levels = {n: level(n) for n in graph.nodes}
    after = max(levels.values(), default=0) + 1
    for node in graph.nodes:
        if node.inputs:
            sources = [found.get(i, 0) for i in node.inputs]
            late = levels[node] == 0 and max(sources) > 0
            found[node] = after if late else levels[node]
    _join_late(graph, consumers, found, after)
    results = {n: i for i, n in enumerate(graph.outputs)}
    for node in (*graph.inputs, *graph.nodes):
        if node not in found:
            used = [found[c] for c in consumers[node] if c in found]
            late_output = results.get(node, 0) > 0 and after > 1 and node not in graph.inputs
            found[node] = min(used) if used else int(late_output)
    return found, after


def _join_late(
    graph: Graph, consumers: dict[Node, list[Node]], found: dict[Node, int], after: int
) -> None:
    """Move what serves the update alone, such as an optimiser's counters, to its column."""
    late = {n.scope[0] for n, column in found.items() if column == after and n.scope}
    forward = {n.scope[0] for n in graph.nodes if n.partner is not None and n.scope}
    for node in reversed(graph.nodes):
        inside = node.scope and node.scope[0] in late - forward
        if found.get(node) == 0 and inside and all(found[c] == after for c in consumers[node]):
            found[node] = after


def _hidden(graph: Graph, constants: bool, shown: frozenset[Node]) -> set[Node]:
    kept = {*graph.results, *shown}
    hidden = set()
    for node in graph.nodes:
        if node in kept or node.name:
            continue
        moves = node.primitive.name in PASSING and len(node.inputs) == 1
        if moves or (not constants and is_literal(node)):
            hidden.add(node)
    return hidden


def _roles(
    graph: Graph, column: dict[Node, int], after: int, gradients: set[Node]
) -> dict[Node, str]:
    results = set(graph.outputs)
    updates = {node for _, node in graph.updates}
    roles = {}
    given = set(graph.inputs)
    for node in (*graph.inputs, *graph.nodes):
        if node in given:
            roles[node] = _input_role(node)
        elif node in updates:
            roles[node] = "update"
        elif not node.inputs and node not in results and node not in gradients:
            roles[node] = "constant"
        elif 0 < column[node] < after:
            final = node in results or (node in gradients and not node.inputs)
            roles[node] = "gradient_output" if final else "gradient"
        elif node in results:
            roles[node] = "output"
        else:
            roles[node] = "operation"
    return roles


def _input_role(node: Node) -> str:
    cell = node.params.get("cell")
    if cell is not None:
        return "parameter" if cell.trainable else "state"
    if "gradient" in node.params:
        return "state"
    return "parameter" if "owner" in node.params else "input"


def _served(graph: Graph, column: dict[Node, int], after: int) -> dict[Node, Node]:
    """Return the root of the partner chain, or its twin in this graph if that was rewritten."""
    forward = [n for n in graph.nodes if column[n] == 0 and n.inputs]
    here = set(forward)
    twins = {(n.primitive, n.where): n for n in forward}
    found = {}
    for node in graph.nodes:
        if 0 < column[node] < after and node.inputs:
            root: Node = node
            while root.partner is not None:
                root = root.partner
            twin = root if root in here else twins.get((root.primitive, root.where))
            if twin is not None:
                found[node] = twin
    return found


def _saved(graph: Graph, column: dict[Node, int], after: int) -> set[Node]:
    """Return computed forward nodes that a backward node reads.

    What only moves data is a view: what it moves is kept.
    """
    found: set[Node] = set()
    for node in graph.nodes:
        if not 0 < column[node] < after:
            continue
        for source in node.inputs:
            while source.inputs and source.primitive.name in VIEWS:
                source = source.inputs[0]
            if source.inputs and column[source] < column[node]:
                found.add(source)
    return found


def variable_names(graph: Graph) -> dict[Node, str]:
    """Return names for forward nodes: tags, inputs, and the user's own variables.

    Of the operations that one statement makes, the last has the variable's name. Clean-up
    may have pulled them apart: one that only the statement itself goes on with is not the last.
    """
    names: dict[Node, str] = {}
    users: dict[Node, set[object]] = {}
    for node in graph.nodes:
        if not level(node):
            for source in node.inputs:
                users.setdefault(source, set()).add(statement(node)[0])

    def end(node: Node, made: object, name: str | None) -> None:
        if name is not None and users.get(node) != {made}:
            names[node] = name

    for i, node in enumerate(graph.inputs):
        names[node] = node.name or statement(node)[1] or f"in{i}"
    run: object = None
    last: tuple[Node, str | None] | None = None
    for node in graph.nodes:
        if not node.inputs or level(node):
            continue
        made, target = statement(node)
        if made != run and last is not None:
            end(last[0], run, last[1])
        run, last = made, (node, target)
    if last is not None:
        end(last[0], run, last[1])
    names.update((n, n.name) for n in graph.nodes if n.name)
    return names


def _names(graph: Graph, pairs: dict[Node, Node]) -> dict[Node, str]:
    names = variable_names(graph)
    for cell, node in graph.updates:
        names.setdefault(node, f"new {cell.name or 'value'}")
    labels = graph.structure.paths("out") if graph.structure is not None else []
    if len(labels) > 1:
        for node, label in zip(graph.outputs, labels, strict=False):
            if node.inputs and not node.partner:
                names.setdefault(node, label)
    inputs = set(graph.inputs)
    taken = set(names)
    for forward, cotangent in sorted(pairs.items(), key=lambda p: p[0] not in inputs):
        if forward in names and cotangent not in taken:
            taken.add(cotangent)
            names[cotangent] = f"∂{names[forward]}"
    return names


def _values(graph: Graph, wanted: bool | None) -> dict[Node, Any]:
    if wanted is False:
        return {}
    known = {n: n.value for n in graph.nodes if n.value is not None}
    known.update(graph.values)
    if not wanted and not _is_run(graph, known):
        return {}
    for node in graph.inputs:
        cell = node.params.get("cell")
        value = node.value if cell is None else cell.leaf.value
        if node not in known and value is not None:
            known[node] = value
    return known


def _is_run(graph: Graph, known: dict[Node, Any]) -> bool:
    """Whether a result that depends on an input has a value; literals always have theirs."""
    data = set(graph.inputs)
    for node in graph.nodes:
        if any(i in data for i in node.inputs):
            if node in known:
                return True
            data.add(node)
    return False


def leaf_gradient(node: Node) -> Any:
    """Return the array in ``.grad`` of the parameter or tensor that an input stands for."""
    cell, owner = node.params.get("cell"), node.params.get("owner")
    holder: Tensor | None = cell if cell is not None else (owner() if owner is not None else None)
    kept = getattr(holder, "_grad", None)
    return None if kept is None else kept.node.value


def _gradients(
    graph: Graph, values: dict[Node, Any], pairs: dict[Node, Node], wanted: bool | None
) -> dict[Node, Any]:
    if wanted is False:
        return {}
    found = {n: values[g] for n, g in pairs.items() if g in values}
    leaves = {n: leaf_gradient(n) for n in graph.inputs}
    leaves = {n: g for n, g in leaves.items() if g is not None and g.shape == n.aval.shape}
    plain = not any(level(n) for n in graph.nodes)
    if plain and (wanted or leaves) and len(graph.nodes) <= _MANY:
        found.update(_derive(graph))
    found.update({n: g for n, g in leaves.items() if n not in found or plain})
    return found


def _derive(graph: Graph) -> dict[Node, Any]:
    """Return the cotangent of every node of a history that ends in one number."""
    if len(graph.outputs) != 1 or graph.updates:
        return {}
    (loss,) = graph.outputs
    if loss.aval.shape != () or loss.aval.kind != "f" or not loss.inputs:
        return {}
    forward = [n for n in (*graph.inputs, *graph.nodes) if n.primitive is not CONSTANT]
    found = derived(graph, loss, forward)
    arrays = {n: g.value for n, g in found.items() if g.value is not None}
    if loss.value is not None:
        arrays[loss] = loss.value * 0 + 1
    return arrays
