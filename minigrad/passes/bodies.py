"""From a kernel of the schedule to what it computes: loop variables, terms, and where they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.shapes import Shape

from .affine import Affine, Index, NotAffine, Split, Var, flatten, unflatten
from .build import op
from .kernels import Contraction, Domain, Loops, Options, Schedule, Sink, Special
from .schedule import schedule
from .terms import Load, Partial, Reader, Reduce, Term, blocks, row_major

__all__ = ["Accumulated", "Body", "Product", "Stored", "bodies"]


class Product(Term):
    """The element of a contraction's result that is at hand in its kernel."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        super().__init__(node.aval.dtype)
        self.node = node


@dataclass(slots=True, eq=False)
class Stored:
    """A term stored as one element of ``target``."""

    target: Node
    index: Index
    term: Term


@dataclass(slots=True, eq=False)
class Accumulated:
    """A term added up (multiplied, ...) over loop variables to one element of ``target``."""

    target: Node
    index: Index
    term: Term
    op: str
    over: tuple[Var, ...]
    parts: int


@dataclass(slots=True, eq=False)
class Body:
    """What a kernel computes.

    Attributes
    ----------
    axes
        The loop variables of each axis of the kernel's shape, outermost first; several where
        a movement made it necessary to split the axis. For a contraction, the axes are
        the batch axes, rows and columns of the result.
    rows
        The variables that count the rows, for a kernel that reduces row by row.
    inner
        The variables that a contraction adds up over.
    left, right
        The factors of a contraction.
    result
        The index of a contraction's result, and ``parts`` in how many it is stored; 0 if whole.
    """

    kernel: Loops | Contraction
    axes: tuple[tuple[Var, ...], ...]
    stores: list[Stored] = field(default_factory=list)
    sums: list[Accumulated] = field(default_factory=list)
    rows: tuple[Var, ...] = ()
    inner: tuple[Var, ...] = ()
    left: Load | None = None
    right: Load | None = None
    result: Index = ()
    parts: int = 0

    @property
    def vars(self) -> tuple[Var, ...]:
        """All loop variables of the axes, outermost first."""
        return tuple(v for axis in self.axes for v in axis)


def bodies(graph: Graph, options: Options) -> tuple[Schedule, list[Body | None]]:
    """Return a schedule and the body of each of its kernels; None if it is special or like another.

    Where an index map is not affine, the operand is stored first.
    """
    apart: set[Node] = set()
    while True:
        plan = schedule(graph, options, apart)
        try:
            return plan, [
                None
                if isinstance(k, Special) or (isinstance(k, Loops) and k.like is not None)
                else _Builder(plan, k).build()
                for k in plan.kernels
            ]
        except _Blocked as error:
            if error.node in apart:
                raise AssertionError(f"{error.node!r} cannot be read where it is stored") from error
            apart.add(error.node)


class _Blocked(Exception):
    """A node must be stored before what is behind it can be read."""

    def __init__(self, node: Node) -> None:
        super().__init__(repr(node))
        self.node = node


class _Reader(Reader):
    """A reader that says which node to store when an index map is not affine."""

    def _step(self, node: Node, index: Index):  # type: ignore[no-untyped-def]
        try:
            return super()._step(node, index)
        except NotAffine as error:
            raise _Blocked(node.inputs[0] if node.primitive.name == "reshape" else node) from error


