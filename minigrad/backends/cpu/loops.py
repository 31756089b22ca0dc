"""LLVM text of a fused loop kernel: its loops, running sums, and what is stored.

A kernel is a nest of loops, one of which goes by vectors. Sums over the inner loops are
kept in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.dtypes import DType, int64, kind_of, wide
from minigrad.dtypes import bool as bool_
from minigrad.passes.affine import Affine, Var, flatten
from minigrad.passes.bodies import Accumulated, Body, Stored
from minigrad.passes.kernels import cost_of
from minigrad.passes.terms import Apply, Bits, Gather, Load, Partial, Reduce, Term
from minigrad.shapes import Axes

from .code import MOST_CHUNKS, Code, grain_of
from .dialect import Writer
from .emit import Emitter
from .order import Access, Traversal, accesses, every_term, traversal
from .target import Target
from .values import Value

__all__ = ["Copied", "LoopKernel", "Running"]

#: Lets a node be copied to another order of axes, to a given place or a new one.
Copied: TypeAlias = Callable[[Node, Axes, Place | None], Place]

#: Elements of a node that is read across its memory, above which it is copied first.
_ACROSS = 4096


@dataclass(frozen=True, slots=True)
class Running:
    """A reduction that is under way: what has been joined so far."""

    op: str
    value: Value


class LoopKernel:
    """A loop kernel that is being written."""

    def __init__(
        self,
        body: Body,
        target: Target,
        place: Callable[[Node], Place],
        partial: Callable[[Node], Place],
        parts: dict[Node, int],
        copied: Copied,
        streams: Callable[[Node], bool],
    ) -> None:
        self.body = body
        self.streams = streams
        self.parts = parts
        self.terms = every_term(body)
        self.place, self.partial = place, partial
        self.way = self._traversal()
        self.done = self._copy_across(copied)
        lanes = target.vector_bytes // _widest(self.terms)
        self.lanes = lanes if self.way.vector is not None else 1
        self.out = Emitter(target, self.lanes, self.place, partial, self.way.substitute)
        self.out.parts = parts
        self.k: Writer = self.out.writer
        self.unroll = self._unroll()
        self._hoist()
        self.cost = self._cost()
        self.extent, self.grain = self._chunks()

    def _traversal(self) -> Traversal:
        touched, numbers = accesses(self.body, self.terms, self._locate)
        return traversal(self.body, touched, numbers)

    def _locate(self, item: object) -> list[Access]:
        """Return where a term or a result lies, as far as it says how to go through memory."""
        match item:
            case Stored():
                place = self.place(item.target)
                return [Access(_address(place, item.index), True)]
            case Load() | Gather():
                return [Access(_address(self.place(item.node), item.index), False)]
            case Partial():
                return [Access(_address(self.partial(item.node), (item.part, *item.index)), False)]
            case Accumulated():
                return [Access(_address(self._sum_place(item)[0], item.index), False)]
        raise AssertionError(item)

    def _sum_place(self, item: Accumulated) -> tuple[Place, int]:
        """Return where a sum goes, in its first part, and the distance of the next part."""
        if item.parts > 1:
            place = self.partial(item.target)
            return replace(place, strides=place.strides[1:]), place.strides[0]
        return self.place(item.target), 0

    def _copy_across(self, copied: Copied) -> bool:
        """Have what would be read across its memory copied; return whether that was all."""
        vector = self.way.vector
        if vector is None:
            return False
        across = [
            t for t in self.terms
            if isinstance(t, Load) and t.node.aval.size >= _ACROSS
            and self._step(t, vector) not in (0, 1)
        ]  # fmt: skip
        moved: dict[Node, Place] = {}
        for term in across:
            order = self._order_of(term)
            inner = next(a for a in reversed(order) if term.node.aval.shape[a] > 1)
            strides = self.place(term.node).strides
            if term.node in moved or strides[inner] == 1 or 1 not in strides:
                continue
            if len(self.terms) == 1 and len(self.body.stores) == 1 and not self.body.sums:
                (item,) = self.body.stores
                goal = self.place(item.target)
                if item.index == term.index and item.target.aval.shape == term.node.aval.shape:
                    copied(term.node, order, goal)
                    return True
            moved[term.node] = copied(term.node, order, None)
        if moved:
            before = self.place
            self.place = lambda node: moved[node] if node in moved else before(node)
            self.way = self._traversal()  # loops that could be joined before perhaps cannot now
        return False

    def _step(self, term: Load, vector: Var) -> int:
        place = self.place(term.node)
        return _address(place, term.index).substitute(self.way.substitute).coefficient(vector)

    def _order_of(self, term: Load) -> Axes:
        """Return the order of a node's axes in which this kernel goes through it."""
        rank = self.way.rank
        innermost = [max([rank[v] for v, _ in at.terms], default=-1) for at in term.index]
        return tuple(sorted(range(len(innermost)), key=lambda a: innermost[a]))

    # Decisions ----------------------------------------------------------------------

    def _unroll(self) -> int:
        """Return how many vectors a turn of the vector loop handles."""
        if self.way.vector is None:
            return 1
        vectors = self.way.vector.extent // self.lanes
        work = sum(1 for t in self.terms if isinstance(t, Apply))
        if any(isinstance(t, Bits) for t in self.terms):
            return 4
        most = 8 if work <= 4 else 4 if work <= 60 else 2 if work <= 200 else 1
        for u in (4, 5, 7, 6, 3, 8, 2):
            if u <= most and vectors % u == 0 and vectors >= u:
                return u
        return min(4, most) if vectors >= 8 else 1

    def _hoist(self) -> None:
        """Move a vector loop of one turn to the outside: what depends on it alone is done once."""
        vector, outer = self.way.vector, self.way.outer
        if vector in outer and vector.extent <= self.unroll * self.lanes:
            outer.remove(vector)
            outer.insert(0, vector)

    def _cost(self) -> float:
        """Return a rough estimate of the time in nanoseconds, on one thread."""
        size = prod(v.extent for v in self.way.loops)
        work = sum(cost_of(t.primitive.name) for t in self.terms if isinstance(t, Apply))
        work += sum(8 for t in self.terms if isinstance(t, Bits))
        moved = sum(2 for t in self.terms if isinstance(t, Load)) + 3 * len(self.body.stores)
        return size * (work * 0.6 + moved) * (0.05 if self.lanes > 1 else 0.4)

    def _chunks(self) -> tuple[int, int]:
        """Return the turns of the chunked loop and the size of a chunk."""
        var = self.way.chunked
        if var is None:
            return 1, 1
        parts = max([s.parts for s in self.body.sums], default=0)
        step = self.unroll * self.lanes if var is self.way.vector else 1
        if parts > 1 and not self.body.rows:
            grain = -(-var.extent // parts)
            return var.extent, -(-grain // step) * step
        return var.extent, grain_of(var.extent, self.cost, step, parts or MOST_CHUNKS)

    # Text ---------------------------------------------------------------------------

    def code(self, write: Callable[[], None]) -> Code | None:
        """Write everything, and return it."""
        if self.done:
            return None
        chunks = -(-self.extent // self.grain)
        for item in self.body.sums:
            over = {v for o in item.over for v, _ in self.out.at(Affine.of(o)).terms}
            self.parts[item.target] = chunks if self.way.chunked in over else 1
        write()
        if self.out.fence:
            self.k.declarations.add("declare void @llvm.x86.sse.sfence()")
            self.k.text[0].append("  call void @llvm.x86.sse.sfence()")
        text = "\n".join(["entry:", *self.k.take(0), "  ret void"])
        return Code(text, self.k.declarations, self.out.slots, self.extent, self.grain, self.cost)

    def write(self) -> None:
        """Write the loops."""
        self.nest(self.way.outer, self._inside, [])

    def _inside(self, carried: list[Running]) -> list[Running]:
        """Write what stands inside the outer loops: stores, or the loops that add up."""
        sums = self.body.sums
        if not sums:
            self.stores(self.body.stores)
            return carried
        start = [self.identity(s.op, wide(s.term.dtype)) for s in sums]

        def turn(running: list[Running]) -> list[Running]:
            found = [self.joined(r, s.term) for r, s in zip(running, sums, strict=True)]
            self.stores(self.body.stores)
            return found

        finals = self.nest(self.way.inner, turn, start)
        for item, final in zip(sums, finals, strict=True):
            self.store_sum(item, self.across(final))
        return carried

    def stores(self, items: Sequence[Stored]) -> None:
        """Write stores at the innermost level."""
        values = [(item, self.out.value(item.term)) for item in items]
        for item, value in values:
            place = self.place(item.target)
            at = self.out.address(place, item.index)
            self.out.store(place.buffer, value, at, past_cache=self.streams(item.target))

    def store_sum(self, item: Accumulated, value: Value) -> None:
        """Write the result of a sum, or of a chunk's part of it."""
        buffer, at = self.sum_address(item)
        if item.parts <= 1 and value.dtype != item.term.dtype:
            value = self.k.cast(value, item.term.dtype)
        self.out.store(buffer, value, at)

    def sum_address(self, item: Accumulated) -> tuple[int | str, Affine]:
        """Return where a sum goes: the base, and the offset from it."""
        place, distance = self._sum_place(item)
        at = self.out.address(place, item.index)
        if self.parts[item.target] == 1:
            return place.buffer, at
        return self.out.part(place.buffer, distance * wide(item.term.dtype).itemsize), at

    # Running reductions ---------------------------------------------------------------

    def identity(self, op: str, dtype: DType) -> Running:
        """Return a reduction of nothing, in one vector if the vector loop is around or added up."""
        value = self.k.identity(op, dtype)
        if self.out.vector is not None:
            value = self.k.splat(value)
        elif self.way.vector in self.way.inner:
            value = self.k.splat(value, self.lanes, 1)
        return Running(op, value)

    def joined(self, running: Running, term: Term) -> Running:
        """Return a reduction with one more element, or vector of them."""
        k = self.k
        value = self.out.value(term)
        if value.dtype != running.value.dtype:
            value = k.cast(value, running.value.dtype)
        if running.value.lanes > 1:
            value = k.splat(value)
            if self.way.vector in self.way.inner:
                value = self.counted(running.op, value)
        return Running(running.op, k.combine(running.op, running.value, value))

    def counted(self, op: str, value: Value) -> Value:
        """Return a vector whose lanes past the end count for nothing in a reduction."""
        if self.out.mask is None:
            return value
        return self.k.select(self.out.mask, value, self.k.identity(op, value.dtype))

    def across(self, running: Running) -> Value:
        """Return the result of a reduction over the vector loop as a scalar."""
        if self.way.vector in self.way.inner:
            return self.k.reduce(running.op, running.value)
        return running.value

    # Loops --------------------------------------------------------------------------

    def nest(
        self,
        loops: Sequence[Var],
        inside: Callable[[list[Running]], list[Running]],
        carried: list[Running],
    ) -> list[Running]:
        """Write loops around a text, and carry reductions through them."""
        self._join_parts()
        if not loops:
            return inside(carried)
        var, rest = loops[0], loops[1:]
        if var is self.way.vector:
            return self._by_vectors(var, lambda c: self.nest(rest, inside, c), carried)
        start, stop = ("%lo", "%hi") if var is self.way.chunked else ("0", str(var.extent))
        return self._loop(var, start, stop, 1, lambda c: self.nest(rest, inside, c), carried)

    def _loop(
        self,
        var: Var,
        start: str,
        stop: str,
        step: int,
        inside: Callable[[list[Running]], list[Running]],
        carried: list[Running],
    ) -> list[Running]:
        ops = [c.op for c in carried]
        turn = self.out.loop(var, start, stop, step, [c.value for c in carried])
        after = inside([Running(op, v) for op, v in zip(ops, turn, strict=True)])
        finals = self.out.end(var, [c.value for c in after])
        return [Running(op, v) for op, v in zip(ops, finals, strict=True)]

    def _join_parts(self) -> None:
        """Join the parts of reductions as far outside as their indices allow."""
        for term in self.terms:
            if isinstance(term, Reduce) and isinstance(term.args[0], Partial):
                index = [self.out.at(a) for a in term.args[0].index]
                if all(v in self.out.level for a in index for v, _ in a.terms):
                    self.out.value(term)

    def _by_vectors(
        self,
        var: Var,
        inside: Callable[[list[Running]], list[Running]],
        carried: list[Running],
    ) -> list[Running]:
        """Write the vector loop: several vectors a turn, then single ones, then what is left."""
        out, k, width, n = self.out, self.k, self.lanes, var.extent
        out.vector = var
        many = self.unroll * width
        whole, single = n - n % many, n - n % width
        start, stop = ("%lo", "%hi") if var is self.way.chunked else ("0", str(n))
        if whole:
            k.unroll = self.unroll
            end = out.least(stop, whole, 0) if whole < n else stop
            carried = [self._widened(c) for c in carried]
            carried = self._loop(var, start, end, many, inside, carried)
            carried = [self._narrowed(c) for c in carried]
            start = end
        k.unroll = 1
        if single > whole:
            end = out.least(stop, single, 0) if single < n else stop
            carried = self._loop(var, start, end, width, inside, carried)
            start = end
        if single < n:
            lanes = ", ".join(f"i1 {'true' if i < n - single else 'false'}" for i in range(width))
            out.mask = Value((f"<{lanes}>",), bool_, width, 0)
            if stop == str(n):
                carried = self._last(var, single, inside, carried)
            else:
                carried = self._loop(var, start, stop, width, inside, carried)
            out.mask = None
        out.vector = None
        return carried

    def _last(
        self,
        var: Var,
        at: int,
        inside: Callable[[list[Running]], list[Running]],
        carried: list[Running],
    ) -> list[Running]:
        """Write the last, incomplete vector."""
        self.out.once(var, self.k.literal(at, int64))
        after = inside(carried)
        finals = self.out.end(var, [c.value for c in after], once=True)
        return [Running(c.op, v) for c, v in zip(after, finals, strict=True)]

    def _widened(self, running: Running) -> Running:
        """Return a reduction in one vector as one in as many as a turn handles."""
        value = running.value
        empty = self.k.splat(self.k.identity(running.op, value.dtype), self.lanes, 1)
        regs = (*value.regs, *empty.regs * (self.unroll - 1))
        return Running(running.op, Value(regs, value.dtype, self.lanes, value.depth))

    def _narrowed(self, running: Running) -> Running:
        """Return a reduction in several vectors as one in a single vector."""
        parts = [
            Value((r,), running.value.dtype, self.lanes, running.value.depth)
            for r in running.value.regs
        ]
        while len(parts) > 1:
            pairs = [
                self.k.combine(running.op, a, b)
                for a, b in zip(parts[::2], parts[1::2], strict=False)
            ]
            parts = pairs + ([parts[-1]] if len(parts) % 2 else [])
        return Running(running.op, parts[0])


def _address(place: Place, index: tuple[Affine, ...]) -> Affine:
    return flatten(index, place.strides) + place.offset


def _widest(terms: Sequence[Term]) -> int:
    """Return the bytes of the widest number that a kernel handles, at least 4."""
    return max([4, *[t.dtype.itemsize for t in terms if kind_of(t.dtype) != "b"]])
