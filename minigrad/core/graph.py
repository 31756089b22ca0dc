"""Graph: a static program. Inputs, nodes in order, outputs; each with a shape and dtype.

A graph is a view of nodes, which never change, so graphs share nodes freely: the graph
of a gradient holds the very nodes of the forward graph, and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minigrad.errors import GraphInvalid, TraceError
from minigrad.trees import Tree

from .late import call
from .node import Node, ancestors
from .tape import INPUT

if TYPE_CHECKING:
    from .state import Cell

__all__ = ["Graph"]


class Graph:
    """A static computation graph.

    Attributes
    ----------
    inputs
        The arguments, in the order of the call, then the state cells that are read.
    nodes
        Every operation and constant, each after what it depends on.
    outputs
        The nodes returned.
    updates
        Pairs of a state cell and the node that holds its new value.
    structure
        How the outputs nest, as returned by the traced function.
    name
        Usually the name of the traced function.
    """

    __slots__ = (
        "__weakref__", "_program", "inputs", "name", "nodes", "outputs", "structure", "updates",
        "values",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Node],
        *,
        updates: Sequence[tuple[Cell, Node]] = (),
        structure: Tree | None = None,
        name: str = "graph",
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.updates = tuple(updates)
        self.structure = structure
        self.name = name
        self._program: Any = None  # the reference backend's order of work, made at the first run
        #: The value of each node in the last run at the prompt, for pictures.
        self.values: dict[Node, Any] = {}
        given = set(self.inputs)
        found = ancestors((*self.outputs, *(node for _, node in self.updates)), given)
        self.nodes = _in_order(found, given)
        for node in self.nodes:
            if node.primitive is INPUT and node.value is None:
                raise TraceError(
                    f"{name}: depends on a traced value that is not among the inputs",
                    operands=[node.describe()],
                    fix="do not keep traced tensors in globals or attributes after the trace; "
                    "pass them as arguments",
                )

    @property
    def arguments(self) -> tuple[Node, ...]:
        """The inputs that are passed in a call; the others are state."""
        return tuple(node for node in self.inputs if not is_state(node))

    @property
    def state(self) -> tuple[Node, ...]:
        """The inputs that are read from state cells."""
        return tuple(node for node in self.inputs if is_state(node))

    @property
    def constants(self) -> tuple[Node, ...]:
        """The nodes with a value of their own: literals and captured arrays."""
        return tuple(node for node in self.nodes if not node.inputs)

    @property
    def results(self) -> tuple[Node, ...]:
        """The outputs and the new values of state cells."""
        return (*self.outputs, *(node for _, node in self.updates))

    def node(self, name: str) -> Node:
        """Return the input, tagged node or output called ``name``, or the node ``%3``.

        Raises
        ------
        KeyError
            If there is none; the message lists the names.
        """
        if name.startswith("%") and name[1:].isdigit() and int(name[1:]) < len(self.nodes):
            return self.nodes[int(name[1:])]
        named = {n.name: n for n in (*self.inputs, *self.nodes) if n.name}
        if name not in named:
            raise KeyError(f"no node is called {name!r}; names here: {', '.join(named) or 'none'}")
        return named[name]

    def __call__(self, *arrays: Any) -> Any:
        """Run the graph, node by node, and return what the traced function returned.

        Arguments nest as in the trace. State cells are read but not changed. The value
        of every node is kept in ``values`` until the next run, so that ``draw`` shows them.
        """
        return call("graph.run", self, arrays)

    def grad(self, wrt: Any = None, *, cotangent: Any = None) -> Graph:
        """Append the backward pass: the outputs, then one gradient for each of ``wrt``.

        Parameters
        ----------
        wrt
            Names or nodes to differentiate with respect to: inputs, parameters or tagged
            intermediates. None means every floating-point input.
        cotangent
            The gradient with respect to the output, when that is not a scalar: an array,
            or ``mg.spec(shape)`` to make it one more input, called ``delta``.

        Raises
        ------
        ShapeError
            If there is not exactly one scalar output and no cotangent is given.
        NotDifferentiable
            If one of ``wrt`` is not floating.
        """
        return call("graph.grad", self, wrt, cotangent)  # type: ignore[no-any-return]

    def simplify(self) -> Graph:
        """Return an equal graph without dead, constant, repeated or trivial operations."""
        return call("graph.simplify", self)  # type: ignore[no-any-return]

    def verify(self) -> Graph:
        """Check every invariant and return the graph itself.

        Raises
        ------
        GraphInvalid
            If a type, the order, or an input is not what it must be.
        """
        return call("graph.verify", self)  # type: ignore[no-any-return]

    def text(self, *, origins: bool = False) -> str:
        """Return the program as text, one line a node; the same graph gives the same text."""
        return call("graph.text", self, origins=origins)  # type: ignore[no-any-return]

    def latex(self) -> str:
        """Return the program as aligned equations in LaTeX."""
        return call("graph.latex", self)  # type: ignore[no-any-return]

    def draw(self, **options: Any) -> Any:
        """Return a picture that shows itself in a notebook; see ``mg.viz.draw``."""
        return call("graph.draw", self, **options)

    def table(self) -> Any:
        """Return a table with a row per node: operation, shape, bytes, flops, origin."""
        return call("graph.table", self)

    def to_networkx(self) -> Any:
        """Return a ``networkx.DiGraph`` that ``Graph.from_networkx`` turns back."""
        return call("graph.to_networkx", self)

    @staticmethod
    def from_networkx(g: Any) -> Graph:
        """Return the graph that ``to_networkx`` wrote, as edited since.

        Raises
        ------
        GraphInvalid
            If ``g`` has a cycle, or nodes that are not operations.
        """
        return call("graph.from_networkx", g)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        ins = ", ".join(f"{n.name or '_'}: {n.aval!r}" for n in self.inputs[:6])
        more = ", ..." if len(self.inputs) > 6 else ""
        outs = ", ".join(repr(n.aval) for n in self.outputs)
        return f"<Graph {self.name}({ins}{more}) -> {outs}; {len(self.nodes)} nodes>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]


def _in_order(found: Sequence[Node], given: set[Node]) -> tuple[Node, ...]:
    """Return nodes in recording order, constants where they are first used.

    Literals are shared between graphs and may have been recorded long before; this
    makes the order, and with it the text, a function of the program alone.
    """
    order: dict[Node, None] = {}
    for node in found:
        if node.inputs and node not in given:
            for source in node.inputs:
                if not source.inputs and source not in given:
                    order.setdefault(source)
            order[node] = None
    order.update(dict.fromkeys(n for n in found if not n.inputs and n not in given))
    return tuple(order)


def history(node: Node) -> Graph:
    """Return the graph of all that produced a node at the prompt, with its values.

    Tensors made from data, and parameters, are inputs; literals are constants.
    """
    found = ancestors([node])
    inputs = [n for n in found if n.primitive is INPUT and n is not node]
    graph = Graph(inputs, [node], name=node.name or node.origin.target or "graph")
    graph.values = {n: n.value for n in found if n.value is not None}
    return graph


def is_state(node: Node) -> bool:
    """Whether an input is read from a cell, or is a parameter's ``.grad``."""
    return "cell" in node.params or "gradient" in node.params


def invalid(graph: Graph, node: Node, what: str) -> GraphInvalid:
    """Return the error for a broken invariant at a node."""
    return GraphInvalid(
        f"{graph.name}: {what}",
        operands=[node.describe()],
        fix="a graph made by minigrad never breaks this: please report it with the graph's text",
    )


__all__ += ["history", "invalid", "is_state"]
