"""Kernels that reduce row by row: a row is a warp's, or a block's, or a column in memory.

A row is swept once for each reduction that waits for another: its mean, the sum of squares
about it, then what is computed from both. What is read in several sweeps stays in registers
in between, so that a row is read from memory once. With sums over the rows (the gradients of
gamma and beta), a block goes through its share of the rows and keeps a sum for each place.

Where neighbours in memory belong to different rows, a block has several rows side by side, and
the threads of each are as far apart as there are rows: neighbours still read neighbours. All
threads of a block then meet at barriers, so those beyond the last row compute that row once
more, and store nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

from minigrad.passes.affine import Affine, Var
from minigrad.passes.bodies import Accumulated, Body, Stored
from minigrad.passes.kernels import cost_of
from minigrad.passes.terms import Apply, Bits, Gather, Guard, Load, Partial, Reduce, Term, walk

from .dialect import Value, c_type
from .emit import Emitter, Kernel, variables_of
from .layout import Layout
from .loops import block_reduce, memory_order, open_terms, target_of

__all__ = ["rows"]

#: Elements of a row up to which a warp has it.
_WARP = 1024
#: Likewise where sums over the rows take registers, too.
_SHORT = 1024
#: Elements of a row for each thread of a block, up to which they stay in registers.
_EACH = 32
#: Columns side by side: what is read at a time of float32 in memory, and a whole line of it.
_SECTOR, _LINE = 8, 32
#: Columns from which on each block may have more of them side by side.
_MANY = 1 << 13
#: Threads of a block that has columns, and the number of the one that a thread has.
_BLOCK, _OWN = 512, "low + group"
#: Registers for what is kept between sweeps.
_KEPT = 96
#: What an operation must cost to be kept instead of being done again.
_DEAR = 12.0


@dataclass(slots=True)
class _Sweep:
    """What one sweep computes: reductions along the row, stores, sums over rows."""

    reductions: list[Reduce] = field(default_factory=list)
    stores: list[Stored] = field(default_factory=list)
    added: list[Accumulated] = field(default_factory=list)

    @property
    def roots(self) -> list[Term]:
        """The terms that it needs."""
        return [
            *(r.args[0] for r in self.reductions), *(s.term for s in self.stores),
            *(a.term for a in self.added),
        ]  # fmt: skip


def rows(body: Body, layout: Layout) -> Kernel:
    """Return the kernel of a body that reduces row by row."""
    return _Rows(body, layout).kernel()


class _Rows:
    def __init__(self, body: Body, layout: Layout) -> None:
        self.body, self.layout = body, layout
        self.out = Emitter(layout.place, layout.partial)
        moving = set(body.rows)
        self.terms = walk([s.term for s in body.stores] + [a.term for a in body.sums])
        loads = [t for t in self.terms if isinstance(t, Load)]
        loads.sort(key=lambda t: -t.node.aval.size)
        offsets = [self.out.offset(layout.place(t.node), t.index) for t in loads]
        order = memory_order(body.vars, offsets)
        self.rows = [v for v in order if v in moving]
        self.inner = [v for v in order if v not in moving]
        self.count = prod(v.extent for v in self.rows)
        self.length = prod(v.extent for v in self.inner)
        self.depends = self._depends()
        self.parts = max([a.parts for a in body.sums], default=0)
        offsets += [self.out.offset(layout.place(s.target), s.index) for s in body.stores]
        inmost = memory_order(body.vars, offsets)[-1:]
        self.columns = self.length <= _BLOCK // _SECTOR * _EACH and moving.issuperset(inmost)
        self.limit = ""
        self._shape()

    def _shape(self) -> None:
        """Decide how many threads have a row, and how many rows a block has at a time."""
        n = self.length
        if self.columns:
            self.together = _SECTOR
            while (
                self.together < _LINE
                and self.count >= self.together * _MANY // _SECTOR
                and n * self.together * 2 <= _BLOCK * _EACH
            ):
                self.together *= 2
            self.threads = _BLOCK // 2 // self.together
            while self.threads * self.together < _BLOCK and self.threads * 4 < n:
                self.threads *= 2
        elif self.parts:  # a block goes through many rows; short ones side by side
            self.threads = 32
            while self.threads < 1024 and self.threads * 16 < n and n > _SHORT:
                self.threads *= 2
            self.together = 8 if self.threads == 32 else 1
        elif n <= _WARP and self.count >= 8:
            self.threads, self.together = 32, 4
        else:
            self.threads, self.together = 32, 1
            while self.threads < 1024 and self.threads * (8 if self.threads < 512 else 16) < n:
                self.threads *= 2
        self.each = -(-n // self.threads)
        self.unrolled = self.each <= _EACH

    def _depends(self) -> set[Term]:
        """Return the terms that vary along a row."""
        inner, found = set(self.inner), set()
        for t in self.terms:
            if isinstance(t, Reduce) and not isinstance(t.args[0], Partial):
                continue
            if variables_of(t) & inner or any(a in found for a in t.args):
                found.add(t)
        return found

    # Sweeps ---------------------------------------------------------------------------

    def _sweeps(self) -> tuple[list[_Sweep], list[Stored]]:
        stage: dict[Term, int] = {}
        for t in self.terms:
            waits = isinstance(t, Reduce) and not isinstance(t.args[0], Partial)
            stage[t] = max([stage[a] for a in t.args], default=0) + waits
        found = [_Sweep() for _ in range(1 + max(stage.values(), default=0))]
        for t in self.terms:
            if isinstance(t, Reduce) and not isinstance(t.args[0], Partial):
                found[stage[t.args[0]]].reductions.append(t)
        inner, last = set(self.inner), []
        for s in self.body.stores:
            if any(v in inner for at in s.index for v, _ in at.terms):
                found[stage[s.term]].stores.append(s)
            else:
                last.append(s)
        for a in self.body.sums:
            found[stage[a.term]].added.append(a)
        return [s for s in found if s.roots], last

    def _kept(self, sweeps: Sequence[_Sweep]) -> list[Term]:
        """Return what is kept in registers from the sweep that computes it to later ones."""
        if not self.unrolled:
            return []
        needed: dict[Term, set[int]] = {}
        for number, sweep in enumerate(sweeps):
            for t in open_terms(sweep.roots):
                if t in self.depends:
                    needed.setdefault(t, set()).add(number)
        dear: list[Term] = [
            t for t, numbers in needed.items()
            if len(numbers) > 1 and (
                isinstance(t, Load | Gather | Bits | Guard)
                or (isinstance(t, Apply) and cost_of(t.primitive.name) >= _DEAR)
            )
        ]  # fmt: skip
        inside = {a for t in dear for a in walk(t.args)}  # known by what is kept above it
        dear.sort(key=lambda t: t in inside)
        return dear[: _KEPT // self.each]

    # Text -----------------------------------------------------------------------------

    def kernel(self) -> Kernel:
        """Return the kernel."""
        out, line = self.out, self.out.k.line
        sweeps, last = self._sweeps()
        self.kept = self._kept(sweeps)
        line(f"const i32 thread = (i32)threadIdx.x {self._thread};")
        self.totals = {}
        for sweep in sweeps:
            for a in sweep.added:
                self.totals[a] = self._accumulators(a)
        head, grid = self._head()
        with out.block(head):
            if self.columns:
                line(f"const i64 row = {f'min({_OWN}, {self.limit} - 1)' if self.limit else _OWN};")
            out.decode("(i32)row" if self.count < 2**31 else "row", self.rows, self.count)
            self.arrays: dict[Term, str] = {}
            for sweep in sweeps:
                self._sweep(sweep)
            if last:
                values = [out.value(s.term) for s in last]
                with out.block(f"if (thread == 0{self.limit and f' && {_OWN} < {self.limit}'})"):
                    for s, value in zip(last, values, strict=True):
                        out.store(out.place(s.target), s.index, value)
        self._finish(sweeps)
        what = "columns" if self.columns else "rows"
        return out.kernel(what, (grid, 1, 1), self.threads * self.together)

    def _head(self) -> tuple[str, int]:
        """Write where a block's rows begin; return the head of what is done for each, and the grid.

        The threads of columns go on together: ``limit`` is what ``low + group`` may be beyond.
        """
        line, side = self.out.k.line, self.together
        if self.parts:
            chunk = -(-self.count // self.parts)
            line("const i32 part = (i32)blockIdx.x;")
            line(f"const i64 first = (i64)part * {chunk};")
            line(f"const i32 group = (i32)threadIdx.x {self._group};")
            limit = f"min((i64){self.count}, first + {chunk})"
            if not self.columns:
                return f"for (i64 row = first + group; row < {limit}; row += {side})", self.parts
            self.limit = "limit"
            line(f"const i64 limit = {limit};")
            return f"for (i64 low = first; low < limit; low += {side})", self.parts
        grid = -(-self.count // side)
        if not self.columns:
            line(f"const i64 row = (i64)blockIdx.x * {side} + (i32)threadIdx.x {self._group};")
            return f"if (row < {self.count})", grid
        self.limit = f"(i64){self.count}" if self.count % side else ""
        line(f"const i64 low = (i64)blockIdx.x * {side};")
        line(f"const i32 group = (i32)threadIdx.x {self._group};")
        return "", grid

    @property
    def _thread(self) -> str:
        """How a thread's number among those of its row follows from that in its block."""
        return f"/ {self.together}" if self.columns else f"% {self.threads}"

    @property
    def _group(self) -> str:
        """Likewise the number of its row among those of the block."""
        return f"% {self.together}" if self.columns else f"/ {self.threads}"

    @contextmanager
    def _own(self) -> Iterator[None]:
        """Write what is done for a row once: not by threads that are beyond the last."""
        if not self.limit:
            yield
            return
        with self.out.block(f"if ({_OWN} < {self.limit})"):
            yield

    def _accumulators(self, a: Accumulated) -> Value:
        """Declare a sum over rows for each place of a thread in the row."""
        assert self.unrolled or set(a.over) == set(self.rows)
        total = self.out.accumulator(a.op, a.target.aval.dtype)
        if not self._side(a) or not self.unrolled:
            return total
        name, kind = self.out.k.fresh(), c_type(total.dtype)
        self.out.k.line(f"{kind} {name}[{self.each}];")
        self.out.k.line("#pragma unroll")
        self.out.k.line(f"for (i32 e = 0; e < {self.each}; ++e) {name}[e] = {total.text};")
        return Value(name, total.dtype)

    def _side(self, a: Accumulated) -> bool:
        """Whether a sum is over the rows alone: one for each place in the row."""
        return not set(a.over) & set(self.inner)

    def _elements(self, unrolled: bool) -> str:
        if unrolled:
            self.out.k.line("#pragma unroll")
            return f"for (i32 e = 0; e < {self.each}; ++e)"
        return f"for (i32 e = 0; e < {self.each}; ++e)"

    def _sweep(self, sweep: _Sweep) -> None:
        out, line = self.out, self.out.k.line
        for t in open_terms(sweep.roots):
            if t not in self.depends and not isinstance(t, Guard):
                out.value(t)  # what does not vary along the row
        totals = {r: out.accumulator(r.op, r.dtype) for r in sweep.reductions}
        needed = set(open_terms(sweep.roots))
        fresh = [t for t in self.kept if t in needed and t not in self.arrays]
        for t in fresh:
            self.arrays[t] = out.k.fresh()
            line(f"{c_type(t.dtype)} {self.arrays[t]}[{self.each}];")
        known = [t for t in self.kept if t in self.arrays and t not in fresh]
        head = self._elements(self.unrolled)
        with out.block(head):
            line(f"const i32 place = e * {self.threads} + thread;")
            whole = self.length % self.threads == 0
            with out.block("" if whole else f"if (place < {self.length})"):
                out.decode("place", self.inner, self.length)
                for t in known:
                    out.given[t] = Value(f"{self.arrays[t]}[e]", t.dtype)
                for t in fresh:
                    line(f"{self.arrays[t]}[e] = {out.value(t).text};")
                for r, total in totals.items():
                    out.accumulate(r.op, total, out.value(r.args[0]))
                if sweep.stores or sweep.added:
                    with self._own():
                        for s in sweep.stores:
                            out.store(out.place(s.target), s.index, out.value(s.term))
                        for a in sweep.added:
                            self._add(a, out.value(a.term))
        for t in known:
            del out.given[t]
        for r, total in totals.items():
            if self.columns:
                block_reduce(out, r.op, total, self.threads * self.together, self.together)
            elif self.threads == 32:
                out.warp(r.op, total)
            else:
                block_reduce(out, r.op, total, self.threads)
            out.given[r] = out.k.cast(out.k.load(total.text, total.dtype), r.dtype)

    def _add(self, a: Accumulated, value: Value) -> None:
        out, total = self.out, self.totals[a]
        if not self._side(a):
            out.accumulate(a.op, total, value)
        elif self.unrolled:
            out.accumulate(a.op, Value(f"{total.text}[e]", total.dtype), value)
        else:  # too long for registers: the sums are in memory, each written by one thread
            number = Var(max(2, self.parts), "part")
            out.at[number] = "part"
            place, index = target_of(a, self.layout, Affine.of(number))
            name = out.arguments.name(place, write=True)
            out.arguments.name(place, write=False)
            at = f"{name}[{out.index(out.offset(place, index))}]"
            with out.block("if (row == first)"):
                out.k.line(f"{at} = {total.text};")
            out.accumulate(a.op, Value(at, total.dtype), value)

    def _finish(self, sweeps: Sequence[_Sweep]) -> None:
        """Store the sums over this block's rows."""
        out, line = self.out, self.out.k.line
        added = [a for s in sweeps for a in s.added]
        if not added:
            return
        number = Var(max(2, self.parts), "part")
        out.at[number] = "part"
        for a in added:
            place, index = target_of(a, self.layout, Affine.of(number))
            total = self.totals[a]
            if not self._side(a):
                block_reduce(out, a.op, total, self.threads * self.together)
                with out.block("if (threadIdx.x == 0)"):
                    out.store(place, index, total)
            elif self.unrolled:
                shared = self._shared(total)
                with out.block(self._elements(unrolled=True)):
                    line(f"const i32 place = e * {self.threads} + thread;")
                    if shared:
                        self._together(a.op, total, shared)
                    mine = " && group == 0" if shared else ""
                    with out.block(f"if (place < {self.length}{mine})"):
                        out.decode("place", self.inner, self.length)
                        out.store(place, index, Value(f"{total.text}[e]", total.dtype))

    def _shared(self, total: Value) -> str:
        """Declare memory in which the groups of a block join their sums; none for one group."""
        if self.together == 1:
            return ""
        name, kind = self.out.k.fresh(), c_type(total.dtype)
        self.out.k.line(f"__shared__ {kind} {name}[{self.together}][{self.threads}];")
        return name

    def _together(self, op: str, total: Value, shared: str) -> None:
        """Join the sums of all groups for one place, in the order of the groups."""
        out, line = self.out, self.out.k.line
        here = Value(f"{total.text}[e]", total.dtype)
        line("__syncthreads();")
        line(f"{shared}[group][thread] = {here.text};")
        line("__syncthreads();")
        line(f"{here.text} = {shared}[0][thread];")
        with out.block(f"for (i32 other = 1; other < {self.together}; ++other)"):
            out.accumulate(op, here, Value(f"{shared}[other][thread]", total.dtype))
