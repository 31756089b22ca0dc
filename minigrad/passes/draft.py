"""A schedule in the making: what is known of each node, and what is to be stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.shapes import Axes, Shape

from .kernels import Contraction, Domain, Kernel, Options, Sink
from .layout import Orders
from .numbers import small_operations

__all__ = ["LONG", "ROW", "ROW_OF", "Bound", "Draft", "Fact", "Group", "portion", "squeezed"]

#: What a value is bound to: a product's kernel, a row domain, or nothing.
Bound: TypeAlias = Node | Domain | None
#: The kernel that something belongs to: its level, the shape that it goes through, its bound.
Group: TypeAlias = tuple[int, Shape, Bound]

#: Operations in a row, after which a kernel ends.
LONG = 120
#: Operations in a row that go together where most are kernels of their own.
ROW_OF = 3
#: What computing a row's reduction again is taken to cost.
ROW = 1000.0


@dataclass(slots=True)
class Fact:
    """What is known of a node: the level on which it can be computed, and what that takes.

    ``cost`` counts operations for each element, ``reads`` loads, ``long`` operations one
    after the other. ``lies`` is the order of axes in which a product's kernel would store it.
    """

    level: int
    bound: Bound = None
    cost: float = 0.0
    reads: float = 1.0
    long: int = 0
    lies: Axes | None = None


class Draft:
    """A schedule in the making.

    Attributes
    ----------
    stored
        The nodes that have memory, and the first level on which each can be loaded.
    cuts
        Those of them that are only ever loaded, never computed where they are used.
    sinks, groups
        What is stored for each node, and the kernel to which each such thing belongs.
    """

    def __init__(self, graph: Graph, options: Options, apart: Collection[Node]) -> None:
        self.graph = graph
        self.options = options
        self.apart = apart
        self.orders = Orders(graph, apart)
        self.facts: dict[Node, Fact] = {}
        self.stored: dict[Node, int] = {}
        self.cuts: set[Node] = set()
        self.divided: dict[Node, int] = {}
        self.sinks: dict[Node, list[Sink]] = defaultdict(list)
        self.groups: dict[Sink, Group] = {}
        self.inside: dict[Node, Sink] = {}
        self.kernels: list[Kernel] = []
        self.products: dict[Node, Contraction] = {}
        self.separate = len(small_operations(graph)) > options.separate
        self.sole = _sole_users(graph) if self.separate else {}

    def alone(self, node: Node) -> bool:
        """Whether, where most operations are kernels of their own, this one should be, too.

        Some in a row go together, if nothing else needs what is between them: a few kinds of
        kernels are then still enough for all.
        """
        if not self.separate:
            return False
        user, fact = self.sole.get(node), self.facts[node]
        return (
            fact.long >= ROW_OF
            or fact.bound is not None
            or user is None
            or user.primitive.kind != "elementwise"
            or node.primitive.kind != "elementwise"
            or user.aval.shape != node.aval.shape
        )

    def ready(self, node: Node) -> int:
        """Return the first level on which a node can be had, computed or loaded."""
        return self.stored[node] if node in self.cuts else self.facts[node].level

    def loaded(self, node: Node, level: int) -> bool:
        """Whether a kernel of this level can load the node."""
        return node in self.stored and self.stored[node] <= level

    def sink(self, sink: Sink, level: int, bound: Bound) -> None:
        """Let a kernel of this level store something."""
        shape = bound.shape if isinstance(bound, Domain) else sink.source.aval.shape
        self.sinks[sink.target].append(sink)
        self.groups[sink] = level, shape, bound

    def cut(self, node: Node) -> int:
        """Store a node, and let everything that uses it load it."""
        level = self.store(node)
        self.cuts.add(node)
        return level

    def store(self, node: Node) -> int:
        """Store a node; return the first level on which it can be loaded."""
        if node in self.stored:
            return self.stored[node]
        fact = self.facts[node]
        if not node.inputs:  # its elements are made when the graph is compiled
            self.stored[node] = 0
            return 0
        self.stored[node] = fact.level + 1
        if node in self.products:
            self.products[node].sinks.append(Sink(node, node))
        elif node.primitive.name == "pad" and fact.bound is None:
            (x,), params = node.inputs, node.params
            step = tuple(g + 1 for g in params["inner"])
            self.sink(Sink(node, x, params["low"], step), fact.level, None)
            self.cuts.add(node)
        else:
            self.sink(Sink(node, node), fact.level, fact.bound)
        return fact.level + 1


def _sole_users(graph: Graph) -> dict[Node, Node]:
    """Return the one operation that uses a node, for those that have just one."""
    found: dict[Node, Node] = {}
    several = set(graph.results)
    for node in graph.nodes:
        for i in node.inputs:
            if i in found:
                several.add(i)
            found[i] = node
    return {i: user for i, user in found.items() if i not in several}


def portion(i: Node, node: Node) -> float:
    """Return the elements of an operand that are read for each of the result, at most 1."""
    return min(1.0, i.aval.size / node.aval.size)


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without its axes of size 1."""
    return tuple(n for n in shape if n != 1)
