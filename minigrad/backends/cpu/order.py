"""How a kernel goes through its elements: the order of its loops, and which go by vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from minigrad.passes.affine import ZERO, Affine, Var
from minigrad.passes.bodies import Body
from minigrad.passes.terms import Bits, Count, Gather, Guard, Load, Partial, Reduce, Term, walk

__all__ = [
    "Access", "Traversal", "accesses", "every_term", "join", "reduces", "sweeps", "traversal",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Access:
    """An offset in memory that a kernel touches, in elements; stores count more."""

    at: Affine
    stores: bool


@dataclass(slots=True)
class Traversal:
    """The loops of a kernel.

    Attributes
    ----------
    outer, inner
        Loops from the outermost to the innermost; between the two, running sums begin and
        results of rows are known. ``inner`` is empty for a kernel without reductions.
    vector
        The loop that goes by vectors, or None.
    chunked
        The loop that is divided among threads, or None.
    substitute
        What stands for the variables of the body: neighbouring loops may have been joined.
    rank
        The place of each variable of the body, before that; the innermost last.
    """

    outer: list[Var]
    inner: list[Var]
    vector: Var | None
    chunked: Var | None
    substitute: dict[Var, Affine]
    rank: dict[Var, int]

    @property
    def loops(self) -> list[Var]:
        """All loops."""
        return [*self.outer, *self.inner]


def every_term(body: Body) -> list[Term]:
    """Return all terms of a kernel, also those under guards and reductions, once."""
    return walk([*[s.term for s in body.stores], *[s.term for s in body.sums]])


def sweeps(body: Body) -> dict[Term, int]:
    """Return for each term of a row-wise kernel how many sweeps through the row come before it."""
    stage: dict[Term, int] = {}
    for term in every_term(body):
        stage[term] = max([stage[a] for a in term.args], default=0) + reduces(term)
    return stage


def reduces(term: Term) -> bool:
    """Whether a term is a reduction along the row of a row-wise kernel."""
    return isinstance(term, Reduce) and not isinstance(term.args[0], Partial)


def accesses(
    body: Body, terms: Sequence[Term], locate: Callable[[object], list[Access]]
) -> tuple[list[Access], list[Affine]]:
    """Return what a kernel touches in memory, and the indices that it uses as numbers."""
    found = [a for s in (*body.stores, *body.sums) for a in locate(s)]
    numbers: list[Affine] = []
    for term in terms:
        if isinstance(term, Load | Partial | Gather):
            found += locate(term)
        elif isinstance(term, Count | Bits):
            numbers.append(term.at)
        elif isinstance(term, Guard):
            numbers += [at for at, _, _ in term.conditions]
    return found, numbers


def traversal(
    body: Body, touched: Sequence[Access], numbers: Sequence[Affine], *, least_vector: int = 3
) -> Traversal:
    """Choose the loops of a kernel from what it touches."""
    variables = [v for v in body.vars if v.extent > 1]
    reference = _reference(touched, variables)
    strides = {v: abs(reference.coefficient(v)) for v in variables}
    position = {v: i for i, v in enumerate(variables)}
    # A loop that the reference does not depend on stays outside.
    ordered = sorted(variables, key=lambda v: (-(strides[v] or 1 << 62), position[v]))
    vector = ordered[-1] if ordered and strides[ordered[-1]] == 1 else None
    if vector is None and ordered and ordered[-1].extent >= 8:
        vector = ordered[-1]
    if body.rows:
        last = set(variables) - set(body.rows)
    elif body.sums:
        last = {v for v in body.sums[0].over if v.extent > 1}
    else:
        last = set()
    outer = [v for v in ordered if v not in last]
    inner = [v for v in ordered if v in last]
    if not body.rows and vector in outer:  # partial sums lie along the vector loop
        outer.remove(vector)
        outer.append(vector)
    rank = {v: i for i, v in enumerate([*outer, *inner])}
    if vector is not None:
        rank[vector] = len(rank)
    substitute: dict[Var, Affine] = {}
    affines = [a.at for a in touched] + list(numbers)
    join(outer, affines, substitute)
    join(inner, affines, substitute)
    if vector is not None and vector in substitute:
        ((vector, _),) = substitute[vector].terms
    if vector is not None and vector.extent < least_vector:
        vector = None
    return Traversal(outer, inner, vector, _chunked(body, outer, inner), substitute, rank)


def _reference(touched: Sequence[Access], variables: Sequence[Var]) -> Affine:
    """Return the access that decides the order: the one that covers most, stores before loads."""
    best, rank = ZERO, (-1, False)
    for access in touched:
        covered = prod(v.extent for v in variables if access.at.coefficient(v))
        if (covered, access.stores) > rank:
            best, rank = access.at, (covered, access.stores)
    return best


def join(loops: list[Var], affines: Sequence[Affine], substitute: dict[Var, Affine]) -> None:
    """Join neighbouring loops that go through memory as one would; note what stands for them."""
    for i in range(len(loops) - 2, -1, -1):
        outer, inner = loops[i], loops[i + 1]
        here = [a.substitute(substitute) for a in affines]
        if all(a.coefficient(outer) == a.coefficient(inner) * inner.extent for a in here):
            both = Var(outer.extent * inner.extent, inner.name)
            step = {inner: Affine.of(both), outer: ZERO}
            for v, a in list(substitute.items()):
                substitute[v] = a.substitute(step)
            substitute.update(step)
            loops[i : i + 2] = [both]


def _chunked(body: Body, outer: list[Var], inner: list[Var]) -> Var | None:
    """Return the loop to divide: one that is summed over only if the sums are kept in parts."""
    if body.sums and not body.rows and body.sums[0].parts > 1 and inner:
        return inner[0]
    loops = outer if body.sums and not body.rows else [*outer, *inner]
    return loops[0] if loops else None