class _Builder:
    def __init__(self, plan: Schedule, kernel: Loops | Contraction) -> None:
        self.plan = plan
        self.kernel = kernel
        self.pieces: dict[Var, tuple[Var, Var]] = {}
        self.views: dict[Node, Node] = {}

    def build(self) -> Body:
        kernel = self.kernel
        if isinstance(kernel, Loops):
            base = [Var(n, f"i{a}") for a, n in enumerate(kernel.shape)]
            inner = None
        else:
            base = [Var(n, f"i{a}") for a, n in enumerate(kernel.node.aval.shape)]
            inner = Var(kernel.node.inputs[0].aval.shape[-1], "k")
        for _ in range(64):
            try:
                if isinstance(kernel, Loops):
                    return self._loops(kernel, base)
                assert inner is not None
                return self._contraction(kernel, base, inner)
            except Split as need:
                outer = Var(need.var.extent // need.inner, f"{need.var.name}o")
                self.pieces[need.var] = outer, Var(need.inner, f"{need.var.name}i")
        raise AssertionError("splitting loops does not come to an end")

    # Variables ----------------------------------------------------------------------

    def _leaves(self, var: Var) -> tuple[Var, ...]:
        if var not in self.pieces:
            return (var,)
        outer, inner = self.pieces[var]
        return (*self._leaves(outer), *self._leaves(inner))

    def _value(self, var: Var) -> Affine:
        if var not in self.pieces:
            return Affine.of(var)
        outer, inner = self.pieces[var]
        return self._value(outer) * inner.extent + self._value(inner)

    # Reading ------------------------------------------------------------------------

    def _leaf(self, node: Node, index: Index) -> Term | None:
        plan, level = self.plan, self.kernel.level
        if plan.stored.get(node, level + 1) <= level:
            return Load(node, index)
        if node.primitive.name == "reshape":
            source = node.inputs[0]
            if (
                plan.stored.get(source, level + 1) <= level
                and source not in plan.inside
                and plan.orders[source] == tuple(range(source.aval.ndim))
            ):
                return Load(self._view(node), index)
        parts = plan.divided.get(node)
        if parts is not None:
            part = self.parts.setdefault(parts, Var(parts, "part"))
            inside = Partial(node, Affine.of(part), index)
            op = "sum" if node.primitive.kind == "contraction" else node.primitive.name
            return Reduce(node, op, inside, (part,))
        return None

    def _view(self, node: Node) -> Node:
        """Return a node that has no memory but its operand's, seen with another shape."""
        if node not in self.plan.stored:
            return node
        found = self.views.get(node)
        if found is None:
            found = self.views[node] = op(node, "reshape", node.inputs[0], **node.params)
        return found

    def _loops(self, kernel: Loops, base: Sequence[Var]) -> Body:
        self.parts: dict[int, Var] = {}
        domain = kernel.domain
        whole = tuple(self._value(v) for v in base)

        def over(node: Node) -> Sequence[Affine] | None:
            (x,) = node.inputs
            if domain is None or Domain(x.aval.shape, tuple(node.params["axes"])) != domain:
                return None
            return [whole[a] for a in domain.axes]

        reader = _Reader(self._leaf, over)
        body = Body(kernel, tuple(self._leaves(v) for v in base))
        if domain is not None:
            body.rows = tuple(v for a in domain.rows for v in body.axes[a])
        for sink in kernel.sinks:
            index = self._index(sink, kernel.shape, domain, whole)
            term = reader.read(sink.source, index)
            self._put(body, sink, index, term, body.axes)
        return body

    def _index(self, sink: Sink, shape: Shape, domain: Domain | None, whole: Index) -> Index:
        source = sink.source.aval.shape
        if source == shape:
            return whole
        assert domain is not None
        kept = iter([whole[a] for a in domain.rows if domain.shape[a] != 1])
        return tuple(Affine(0) if n == 1 else next(kept) for n in source)

    def _put(
        self,
        body: Body,
        sink: Sink,
        index: Index,
        term: Term,
        axes: tuple[tuple[Var, ...], ...],
    ) -> None:
        if sink.parts:
            reduced = sink.target.params["axes"]
            kept = [at for a, at in enumerate(index) if a not in reduced]
            if sink.target.params["keepdims"]:
                kept = [Affine(0) if a in reduced else at for a, at in enumerate(index)]
            over = tuple(v for a in reduced for v in axes[a] if v.extent > 1)
            name = sink.target.primitive.name
            body.sums.append(Accumulated(sink.target, tuple(kept), term, name, over, sink.parts))
            return
        if sink.low is not None and sink.step is not None:
            index = tuple(
                at * s + low for at, s, low in zip(index, sink.step, sink.low, strict=True)
            )
        body.stores.append(Stored(sink.target, index, term))

    def _contraction(self, kernel: Contraction, base: Sequence[Var], inner: Var) -> Body:
        self.parts = {}
        node = kernel.node
        result = tuple(self._value(v) for v in base)
        k = self._value(inner)
        product = Product(node)

        def leaf(other: Node, index: Index) -> Term | None:
            if other is node:
                assert index == result, f"{node!r} is read at {index}, not at {result}"
                return product
            return self._leaf(other, index)

        reader = _Reader(leaf, lambda _: None)
        left = reader.read(node.inputs[0], (*result[:-1], k))
        right = reader.read(node.inputs[1], (*result[:-2], k, result[-1]))
        assert isinstance(left, Load) and isinstance(right, Load)
        body = Body(
            kernel, tuple(self._leaves(v) for v in base), inner=self._leaves(inner),
            left=left, right=right, result=result, parts=self.plan.divided.get(node, 0),
        )  # fmt: skip
        for sink in kernel.sinks:
            index = self._forward(node, sink.source, result)
            term = reader.read(sink.source, index)
            self._put(body, sink, index, term, body.axes)
        return body

    def _forward(self, product: Node, source: Node, index: Index) -> Index:
        """Return where an element of the product ends up in what is computed from it."""
        came: dict[Node, Node] = {}
        todo = [source]
        while todo:
            node = todo.pop()
            if node is product:
                break
            for i in node.inputs:
                if i not in came and i.serial >= 0 and self._leaf_level(i, product):
                    came[i] = node
                    todo.append(i)
        node = product
        while node is not source:
            user = came[node]
            if user.primitive.name == "permute_dims":
                index = tuple(index[a] for a in user.params["axes"])
            elif user.primitive.name == "reshape":
                try:
                    index = _reshaped(node.aval.shape, user.aval.shape, index)
                except NotAffine as error:
                    raise _Blocked(node) from error
            node = user
        return index

    def _leaf_level(self, node: Node, product: Node) -> bool:
        """Whether a node may be computed from the product: it is, or it is not loaded."""
        return node is product or self.plan.stored.get(node, 1 << 30) > self.kernel.level


def _reshaped(source: Shape, target: Shape, index: Index) -> Index:
    found: list[Affine] = []
    for here, there in blocks(target, source):
        at = flatten(index[there], row_major(source[there]))
        found += unflatten(at, target[here])
    return tuple(found)
