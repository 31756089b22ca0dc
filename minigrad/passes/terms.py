"""What a fused kernel computes for one element: terms, read off the graph at an index.

``Reader.read(node, index)`` returns the term for one element of a node. Movement becomes
index arithmetic, elementwise operations become ``Apply``, and reading ends at what is stored.
The same element is one term object, however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, TypeAlias

from minigrad.core.node import Node
from minigrad.core.primitive import Primitive, registry
from minigrad.dtypes import DType, bool
from minigrad.errors import GraphInvalid
from minigrad.ops.random import is_random_bits
from minigrad.shapes import Shape

from .affine import ZERO, Affine, Index, Var, flatten, unflatten

__all__ = [
    "Apply", "Bits", "Count", "Gather", "Guard", "Literal", "Load", "Partial", "Reader", "Reduce",
    "Term", "walk",
]  # fmt: skip


class Term:
    """One value of a kernel; ``args`` are the terms that it is computed from."""

    __slots__ = ("args", "dtype")

    def __init__(self, dtype: DType, args: tuple[Term, ...] = ()) -> None:
        self.dtype = dtype
        self.args = args


class Literal(Term):
    """A number."""

    __slots__ = ("value",)

    def __init__(self, value: Any, dtype: DType) -> None:
        super().__init__(dtype)
        self.value = value


class Count(Term):
    """The value of an index expression, as a number."""

    __slots__ = ("at",)

    def __init__(self, at: Affine, dtype: DType) -> None:
        super().__init__(dtype)
        self.at = at


class Load(Term):
    """An element of a stored node."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: Index) -> None:
        super().__init__(node.aval.dtype)
        self.node = node
        self.index = index


class Partial(Term):
    """An element of one partial result of a reduction that was divided into parts."""

    __slots__ = ("index", "node", "part")

    def __init__(self, node: Node, part: Affine, index: Index) -> None:
        super().__init__(node.aval.dtype)
        self.node = node
        self.part = part
        self.index = index


class Gather(Term):
    """An element of a stored node, whose index along ``axis`` is computed: ``args[0]``."""

    __slots__ = ("axis", "index", "node")

    def __init__(self, node: Node, axis: int, index: Index, at: Term) -> None:
        super().__init__(node.aval.dtype, (at,))
        self.node = node
        self.axis = axis
        self.index = index  # the entry of ``axis`` is ZERO


class Apply(Term):
    """An elementwise primitive applied to terms; ``node`` is where it comes from."""

    __slots__ = ("node", "params", "primitive")

    def __init__(self, node: Node, args: tuple[Term, ...]) -> None:
        super().__init__(node.aval.dtype, args)
        self.node = node
        self.primitive = node.primitive
        self.params = node.params


class Combine(Term):
    """Two terms joined by the operation of a reduction, when a short one is written out."""

    __slots__ = ("primitive",)

    def __init__(self, primitive: Primitive, a: Term, b: Term) -> None:
        super().__init__(a.dtype, (a, b))
        self.primitive = primitive


class Guard(Term):
    """``args[0]`` where every ``low <= at < high`` holds, else a number; padding is this."""

    __slots__ = ("conditions", "fill")

    def __init__(
        self, conditions: tuple[tuple[Affine, int, int], ...], inside: Term, fill: Any
    ) -> None:
        super().__init__(inside.dtype, (inside,))
        self.conditions = conditions
        self.fill = fill


class Bits(Term):
    """A random word: number ``at`` of the draw with key ``args[0]`` and stream ``args[1]``."""

    __slots__ = ("at",)

    def __init__(self, at: Affine, dtype: DType, key: Term, stream: Term) -> None:
        super().__init__(dtype, (key, stream))
        self.at = at


class Reduce(Term):
    """A reduction of ``args[0]`` over loop variables, within the kernel."""

    __slots__ = ("node", "op", "over")

    def __init__(self, node: Node, op: str, inside: Term, over: tuple[Var, ...]) -> None:
        super().__init__(inside.dtype, (inside,))
        self.node = node
        self.op = op
        self.over = over


#: What ``Reader`` is told about a node at which reading ends: the term for an index.
Leaf: TypeAlias = Callable[[Node, Index], Term | None]
_Key: TypeAlias = tuple[Node, Index]
_Condition: TypeAlias = tuple[Affine, int, int]
_Build: TypeAlias = Callable[[list[Term]], Term]

#: How many elements of a reduction may be written out instead of looped over.
UNROLL = 36

_JOIN = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}


def joined(op: str) -> Primitive:
    """Return the elementwise primitive that joins two partial results of a reduction."""
    return registry[_JOIN[op]]


