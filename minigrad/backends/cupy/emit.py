"""Terms of the schedule as CUDA C: loads, elementwise code, guards, random words, short loops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.dtypes import DType, int32, int64, kind_of, wide
from minigrad.passes.affine import Affine, Var, flatten
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
    joined,
)

from .dialect import Value, Writer, c_type, literal, storage_type

__all__ = ["Emitter", "Kernel", "identity", "variables_of"]


@dataclass(slots=True)
class Kernel:
    """A kernel: its text, the buffers that are its arguments, and how it is launched."""

    name: str
    text: str
    helpers: frozenset[str]
    slots: tuple[int, ...]
    grid: tuple[int, int, int]
    threads: int
    what: str
    writes: frozenset[int]


@dataclass(slots=True)
class Arguments:
    """The pointers of a kernel in the order of their first use."""

    reads: dict[int, DType] = field(default_factory=dict)
    writes: dict[int, DType] = field(default_factory=dict)

    def name(self, place: Place, *, write: bool) -> str:
        """Return the parameter for a buffer."""
        (self.writes if write else self.reads)[place.buffer] = place.dtype
        return f"b{place.buffer}"

    def text(self) -> tuple[str, tuple[int, ...]]:
        """Return the parameters, and the buffers that they stand for."""
        slots = tuple(dict.fromkeys((*self.reads, *self.writes)))
        parts = []
        for slot in slots:
            kind = storage_type(self.writes.get(slot) or self.reads[slot])
            const = "" if slot in self.writes else "const "
            alias = "" if slot in self.writes and slot in self.reads else " __restrict__"
            parts.append(f"{const}{kind}*{alias} b{slot}")
        return ", ".join(parts), slots


def identity(op: str, dtype: DType) -> Any:
    """Return what a reduction starts from."""
    if op in ("sum", "prod"):
        return 0 if op == "sum" else 1
    largest = op == "min"
    if kind_of(dtype) == "b":
        return largest
    if kind_of(dtype) == "f":
        return np.inf if largest else -np.inf
    info = np.iinfo(dtype)
    return info.max if largest else info.min


def variables_of(term: Term) -> set[Var]:
    """Return the loop variables on which a term depends by its own indices."""
    if isinstance(term, Load | Gather):
        return {v for at in term.index for v, _ in at.terms}
    if isinstance(term, Partial):
        return {v for at in (term.part, *term.index) for v, _ in at.terms}
    if isinstance(term, Count | Bits):
        return {v for v, _ in term.at.terms}
    if isinstance(term, Guard):
        return {v for at, _, _ in term.conditions for v, _ in at.terms}
    return set()


class Emitter:
    """Writes terms. ``at`` says what the loop variables are called in the text."""

    def __init__(
        self,
        place: Callable[[Node], Place],
        partial: Callable[[Node], Place],
        product: Place | None = None,
        result: Sequence[Affine] = (),
    ) -> None:
        self.k = Writer()
        self.arguments = Arguments()
        self.place, self.partial = place, partial
        self.product, self.result = product, result
        self.at: dict[Var, str] = {}
        self.given: dict[Term, Value] = {}  # reductions that are known, packed loads, ...
        self.lanes = 1  # how many threads of a block share a sum over parts
        self._known: list[dict[Term, Value]] = [{}]
        self._wide = False

    # Scopes ---------------------------------------------------------------------------

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """Write a block; what is computed in it is not known after it."""
        with self.k.block(head):
            self._known.append({})
            try:
                yield
            finally:
                self._known.pop()

    def forget(self) -> None:
        """Forget what is known in the present block: a variable has changed."""
        self._known[-1] = {}

    # Indices --------------------------------------------------------------------------

    def index(self, at: Affine) -> str:
        """Return an index expression as text."""
        low, high = at.bounds
        long = low < -(2**31) or high >= 2**31
        parts = []
        for var, c in at.terms:
            name = self.at[var]
            name = f"(i64){name}" if long else name
            parts.append(name if c == 1 else f"{c} * {name}")
        if at.const or not parts:
            parts.append(str(at.const))
        return " + ".join(parts).replace("+ -", "- ")

    def unsigned(self, at: Affine) -> tuple[str, str]:
        """Return an unsigned type, and an index that is never negative as such a number."""
        kind = "u64" if at.bounds[1] >= 2**31 else "u32"
        return kind, f"({kind})({self.index(at)})"

    def offset(self, place: Place, index: Sequence[Affine]) -> Affine:
        """Return where an element of a node lies in its buffer."""
        return flatten(index, place.strides) + place.offset

    def decode(self, name: str, variables: Sequence[Var], size: int) -> None:
        """Write the loop variables of a flat number, the last varying fastest.

        It is divided unsigned, which takes fewer instructions: it is never negative.
        """
        kind = "i64" if size >= 2**31 else "i32"
        whole = kind.replace("i", "u")
        moving = [v for v in variables if v.extent > 1]
        rest = name
        for i, var in enumerate(reversed(moving)):
            last = i == len(moving) - 1
            own = f"{var.name}_{self.k.fresh()}"
            part = rest if last else f"({kind})(({whole}){rest} % {var.extent}u)"
            self.k.line(f"const {kind} {own} = {part};")
            self.at[var] = own
            if not last:
                following = self.k.fresh()
                quotient = f"({kind})(({whole}){rest} / {var.extent}u)"
                self.k.line(f"const {kind} {following} = {quotient};")
                rest = following
        for var in variables:
            if var.extent == 1:
                self.at[var] = "0"

    # Terms ----------------------------------------------------------------------------

    def value(self, term: Term) -> Value:
        """Return a term's value, written where it is not known yet."""
        found = self.given.get(term)
        if found is not None:
            return found
        for known in reversed(self._known):
            if term in known:
                return known[term]
        made = self._write(term)
        self._known[-1][term] = made
        return made

    def _write(self, term: Term) -> Value:
        k = self.k
        if isinstance(term, Literal):
            return Value(literal(term.value, term.dtype), term.dtype)
        if isinstance(term, Count):
            low, high = term.at.bounds
            kind = int64 if low < -(2**31) or high >= 2**31 else int32
            return k.cast(k.value(self.index(term.at), kind), term.dtype)
        if isinstance(term, Load):
            return self.load(self.place(term.node), term.index)
        if isinstance(term, Gather):
            return self._gather(term)
        if isinstance(term, Product):
            assert self.product is not None
            return self.load(self.product, self.result)
        if isinstance(term, Apply):
            assert term.primitive.scalar is not None
            args = [self.value(a) for a in term.args]
            made: Value = term.primitive.scalar(k, *args, **term.params)
            return made
        if isinstance(term, Combine):
            assert term.primitive.scalar is not None
            joint: Value = term.primitive.scalar(k, *[self.value(a) for a in term.args])
            return joint
        if isinstance(term, Guard):
            return self._guard(term)
        if isinstance(term, Bits):
            seed, stream = (self.value(a) for a in term.args)
            return k.word(seed, stream, self.unsigned(term.at)[1])
        assert isinstance(term, Reduce) and isinstance(term.args[0], Partial)
        return self._joined(term, term.args[0])

    def load(self, place: Place, index: Sequence[Affine]) -> Value:
        """Return an element of a node in memory."""
        name = self.arguments.name(place, write=False)
        return self.k.load(f"{name}[{self.index(self.offset(place, index))}]", place.dtype)

    def store(self, place: Place, index: Sequence[Affine], value: Value) -> None:
        """Write an element of a node to memory."""
        name = self.arguments.name(place, write=True)
        stored = self.k.cast(value, place.dtype) if value.dtype != place.dtype else value
        self.k.store(f"{name}[{self.index(self.offset(place, index))}]", stored)

    def _gather(self, term: Gather) -> Value:
        place, axis = self.place(term.node), term.axis
        n = term.node.aval.shape[axis]
        at = self.k.cast(self.value(term.args[0]), int64)
        # a wrong index is found by a check of its own; here it must only do no harm
        safe = self.k.value(f"{at.text} < 0 ? 0 : {at.text} >= {n} ? {n - 1} : {at.text}", int64)
        name = self.arguments.name(place, write=False)
        rest = self.index(self.offset(place, term.index))
        return self.k.load(f"{name}[{rest} + {safe.text} * {place.strides[axis]}]", place.dtype)

    def _guard(self, term: Guard) -> Value:
        name = self.k.fresh()
        fill = literal(term.fill, term.dtype)
        self.k.line(f"{c_type(term.dtype)} {name} = {fill};")
        tests = []
        for at, low, high in term.conditions:
            text, (least, most) = self.index(at), at.bounds
            tests += [f"({text}) >= {low}"] if least < low else []
            tests += [f"({text}) < {high}"] if most >= high else []
        with self.block(f"if ({' && '.join(tests)})"):
            self.k.line(f"{name} = {self.value(term.args[0]).text};")
        return Value(name, term.dtype)

    def joined(self, op: str, a: Value, b: Value) -> Value:
        """Return two partial results joined, in the dtype of the first."""
        primitive = joined(op)
        assert primitive.scalar is not None
        made: Value = primitive.scalar(self.k, a, self.k.cast(b, a.dtype))
        return made

    def accumulator(self, op: str, dtype: DType) -> Value:
        """Declare a variable that starts at the identity of a reduction."""
        total = Value(self.k.fresh(), wide(dtype))
        start = literal(identity(op, wide(dtype)), wide(dtype))
        self.k.line(f"{c_type(total.dtype)} {total.text} = {start};")
        return total

    def accumulate(self, op: str, total: Value, value: Value) -> None:
        """Join a value to an accumulator."""
        before = self.k.load(total.text, total.dtype)  # a name of its own: the total changes
        self.k.line(f"{total.text} = {self.joined(op, before, value).text};")

    def warp(self, op: str, total: Value, apart: int = 1) -> None:
        """Join an accumulator over every ``apart``-th lane of a warp; they all have the result."""
        offset = 16
        while offset >= apart:
            kind = c_type(total.dtype)
            other = self.k.fresh()
            bits = "(int)" if kind_of(total.dtype) == "b" else ""
            self.k.line(
                f"const {kind} {other} = "
                f"__shfl_xor_sync(0xffffffffu, {bits}{total.text}, {offset});"
            )
            self.accumulate(op, total, Value(other, total.dtype))
            offset //= 2

    def across(self, op: str, total: Value, columns: int, lanes: int) -> None:
        """Join an accumulator over the lanes of each column of a block, in their order."""
        shared, kind, line = self.k.fresh(), c_type(total.dtype), self.k.line
        line(f"__shared__ {kind} {shared}[{lanes}][{columns + 1}];")
        line(f"{shared}[lane][column] = {total.text};")
        line("__syncthreads();")
        line(f"{total.text} = {shared}[0][column];")
        with self.block(f"for (i32 other = 1; other < {lanes}; ++other)"):
            self.accumulate(op, total, Value(f"{shared}[other][column]", total.dtype))

    def _joined(self, term: Reduce, inside: Partial) -> Value:
        """Write a loop over the parts of a reduction, in their order."""
        (part,) = term.over
        place = self.partial(inside.node)
        total = self.accumulator(term.op, term.dtype)
        name, step = self.k.fresh(), 1
        start = "0"
        if self.lanes > 1:
            start, step = "lane", self.lanes
        with self.block(f"for (i32 {name} = {start}; {name} < {part.extent}; {name} += {step})"):
            self.at[part] = name
            self.accumulate(term.op, total, self.load(place, (inside.part, *inside.index)))
        if self.lanes > 1:
            self.across(term.op, total, 32, self.lanes)
        return self.k.cast(self.k.load(total.text, total.dtype), term.dtype)

    # The whole kernel -------------------------------------------------------------------

    def kernel(self, what: str, grid: tuple[int, int, int], threads: int) -> Kernel:
        """Return what was written as a kernel called ``NAME``: its name is given later."""
        parameters, slots = self.arguments.text()
        for i, slot in enumerate(slots):  # numbered in order, so that equal kernels are equal
            parameters = re.sub(rf"\bb{slot}\b", f"p{i}", parameters)
        body = "\n".join(self.k.lines)
        order = {f"b{slot}": f"p{i}" for i, slot in enumerate(slots)}
        body = re.sub(r"\bb\d+\b", lambda m: order[m.group()], body)
        head = f'extern "C" __global__ void __launch_bounds__({threads}) NAME({parameters}) {{'
        return Kernel(
            "", f"{head}\n{body}\n}}\n", frozenset(self.k.helpers), slots, grid, threads, what,
            frozenset(self.arguments.writes),
        )  # fmt: skip
