"""From a graph to a schedule: which nodes are stored, and which kernel computes each.

Three kinds of work: ``Loops`` (elementwise chains with their movement, reductions with their
producers and consumers), ``Contraction`` (a matrix product, or a convolution seen as one, with
what is done to its result) and ``Special`` (one operation by itself). Kernels stand on
levels: a kernel loads only what kernels of lower levels stored, so the kernels of a level are
independent, and the groups are convex by construction.

This is the walk downwards: on which level each node can be computed, and what that takes.
``sharing`` walks upwards and finds what is better stored, and ``grouping`` forms the kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

import numpy as np

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tape import CONSTANT
from minigrad.shapes import Axes, Shape

from .draft import LONG, ROW, Bound, Draft, Fact, portion, squeezed
from .grouping import grouped
from .kernels import (
    GUARDED,
    MOVES,
    REDUCTIONS,
    Contraction,
    Domain,
    Options,
    Schedule,
    Sink,
    Special,
    by_rows,
    cost_of,
    fuses,
)
from .layout import moved, same_memory
from .sharing import share
from .terms import UNROLL

__all__ = ["schedule"]

#: What reads an element from another place, so that it is written once more in a kernel.
SHIFTS = frozenset(("slice", "pad", "flip"))
#: Operations of an element above which it is stored, and not written for each place.
LENGTHY = 50
#: Likewise for all elements of a sum that is written out.
UNROLLED = 1500


class _Scheduler:
    """The walk downwards."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.facts, self.stored, self.cuts = draft.facts, draft.stored, draft.cuts
        self.options, self.orders = draft.options, draft.orders
        self.cut, self.store, self.sink = draft.cut, draft.store, draft.sink
        self.ready, self.loaded = draft.ready, draft.loaded
        self.by_rows = by_rows(draft.graph, draft.options, self.orders.inner)

    def run(self) -> None:
        """Note the facts of every node, and store what must be."""
        for node in self.draft.graph.inputs:
            self._leaf(node)
        for node in self.draft.graph.nodes:
            self._visit(node)
        for node in self.draft.graph.results:
            if node.inputs:  # others are known, or are the caller's
                self.store(node)

    def _leaf(self, node: Node) -> None:
        self.stored[node] = 0
        self.cuts.add(node)
        self.facts[node] = Fact(0)

    def _visit(self, node: Node) -> None:
        p = node.primitive
        if not node.inputs:
            if p.kind == "creation" or _is_number(node):
                self.facts[node] = Fact(0, reads=0.0)
            else:
                self._leaf(node)
        elif p.kind == "contraction":
            self._product(node)
        elif p.name == "concat":
            self._concat(node)
        elif p.name in REDUCTIONS:
            self._reduction(node)
        elif fuses(node):
            self._fused(node)
        else:
            self._special(node)
        if node in self.draft.apart and node not in self.cuts:
            self.cut(node)

    def _fused(self, node: Node) -> None:
        """Note what it takes to compute a node in the kernel of what uses it."""
        name = node.primitive.name
        inputs, level, own = node.inputs, 0, cost_of(name)
        if name == "take":
            level, inputs = self.cut(node.inputs[0]), node.inputs[1:]
        elif name == "call":
            level, inputs = max(self.cut(i) for i in node.inputs), ()
        elif name in MOVES or name in GUARDED:
            self._before_movement(node)
        level = max([level, *[self.ready(i) for i in inputs]])
        bound = self._common_bound(node, inputs, level)
        level = max([level, *[self.ready(i) for i in inputs]])
        reads, cost, long = float(name == "take"), own, 0
        for i in inputs:
            if self.loaded(i, level):
                reads += portion(i, node)
            else:
                fact = self.facts[i]
                cost += fact.cost
                reads += fact.reads * portion(i, node)
                long = max(long, fact.long)
        fact = Fact(level, bound, min(cost, 1e6), min(reads, 1e3), long + (own > 0))
        if isinstance(bound, Node):
            carrier = next(i for i in inputs if self.facts[i].bound is bound)
            fact.lies = self._lies(node, carrier)
        self.facts[node] = fact
        if (own and self.draft.alone(node)) or fact.long >= LONG:
            self.cut(node)

    def _before_movement(self, node: Node) -> None:
        """Store what would otherwise be computed many times over by what follows a movement."""
        (x,) = node.inputs
        fact = self.facts[x]
        if x in self.cuts or not x.inputs:
            return
        bound, name = fact.bound, node.primitive.name
        if (node in self.orders.mixed and fact.cost > 0) or (  # one copy to another order is enough
            name in SHIFTS and fact.cost > LENGTHY
        ):
            self.cut(x)
            return
        if isinstance(bound, Node):
            if name not in ("reshape", "permute_dims"):
                self.cut(x)
            return
        if isinstance(bound, Domain):
            kept = name == "reshape" and squeezed(node.aval.shape) == squeezed(x.aval.shape)
            whole = name == "broadcast_to" and _spreads_rows(x.aval.shape, node.aval.shape, bound)
            if not (whole or (kept and x.aval.shape != bound.shape)):
                self.cut(x)
            return
        if node.aval.size >= 4 * x.aval.size and (fact.cost > 2 or fact.reads > 4):
            between = []
            while x.primitive.name in MOVES and x not in self.stored:
                between.append(x)
                (x,) = x.inputs
            self.cut(x)
            for moved in reversed(between):
                self._fused(moved)

    def _common_bound(self, node: Node, inputs: Sequence[Node], level: int) -> Bound:
        """Return the bound that the operands agree on; store those that do not fit."""
        found: Bound = None
        for i in inputs:
            bound = self.facts[i].bound
            if bound is None or self.loaded(i, level) or i in self.cuts:
                continue
            if isinstance(bound, Node) and self.draft.products[bound].level < level:
                continue  # by then the product is stored
            if found is None and self._fits(node, i, bound):
                found = bound
            elif bound != found:
                self.cut(i)
        if isinstance(found, Node) and any(
            self.ready(i) > self.draft.products[found].level for i in inputs
        ):
            return None
        return found

    def _fits(self, node: Node, i: Node, bound: Node | Domain) -> bool:
        """Whether a node can be computed in the kernel that its operand ``i`` is bound to."""
        if isinstance(bound, Node):
            lies = self._lies(node, i)
            return (
                lies is not None
                and node.aval.size == bound.aval.size
                and same_memory(node.aval.shape, lies, self.orders[node])
            )
        shape = node.aval.shape
        return shape == bound.shape or squeezed(shape) == squeezed(
            [bound.shape[a] for a in bound.rows]
        )

    def _lies(self, node: Node, i: Node) -> Axes | None:
        """Return in which order a node would lie if the product behind i stored it."""
        lies = self.facts[i].lies
        return moved(node, lies) if lies and node.primitive.name in MOVES else lies

    def _reduction(self, node: Node) -> None:
        (x,), axes = node.inputs, node.params["axes"]
        count = prod(x.aval.shape[a] for a in axes)
        inner = self.orders.inner(x)
        fact = self.facts[x]
        if count == 1 or (count <= UNROLL and (inner not in axes or count <= 8)):
            much = count > 1 and count * fact.cost > UNROLLED
            if x not in self.cuts and (fact.bound is not None or much):
                self.cut(x)
                fact = self.facts[x]
            here = x in self.cuts
            self.facts[node] = Fact(
                self.ready(x), None, count * (1 + (0 if here else fact.cost)),
                count * (1.0 if here else fact.reads), (0 if here else fact.long) + 1,
            )  # fmt: skip
            return
        domain = Domain(x.aval.shape, tuple(axes))
        if node in self.by_rows:
            if fact.bound not in (None, domain) and x not in self.cuts:
                self.cut(x)
            long = 0 if x in self.cuts else self.facts[x].long
            self.facts[node] = Fact(self.ready(x), domain, ROW, 1.0, long + 1)
            if long >= LONG:
                self.cut(node)
            return
        self._accumulated(node, x, domain)

    def _accumulated(self, node: Node, x: Node, domain: Domain) -> None:
        """Let the kernel that computes x add it up, in parts if that is a lot of work."""
        bound = None if x in self.cuts else self.facts[x].bound
        if bound is not None and not (
            isinstance(bound, Domain) and x.aval.shape == bound.shape and bound.rows == domain.axes
        ):
            self.cut(x)
            bound = None
        level = self.ready(x)
        parts = self.options.parts(x.aval.size, node.aval.size)
        self.sink(Sink(node, x, parts=parts), level, bound)
        if parts > 1:
            self.draft.divided[node] = parts
            self.facts[node] = Fact(level + 1, None, 2.0 * parts, float(parts), 1)
        else:
            self.stored[node] = level + 1
            self.cuts.add(node)
            self.facts[node] = Fact(level + 1)

    def _product(self, node: Node) -> None:
        level = max(self.store(self._view(i)) for i in node.inputs)
        kernel = Contraction(level, node)
        self.draft.kernels.append(kernel)
        inner = node.inputs[0].aval.shape[-1]
        parts = self.options.product_parts(node.aval.size, inner)
        if parts > 1:
            self.draft.divided[node] = parts
            self.facts[node] = Fact(level + 1, None, 2.0 * parts, float(parts), 1)
            return
        self.draft.products[node] = kernel
        self.facts[node] = Fact(level, node, 0.0, 1.0, 0, tuple(range(node.aval.ndim)))
        if not self.options.epilogues:
            self.cut(node)

    def _special(self, node: Node) -> None:
        level = max(self.store(i) for i in node.inputs)
        self.draft.kernels.append(Special(level, node))
        self.stored[node] = level + 1
        self.cuts.add(node)
        self.facts[node] = Fact(level + 1)

    def _concat(self, node: Node) -> None:
        axis, at, ndim, level = node.params["axis"], 0, node.aval.ndim, 0
        for i in node.inputs:
            if self.facts[i].bound is not None and i not in self.cuts:
                self.cut(i)
            level = max(level, self.ready(i))
        for i in node.inputs:
            low = tuple(at if a == axis else 0 for a in range(ndim))
            at += i.aval.shape[axis]
            if i.aval.size:
                self.sink(Sink(node, i, low, (1,) * ndim), level, None)
        self.stored[node] = level + 1
        self.cuts.add(node)
        self.facts[node] = Fact(level + 1)

    def _view(self, node: Node) -> Node:
        """Return what a factor of a product is read from: a view of it costs nothing.

        What mixes axes that lie apart in memory is stored as it is.
        """
        found = node
        while node.primitive.name in MOVES and node not in self.stored:
            if node in self.orders.mixed:
                return node
            (node,) = node.inputs
            found = node
        return found


def _spreads_rows(source: Shape, target: Shape, bound: Domain) -> bool:
    """Whether repeating data of this shape gives each row of a domain its own element."""
    if target != bound.shape:
        return False
    aligned = (1,) * (len(target) - len(source)) + source
    return all(aligned[a] == target[a] for a in bound.rows) and all(
        aligned[a] == 1 for a in bound.axes
    )


def _is_number(node: Node) -> bool:
    return (
        node.primitive is CONSTANT and node.aval.shape == () and isinstance(node.value, np.ndarray)
    )


def schedule(graph: Graph, options: Options, apart: Collection[Node] = ()) -> Schedule:
    """Return the schedule of a lowered graph; the nodes ``apart`` are stored in row-major order."""
    draft = Draft(graph, options, apart)
    _Scheduler(draft).run()
    share(draft)
    kernels = sorted(grouped(draft), key=lambda k: k.level)
    return Schedule(graph, kernels, draft.stored, draft.divided, draft.orders, draft.inside)
