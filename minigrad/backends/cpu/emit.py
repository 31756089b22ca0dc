"""From terms to LLVM text: addresses, loads, stores, and the values of one element or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.dtypes import DType, int32, int64, kind_of, wide
from minigrad.errors import GraphInvalid
from minigrad.passes.affine import Affine, Index, Var, flatten
from minigrad.passes.bodies import Product
from minigrad.passes.terms import (
    Apply,
    Bits,
    Combine,
    Count,
    Gather,
    Guard,
    Literal,
    Load,
    Partial,
    Reduce,
    Term,
)

from . import special
from .dialect import Writer
from .nest import Nest
from .target import Target
from .values import TYPES, Value

__all__ = ["Emitter"]


class Emitter:
    """Writes the terms of one kernel.

    ``place`` tells where a node lies. Buffers get numbers in the order in which the kernel
    mentions them; ``slots`` lists them, and is the kernel's map of arguments. ``substitute``
    puts the kernel's own loops in the place of those of its body.
    """

    def __init__(
        self,
        target: Target,
        lanes: int,
        place: Callable[[Node], Place],
        partial: Callable[[Node], Place],
        substitute: dict[Var, Affine],
        *,
        levels: int = 24,
    ) -> None:
        self.writer = Writer(target, levels, 1, lanes)
        self.nest = Nest(self.writer)
        self.nest.on_close.append(self._close)
        self.place = place
        self.partial = partial
        self.substitute = substitute
        self.slots: list[int] = []
        self.level: dict[Var, int] = {}  # the level of each open loop
        self.counter: dict[Var, Value] = {}
        self.vector: Var | None = None  # the loop that goes by vectors
        self.mask: Value | None = None  # the lanes that exist, in a loop's tail
        self.guards: tuple[Value, ...] = ()
        self.product: Callable[[], Value] | None = None
        self.fence = False  # whether what was stored past the cache must be waited for
        self.parts: dict[Node, int] = {}  # in how many parts a reduction is stored
        self._memo: dict[tuple[Term, tuple[Value, ...]], Value] = {}
        self._known: dict[int, list[tuple[Term, tuple[Value, ...]]]] = {}
        self._pointers: dict[tuple[Any, ...], tuple[str, int]] = {}
        self._pointer_levels: dict[int, list[tuple[Any, ...]]] = {}

    # Loops --------------------------------------------------------------------------

    def loop(
        self, var: Var, start: str, stop: str, step: int, carried: Sequence[Value] = ()
    ) -> list[Value]:
        """Open the loop of a variable."""
        counter, inside = self.nest.open(start, stop, step, carried)
        self.level[var], self.counter[var] = self.nest.depth, counter
        return inside

    def once(self, var: Var, at: Value) -> None:
        """Let a variable have one value, on a level of its own."""
        self.nest.open_once()
        depth = self.nest.depth
        self.level[var] = depth
        self.counter[var] = Value(at.regs, at.dtype, 1, depth)

    def end(self, var: Var, carried: Sequence[Value] = (), *, once: bool = False) -> list[Value]:
        """Close the loop of a variable."""
        found = self.nest.close_once(carried) if once else self.nest.close(carried)
        del self.level[var], self.counter[var]
        return found

    def let(self, var: Var, register: str) -> None:
        """Let a variable be a register of the present level."""
        depth = self.nest.depth
        self.level[var], self.counter[var] = depth, Value((register,), int64, 1, depth)

    def forget(self, var: Var) -> None:
        """Undo ``let``."""
        self.level.pop(var, None)
        self.counter.pop(var, None)

    def least(self, register: str, most: int, depth: int) -> str:
        """Return a register, but at most a number."""
        if not register.startswith("%"):
            return str(min(int(register), most))
        self.writer.declarations.add("declare i64 @llvm.umin.i64(i64, i64)")
        return self.writer.line(depth, f"call i64 @llvm.umin.i64(i64 {register}, i64 {most})")

    def part(self, buffer: int, nbytes: int) -> str:
        """Return the address of this call's part of a buffer, of parts of so many bytes."""
        base, k = self.argument(buffer), self.writer
        offset = k.line(0, f"mul nuw nsw i64 %chunk, {nbytes}")
        return k.line(0, f"getelementptr inbounds i8, ptr {base}, i64 {offset}")

    def _close(self, level: int) -> None:
        for key in self._known.pop(level, ()):
            self._memo.pop(key, None)
        for name in self._pointer_levels.pop(level, ()):
            self._pointers.pop(name, None)

    def know(self, term: Term, value: Value) -> None:
        """Take a value for a term, as long as the value's level is open."""
        key = (term, self.guards)
        self._memo[key] = value
        self._known.setdefault(value.depth, []).append(key)

    # Addresses ----------------------------------------------------------------------

    def at(self, affine: Affine) -> Affine:
        """Return an index in the kernel's own loops."""
        return affine.substitute(self.substitute)

    def address(self, place: Place, index: Index) -> Affine:
        """Return the offset of an element in its buffer, in elements."""
        return self.at(flatten(index, place.strides)) + place.offset

    def argument(self, buffer: int) -> str:
        """Return the register that holds a buffer's address."""
        key = ("buffer", buffer)
        found = self._pointers.get(key)
        if found is None:
            number = len(self.slots)
            self.slots.append(buffer)
            k = self.writer
            at = k.line(0, f"getelementptr inbounds i64, ptr %map, i64 {number}")
            index = k.line(0, f"load i64, ptr {at}, align 8, !invariant.load !0")
            entry = k.line(0, f"getelementptr inbounds ptr, ptr %table, i64 {index}")
            found = k.line(0, f"load ptr, ptr {entry}, align 8, !invariant.load !0"), 0
            self._pointers[key] = found
        return found[0]

    def pointer(self, buffer: int | str, dtype: DType, at: Affine) -> tuple[str, int]:
        """Return the address of an element, and the level on which it is known."""
        base = self.argument(buffer) if isinstance(buffer, int) else buffer
        terms = sorted(
            [(self.level[v], v.serial, v, c) for v, c in at.terms if v in self.level],
            key=lambda t: t[:2],
        )
        if len(terms) != len(at.terms):
            missing = [v for v, _ in at.terms if v not in self.level]
            raise AssertionError(f"no loop is open for {missing}")
        register, depth = base, 0
        path: tuple[Any, ...] = (base, dtype)
        size = dtype.itemsize
        for level, _, var, c in terms:
            path = (*path, var, c)
            found = self._pointers.get(path)
            if found is None:
                offset = self.scaled(var, c * size)
                line = f"getelementptr inbounds i8, ptr {register}, i64 {offset}"
                found = self.writer.line(level, line), level
                self._pointers[path] = found
                self._pointer_levels.setdefault(level, []).append(path)
            register, depth = found
        if at.const:
            path = (*path, at.const)
            found = self._pointers.get(path)
            if found is None:
                line = f"getelementptr inbounds i8, ptr {register}, i64 {at.const * size}"
                found = self.writer.line(depth, line), depth
                self._pointers[path] = found
                if depth:
                    self._pointer_levels.setdefault(depth, []).append(path)
            register, depth = found
        return register, depth

    def scaled(self, var: Var, factor: int) -> str:
        """Return a loop's counter times a number."""
        counter = self.counter[var].regs[0]
        if factor == 1 or counter == "0":
            return counter
        if not counter.startswith("%"):
            return str(int(counter) * factor)
        key = ("scaled", counter, factor)
        found = self._pointers.get(key)
        if found is None:
            level = self.level[var]
            found = self.writer.line(level, f"mul nsw i64 {counter}, {factor}"), level
            self._pointers[key] = found
            self._pointer_levels.setdefault(level, []).append(key)
        return found[0]

    def number(self, at: Affine, dtype: DType = int64) -> Value:
        """Return the value of an index, for each lane where it depends on the vector loop."""
        k = self.writer
        total = k.literal(at.const, int64)
        step = 0
        for var, c in sorted(at.terms, key=lambda t: self.level[t[0]]):
            counter = self.counter[var]
            part = counter if c == 1 else k.mul(counter, k.literal(c, int64))
            total = k.add(total, part) if (at.const or total.depth) else part
            step += c if var is self.vector else 0
        found = k.cast(total, dtype)
        if step:
            found = k.iota(found, step, dtype)
        # A loop that is gone through once has a number as its counter: the value is still its own.
        depth = max([found.depth, *[self.level[v] for v, _ in at.terms]])
        return Value(found.regs, found.dtype, found.lanes, depth)

    # Memory -------------------------------------------------------------------------

    def load(self, buffer: int | str, dtype: DType, at: Affine, *, exists: bool = False) -> Value:
        """Return the element at an offset, or those of a vector.

        ``exists`` promises that all of them are there, even where a guard does not hold.
        """
        guards = self.guards
        if exists and guards:
            self.guards = ()
            found = self.load(buffer, dtype, at)
            self.guards = guards
            return found
        k = self.writer
        step = at.coefficient(self.vector) if self.vector is not None else 0
        mask = self.lanes()
        if step not in (0, 1):
            return self._strided(buffer, dtype, at, step, mask)
        pointer, depth = self.pointer(buffer, dtype, at)
        if step == 1:
            return k.load(pointer, dtype, k.lanes, depth, mask)
        for guard in guards:
            if guard.lanes == 1:  # a place that exists is read instead
                base = self.argument(buffer) if isinstance(buffer, int) else buffer
                depth = max(depth, guard.depth)
                line = f"select i1 {guard.regs[0]}, ptr {pointer}, ptr {base}"
                pointer = k.line(depth, line)
            else:
                return self._spread_load(buffer, dtype, at, mask)
        return k.load(pointer, dtype, 1, depth)

    def _spread_load(
        self, buffer: int | str, dtype: DType, at: Affine, mask: Value | None
    ) -> Value:
        """Return one element for all lanes that a guard lets through."""
        pointer, _ = self.pointer(buffer, dtype, at)
        zero = self.writer.iota(0, 0, int64)
        return self.writer.gather(pointer, zero, dtype, self.nest.depth, mask)

    def _strided(
        self, buffer: int | str, dtype: DType, at: Affine, step: int, mask: Value | None
    ) -> Value:
        k = self.writer
        pointer, depth = self.pointer(buffer, dtype, at)
        lanes = k.iota(0, step, int64 if abs(step) > 1 << 24 else int32)
        return k.gather(pointer, lanes, dtype, depth, mask)

    def lanes(self) -> Value | None:
        """Return which lanes may be touched; None for all."""
        k, found = self.writer, self.mask
        for guard in self.guards:
            wide_guard = k.splat(guard) if guard.lanes == 1 else guard
            found = wide_guard if found is None else k.bit_and(found, wide_guard)
        return found

    def store(
        self, buffer: int | str, value: Value, at: Affine, *, past_cache: bool = False
    ) -> None:
        """Write a value to an element, or a vector's values to its elements.

        ``past_cache`` says that the buffer is large, aligned, and not read again soon.
        """
        k = self.writer
        step = at.coefficient(self.vector) if self.vector is not None else 0
        pointer, depth = self.pointer(buffer, value.dtype, at)
        depth = max(depth, self.nest.depth)
        if step == 0:
            assert value.lanes == 1, "all lanes would be stored in one place"
            k.store(pointer, value, depth)
        elif step == 1:
            whole = past_cache and self.mask is None and self._lines(value.dtype, at)
            align = k.target.vector_bytes if whole else None
            k.store(pointer, k.splat(value), depth, self.mask, align=align, past_cache=whole)
            if whole and k.target.triple.startswith("x86"):
                self.fence = True
        else:
            self._scatter(pointer, k.splat(value), step, depth)

    def _lines(self, dtype: DType, at: Affine) -> bool:
        """Whether vectors are stored to whole, aligned lines."""
        k, width = self.writer, self.writer.target.vector_bytes
        apart = [c * dtype.itemsize for v, c in at.terms if v is not self.vector]
        whole = k.lanes * dtype.itemsize == width and kind_of(dtype) != "b"
        return whole and all(c % width == 0 for c in (*apart, at.const * dtype.itemsize))

    def _scatter(self, pointer: str, value: Value, step: int, depth: int) -> None:
        k, size = self.writer, value.dtype.itemsize
        kind = f"<{value.lanes} x {_register(value.dtype)}>"
        exists = None if self.mask is None else _constant_lanes(self.mask)
        for u, register in enumerate(value.regs):
            for i in range(value.lanes):
                if exists is not None and not exists[u][i]:
                    continue
                one = k.line(depth, f"extractelement {kind} {register}, i64 {i}")
                offset = (u * value.lanes + i) * step * size
                place = k.line(depth, f"getelementptr inbounds i8, ptr {pointer}, i64 {offset}")
                k.store(place, Value((one,), value.dtype, 1, depth), depth)

    # Terms --------------------------------------------------------------------------

    def value(self, term: Term) -> Value:
        """Return the value of a term, written where it is first needed."""
        memo, guards = self._memo, self.guards
        todo = [term]
        while todo:
            top = todo[-1]
            if (top, guards) in memo:
                todo.pop()
                continue
            if not isinstance(top, Guard | Reduce):
                missing = [a for a in top.args if (a, guards) not in memo]
                if missing:
                    todo += reversed(missing)
                    continue
            self.know(top, self._term(top))
            todo.pop()
        return memo[term, guards]

    def _term(self, term: Term) -> Value:
        k = self.writer
        args = (
            [self._memo[a, self.guards] for a in term.args]
            if not isinstance(term, Guard | Reduce)
            else []
        )
        match term:
            case Apply():
                assert term.primitive.scalar is not None
                if term.primitive.name == "div":
                    args[1] = self._divisor(args[1])
                found: Value = term.primitive.scalar(k, *args, **term.params)
                return found
            case Literal():
                return k.literal(term.value, term.dtype)
            case Load():
                place, shape = self.place(term.node), term.node.aval.shape
                bounds = zip([at.bounds for at in term.index], shape, strict=True)
                exists = all(low >= 0 and high < n for (low, high), n in bounds)
                at = self.address(place, term.index)
                return self.load(place.buffer, term.dtype, at, exists=exists)
            case Partial():
                place = self.partial(term.node)
                index = (term.part, *term.index)
                return self.load(place.buffer, wide(term.dtype), self.address(place, index))
            case Combine():
                assert term.primitive.scalar is not None
                joined: Value = term.primitive.scalar(k, *args)
                return joined
            case Count():
                return self.number(self.at(term.at), term.dtype)
            case Bits():
                return special.bits(self, term, *args)
            case Gather():
                return special.gather(self, term, args[0])
            case Guard():
                return special.guard(self, term)
            case Reduce():
                return special.joined(self, term)
            case Product():
                assert self.product is not None
                return self.product()
        raise GraphInvalid(f"no code for {type(term).__name__}")

    def _divisor(self, x: Value) -> Value:
        """Return a divisor that is 1 in the lanes of a masked vector that count for nothing.

        They are loaded as 0. LLVM's selection of instructions takes 0 / 0 for 0 where it knows
        both, finds that a select of 0 for them changes nothing, and drops it: NaN stays.
        """
        if self.mask is None or kind_of(x.dtype) != "f" or x.lanes == 1:
            return x
        return self.writer.select(self.mask, x, self.writer.literal(1.0, x.dtype))


def _register(dtype: DType) -> str:
    return TYPES[dtype, 1]


def _constant_lanes(mask: Value) -> list[list[bool]]:
    """Return which lanes a mask of constants lets through."""
    return [["true" in part for part in register.strip("<>").split(",")] for register in mask.regs]