class Reader:
    """Reads terms off a graph.

    ``leaf`` is asked first, and returns the term for nodes that are stored; ``over``
    returns the loop variables of a reduction that stays a loop, or None to write it out.
    """

    def __init__(self, leaf: Leaf, over: Callable[[Node], Sequence[Affine] | None]) -> None:
        self.leaf = leaf
        self.over = over
        self.memo: dict[_Key, Term] = {}
        self._literals: dict[tuple[Any, ...], Term] = {}

    def read(self, node: Node, index: Index) -> Term:
        """Return the term of an element. Iterative: chains may be long.

        Raises
        ------
        Split, NotAffine
            If an index map is not affine in the given variables.
        """
        memo, key = self.memo, (node, index)
        todo: list[tuple[_Key, list[_Key] | None, _Build | None]] = [(key, None, None)]
        while todo:
            at, needs, build = todo.pop()
            if at in memo:
                continue
            if build is None:
                found = self.leaf(*at)
                if found is not None:
                    memo[at] = found
                    continue
                needs, build = self._step(*at)
                missing = [n for n in needs if n not in memo]
                if missing:
                    todo.append((at, needs, build))
                    todo += [(n, None, None) for n in reversed(missing)]
                    continue
            assert needs is not None
            memo[at] = build([memo[n] for n in needs])
        return memo[key]

    def literal(self, value: Any, dtype: DType) -> Term:
        """Return the term of a number."""
        key = (repr(value), dtype)
        return self._literals.setdefault(key, Literal(value, dtype))

    def _step(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        """Return which elements this one needs, and how it is made of their terms."""
        p = node.primitive
        if p.kind == "elementwise":
            if p.name in ("stop_gradient", "barrier"):
                return [(node.inputs[0], index)], _first
            return [(i, index) for i in node.inputs], lambda args: Apply(node, tuple(args))
        if p.name in _MOVES:
            return [(node.inputs[0], _MOVES[p.name](node, index))], _first
        method = getattr(self, f"_{p.name}", None)
        if method is not None:
            return method(node, index)  # type: ignore[no-any-return]
        if p.kind == "reduction":
            return self._reduction(node, index)
        raise GraphInvalid(f"{p.name} cannot be part of a fused kernel", operands=[node.describe()])

    def _full(self, node: Node, _: Index) -> tuple[list[_Key], _Build]:
        return [], partial(_known, self.literal(node.params["value"], node.aval.dtype))

    def _constant(self, node: Node, _: Index) -> tuple[list[_Key], _Build]:
        return [], partial(_known, self.literal(node.value.item(), node.aval.dtype))

    def _iota(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        at = index[node.params["axis"]]
        return [], lambda _: Count(at, node.aval.dtype)

    def _call(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        assert is_random_bits(node)
        key, stream = node.inputs
        return [(key, ()), (stream, ())], lambda args: Bits(index[0], node.aval.dtype, *args)

    def _pad(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        (x,), params = node.inputs, node.params
        conditions: list[_Condition] = []
        inner = []
        for at, n, low, gap in zip(
            index, x.aval.shape, params["low"], params["inner"], strict=True
        ):
            place, rest = (at + -low).divided(gap + 1)
            conditions += [(rest, 0, 1), (place, 0, n)]
            inner.append(place)
        return self._guarded((x, tuple(inner)), conditions, params["value"])

    def _fold_windows(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        """Read the transpose of windows that do not overlap: each element is in one, or none."""
        (g,), params = node.inputs, node.params
        place, inside = list(index), []
        conditions: list[_Condition] = []
        for axis, size, stride in zip(
            params["axes"], params["sizes"], params["strides"], strict=True
        ):
            at, offset = index[axis].divided(stride)
            place[axis] = at
            inside.append(offset)
            conditions += [(at, 0, g.aval.shape[axis]), (offset, 0, size)]
        return self._guarded((g, (*place, *inside)), conditions, 0)

    def _guarded(
        self, key: _Key, conditions: Sequence[_Condition], fill: Any
    ) -> tuple[list[_Key], _Build]:
        """Return an element where the conditions hold, else the filling; known ones vanish."""
        dtype = key[0].aval.dtype
        value = dtype.type(fill).item()
        open_ones = []
        for at, low, high in conditions:
            least, most = at.bounds
            if most < low or least >= high:
                return [], partial(_known, self.literal(value, dtype))
            if least < low or most >= high:
                open_ones.append((at, low, high))
        if not open_ones:
            return [key], _first
        guard = tuple(open_ones)
        return [key], lambda args: Guard(guard, args[0], value)

    def _take(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        """Read an element at a computed index; the source is stored."""
        (x, at), axis = node.inputs, node.params["axis"]
        inside = index[axis : axis + at.aval.ndim]
        rest = (*index[:axis], ZERO, *index[axis + at.aval.ndim :])
        return [(at, inside)], lambda args: Gather(x, axis, rest, args[0])

    def _reduction(self, node: Node, index: Index) -> tuple[list[_Key], _Build]:
        (x,), axes = node.inputs, node.params["axes"]
        op = node.primitive.name
        over = self.over(node)
        kept = iter(
            [at for a, at in enumerate(index) if a not in axes]
            if node.params["keepdims"]
            else index
        )
        base = [ZERO if a in axes else next(kept) for a in range(x.aval.ndim)]
        if over is not None:
            for a, at in zip(axes, over, strict=True):
                base[a] = at
            variables = tuple([v for at in over for v, _ in at.terms])
            if not variables:  # every reduced axis has size 1
                return [(x, tuple(base))], _first
            return [(x, tuple(base))], lambda args: Reduce(node, op, args[0], variables)
        needs = []
        for offsets in product(*(range(x.aval.shape[a]) for a in axes)):
            for a, i in zip(axes, offsets, strict=True):
                base[a] = Affine(i)
            needs.append((x, tuple(base)))
        join = joined(op)
        return needs, lambda args: _tree(join, args)


def _known(term: Term, _: list[Term]) -> Term:
    return term


def _first(args: list[Term]) -> Term:
    return args[0]


def _tree(join: Primitive, terms: Sequence[Term]) -> Term:
    """Return terms joined pairwise: short chains, and small rounding errors."""
    row = list(terms)
    while len(row) > 1:
        paired = [Combine(join, a, b) for a, b in zip(row[::2], row[1::2], strict=False)]
        row = paired + ([row[-1]] if len(row) % 2 else [])
    return row[0]


def _broadcast(node: Node, index: Index) -> Index:
    shape = node.inputs[0].aval.shape
    last = index[len(index) - len(shape) :]
    return tuple([ZERO if n == 1 else at for n, at in zip(shape, last, strict=True)])


def row_major(shape: Shape) -> tuple[int, ...]:
    """Return the strides, in elements, of an array in row-major order."""
    strides, total = [], 1
    for n in reversed(shape):
        strides.append(total)
        total *= n
    return tuple(reversed(strides))


def _reshape(node: Node, index: Index) -> Index:
    """Map an index through a reshape, keeping apart the axes that it does not mix."""
    source, target = node.inputs[0].aval.shape, node.aval.shape
    found: list[Affine] = []
    for here, there in blocks(target, source):
        sizes = target[here]
        at = flatten(index[here], row_major(sizes))
        found += unflatten(at, source[there])
    return tuple(found)


def blocks(target: Shape, source: Shape) -> list[tuple[slice, slice]]:
    """Return the runs of axes that a reshape turns into each other, as short as they can be."""
    found, i, j = [], 0, 0
    while i < len(target) or j < len(source):
        i0, j0 = i, j
        m = target[i] if i < len(target) else 1
        n = source[j] if j < len(source) else 1
        i, j = min(i + 1, len(target)), min(j + 1, len(source))
        while m != n:
            if m < n:
                m *= target[i]
                i += 1
            else:
                n *= source[j]
                j += 1
        found.append((slice(i0, i), slice(j0, j)))
    return found


def _permute(node: Node, index: Index) -> Index:
    axes = node.params["axes"]
    found = [ZERO] * len(axes)
    for at, a in zip(index, axes, strict=True):
        found[a] = at
    return tuple(found)


def _slice(node: Node, index: Index) -> Index:
    params = node.params
    return tuple(
        [at * s + i for at, i, s in zip(index, params["start"], params["step"], strict=True)]
    )


def _flip(node: Node, index: Index) -> Index:
    shape, axes = node.aval.shape, node.params["axes"]
    return tuple([at * -1 + (shape[a] - 1) if a in axes else at for a, at in enumerate(index)])


def _windows(node: Node, index: Index) -> Index:
    params, ndim = node.params, node.inputs[0].aval.ndim
    found = list(index[:ndim])
    for k, axis in enumerate(params["axes"]):
        at = index[axis] * params["strides"][k]
        found[axis] = at + index[ndim + k] * params["dilations"][k]
    return tuple(found)


_MOVES: dict[str, Callable[[Node, Index], Index]] = {
    "broadcast_to": _broadcast,
    "reshape": _reshape,
    "permute_dims": _permute,
    "slice": _slice,
    "flip": _flip,
    "windows": _windows,
}


def walk(terms: Sequence[Term]) -> list[Term]:
    """Return all terms that these are computed from, each after its arguments, once."""
    done: dict[Term, None] = {}
    todo = [(t, False) for t in reversed(terms)]
    while todo:
        term, ready = todo.pop()
        if term in done:
            continue
        if ready or not term.args:
            done[term] = None
        else:
            todo.append((term, True))
            todo += [(a, False) for a in reversed(term.args) if a not in done]
    return list(done)


__all__ += ["UNROLL", "Combine", "blocks", "bool", "joined", "row_major"]
