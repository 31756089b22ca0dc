"""LLVM text of a kernel that reduces row by row.

Each row is swept once for every reduction that waits for another: its mean, the sum of
squares about it, then what is computed from both. Rows stay in the cache between sweeps,
and what is dear to compute and needed in several of them is kept in a row buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.dtypes import wide
from minigrad.passes.affine import Affine, Var
from minigrad.passes.bodies import Accumulated, Body, Stored
from minigrad.passes.kernels import cost_of
from minigrad.passes.terms import Apply, Reduce, Term

from .code import Code
from .loops import Copied, LoopKernel, Running
from .order import reduces, sweeps
from .target import Target
from .values import Value

__all__ = ["loops_code"]

#: Bytes of row buffers in a kernel at the most.
SCRATCH = 96 << 10
#: What an operation must cost to be kept in a row buffer instead of being done again.
_DEAR = 12.0


def loops_code(
    body: Body,
    target: Target,
    place: Callable[[Node], Place],
    partial: Callable[[Node], Place],
    parts: dict[Node, int],
    copied: Copied,
    streams: Callable[[Node], bool],
) -> Code | None:
    """Return the code of a loop kernel; ``parts`` is told in how many parts its sums come.

    ``copied`` lets another kernel first copy a node to a new order of axes; if that is all
    there is to do, straight to where it is wanted, and there is no code. ``streams`` says
    what is better stored past the cache.
    """
    kernel = LoopKernel(body, target, place, partial, parts, copied, streams)
    return kernel.code(_Rows(kernel).write if body.rows else kernel.write)


@dataclass(slots=True)
class _Sweep:
    """What one sweep through a row computes: reductions along it, stores, sums over rows."""

    reductions: list[Reduce] = field(default_factory=list)
    stores: list[Stored] = field(default_factory=list)
    side: list[Accumulated] = field(default_factory=list)  # for each place in the row
    total: list[Accumulated] = field(default_factory=list)  # over the row, too

    @property
    def roots(self) -> list[Term]:
        """The terms that it needs."""
        stored = [x.term for x in self.stores]
        return (
            [r.args[0] for r in self.reductions]
            + stored
            + [x.term for x in (*self.side, *self.total)]
        )


class _Rows:
    """Writes a kernel that reduces row by row."""

    def __init__(self, loops: LoopKernel) -> None:
        self.loops = loops
        self.out, self.k, self.way = loops.out, loops.k, loops.way
        self.kept: dict[Term, str] = {}  # row buffers

    def write(self) -> None:
        """Write the kernel."""
        self.sweeps, self.last = self._sweeps()
        for sweep in self.sweeps:
            for item in (*sweep.side, *sweep.total):
                self._clear(item)
        self._keep()
        self.loops.nest(self.way.outer, self._row, [])

    # What is done when --------------------------------------------------------------

    def _sweeps(self) -> tuple[list[_Sweep], list[Stored]]:
        """Return the sweeps through a row, and what is stored once after them."""
        stage = sweeps(self.loops.body)
        found = [_Sweep() for _ in range(1 + max(stage.values(), default=0))]
        inner, rows = set(self.way.inner), self._loops_of(self.loops.body.rows)
        for term in self.loops.terms:
            if isinstance(term, Reduce) and reduces(term):
                found[stage[term.args[0]]].reductions.append(term)
        last = []
        for item in self.loops.body.stores:
            if any(v in inner for at in item.index for v, _ in self.out.at(at).terms):
                found[stage[item.term]].stores.append(item)
            else:
                last.append(item)
        for added in self.loops.body.sums:
            sweep = found[stage[added.term]]
            (sweep.side if self._loops_of(added.over) == rows else sweep.total).append(added)
        return found, last

    def _loops_of(self, variables: Sequence[Var]) -> set[Var]:
        return {v for o in variables for v, _ in self.out.at(Affine.of(o)).terms}

    def _keep(self) -> None:
        """Find what is dear to compute and needed in several sweeps: it gets a row buffer."""
        size = prod(v.extent for v in self._buffered())
        needs = [_reach(sweep.roots) for sweep in self.sweeps]
        room = SCRATCH
        for s, terms in enumerate(needs):
            for term in terms:
                dear = isinstance(term, Apply) and cost_of(term.primitive.name) >= _DEAR
                again = any(term in later for later in needs[s + 1 :])
                if not dear or not again or term in self.kept:
                    continue
                nbytes = size * term.dtype.itemsize
                room -= nbytes
                if room < 0:
                    return
                self.kept[term] = self.k.line(0, f"alloca [{nbytes} x i8], align 64")

    # Text ---------------------------------------------------------------------------

    def _clear(self, item: Accumulated) -> None:
        """Set a chunk's part of a sum over rows to nothing."""
        buffer, at = self.loops.sum_address(item)
        loops = [v for v in self.way.inner if at.coefficient(v)]
        nothing = self.k.identity(item.op, wide(item.term.dtype))

        def inside(carried: list[Running]) -> list[Running]:
            self.out.store(buffer, nothing, at)
            return carried

        self.loops.nest(loops, inside, [])

    def _row(self, carried: list[Running]) -> list[Running]:
        written: set[Term] = set()
        for sweep in self.sweeps:
            if sweep.roots:
                self._sweep(sweep, written)
        self.loops.stores(self.last)
        return carried

    def _sweep(self, sweep: _Sweep, written: set[Term]) -> None:
        loops = self.loops
        here = [t for t in _reach(sweep.roots, written) if t in self.kept]
        running = [(r.op, r.args[0]) for r in sweep.reductions]
        running += [(x.op, x.term) for x in sweep.total]

        def turn(so_far: list[Running]) -> list[Running]:
            for term in here:
                at = self._place_in_row()
                if term in written:
                    self.out.know(term, self.out.load(self.kept[term], term.dtype, at))
                else:
                    self.out.store(self.kept[term], self.out.value(term), at)
            after = [loops.joined(r, t) for r, (_, t) in zip(so_far, running, strict=True)]
            side = [(item, self.out.value(item.term)) for item in sweep.side]
            loops.stores(sweep.stores)  # perhaps over what was read for all the others
            for item, value in side:
                self._add(item, value)
            return after

        start = [loops.identity(op, wide(term.dtype)) for op, term in running]
        finals = [loops.across(f) for f in loops.nest(self.way.inner, turn, start)]
        written |= set(here)
        for reduction, value in zip(sweep.reductions, finals, strict=False):
            self.out.know(reduction, self._narrow(value, reduction))
        for item, value in zip(sweep.total, finals[len(sweep.reductions) :], strict=True):
            self._add(item, value)

    def _narrow(self, value: Value, term: Term) -> Value:
        return value if value.dtype == term.dtype else self.k.cast(value, term.dtype)

    def _buffered(self) -> list[Var]:
        """Return the loops that a row buffer has elements for: also rows, if vectors go by them."""
        vector = self.way.vector
        return [*self.way.inner, vector] if vector in self.way.outer else self.way.inner

    def _place_in_row(self) -> Affine:
        """Return the place in a row buffer of the element that the loops are at."""
        total, at = 1, Affine(0)
        for var in reversed(self._buffered()):
            at = at + Affine.of(var, total)
            total *= var.extent
        return at

    def _add(self, item: Accumulated, value: Value) -> None:
        """Add to a chunk's part of a sum over rows, in memory."""
        k, dtype, vector = self.k, wide(item.term.dtype), self.out.vector
        buffer, at = self.loops.sum_address(item)
        pointer, _ = self.out.pointer(buffer, dtype, at)
        depth, lanes, mask = self.out.nest.depth, 1, None
        value = value if value.dtype == dtype else k.cast(value, dtype)
        if vector is not None:
            value = k.splat(value)
            if at.coefficient(vector):  # each lane has a sum of its own, side by side
                assert at.coefficient(vector) == 1, "sums that lie apart"
                lanes, mask = k.lanes, self.out.mask
            else:  # the lanes are rows, of which the sum is
                value = k.reduce(item.op, self.loops.counted(item.op, value))
        before = k.load(pointer, dtype, lanes, depth, mask)
        k.store(pointer, k.combine(item.op, before, value), depth, mask)


def _reach(roots: Sequence[Term], known: set[Term] | frozenset[Term] = frozenset()) -> list[Term]:
    """Return the terms of one sweep: not behind a reduction, nor behind what is known."""
    found: dict[Term, None] = {}
    todo = [(t, False) for t in reversed(roots)]
    while todo:
        term, ready = todo.pop()
        if term in found:
            continue
        if ready or isinstance(term, Reduce) or term in known or not term.args:
            found[term] = None
        else:
            todo.append((term, True))
            todo += [(a, False) for a in reversed(term.args) if a not in found]
    return list(found)
