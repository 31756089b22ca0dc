"""The scalar dialect written for LLVM: a primitive's scalar code, as text for registers.

Results are those of the NumPy writer: integers wrap, an integer divided by 0 is 0, NaN,
infinities, -0.0 and subnormals come out as in IEEE 754. The only fast-math flag is
``contract``: a product and a sum may become one multiply-add.

A float16 is a ``float`` in registers, whose value is always that of some float16, and so is
a bfloat16: each operation is computed in float32 and rounded, as the reference does it.

The writer has one list of lines per loop level. An operation goes to the deepest level
of its operands, so whatever does not change in a loop is written before it, and no pass
over the IR is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from minigrad.dtypes import DType, convert, float32, float64, halves, kind_of, scalar, uint32
from minigrad.dtypes import bool as bool_
from minigrad.errors import DtypeError

from . import memory, philox, reductions, vectormath
from .half import rounded
from .target import Target
from .values import TYPES, Value, conversion, literal_value, number_text, suffix

__all__ = ["Operand", "Value", "Writer"]

#: A value, or a number that takes the dtype of the value beside it.
Operand: TypeAlias = Value | float
#: Writes the body of a function of the module: ``build(writer, *parameters)``.
Builder: TypeAlias = Callable[..., Value]


class Writer:
    """Appends LLVM text to ``text[level]`` and returns the registers that hold the results.

    Parameters
    ----------
    target
        The machine: width of its vectors, and whether it has a multiply-add.
    levels
        Number of loop levels; level 0 is the function's entry.
    unroll, lanes
        Registers per vector value, and lanes per register, of the vectors that ``load``,
        ``iota`` and ``bits`` make. Both may be changed between two loops.
    shared
        Write each mathematical function once and call it, instead of writing it at every
        use: short text, quickly compiled, for graphs of thousands of operations.
    """

    #: The scalar code asks for these by module functions that take the writer first.
    load = memory.load
    store = memory.store
    gather = memory.gather
    iota = memory.iota
    tail_mask = memory.tail_mask
    bits = philox.bits
    bits_at = philox.bits_at
    reduce = reductions.reduce
    combine = reductions.combine
    identity = reductions.identity

    def __init__(
        self, target: Target, levels: int = 1, unroll: int = 1, lanes: int = 1, *,
        shared: bool = False,
    ) -> None:  # fmt: skip
        self.target, self.unroll, self.lanes, self.shared = target, unroll, lanes, shared
        self.text: list[list[str]] = [[] for _ in range(levels)]
        self.declarations: set[str] = set()
        self.flags = " contract"
        self._count = 0
        self._spreads: list[dict[tuple[str, int], str]] = [{} for _ in range(levels)]
        self._names: dict[tuple[str, DType, int], str] = {}

    # The text ---------------------------------------------------------------------

    def fresh(self) -> str:
        """Return a register name that nothing else in the function has."""
        self._count += 1
        return f"%v{self._count}"

    def line(self, depth: int, text: str) -> str:
        """Append ``%v = text`` at a level; return the register."""
        self._count += 1
        register = f"%v{self._count}"
        self.text[depth].append(f"  {register} = {text}")
        return register

    def take(self, level: int) -> list[str]:
        """Return the lines of a level, which begins anew: what was known there is forgotten.

        For a function with two loops one after the other, as a main loop and its tail.
        """
        lines, self.text[level], self._spreads[level] = self.text[level], [], {}
        return lines

    def literal(self, value: Any, dtype: DType) -> Value:
        """Return a number as a scalar of this dtype; integers wrap. It costs no instruction."""
        return Value(number_text(value, dtype, 1, 1), dtype, 1, 0)

    def number(self, a: Operand) -> Any:
        """Return the number that a literal stands for, or None for another value."""
        if type(a) is not Value:
            return a
        return None if a.lanes > 1 or a.regs[0][0] == "%" else literal_value(a.regs[0], a.dtype)

    def splat(self, a: Value, lanes: int | None = None, unroll: int | None = None) -> Value:
        """Return a scalar in every lane; a vector stays."""
        if a.lanes != 1:
            return a
        lanes = lanes or self.lanes
        return Value(self._spread(a, lanes, unroll or self.unroll), a.dtype, lanes, a.depth)

    def _spread(self, a: Value, lanes: int, count: int) -> tuple[str, ...]:
        """Return ``count`` times the register that holds a scalar in every lane."""
        register, depth = a.regs[0], a.depth
        if lanes == 1:
            return (register,) * count
        memo = self._spreads[depth]
        kind = TYPES[a.dtype, 1]
        if register[0] != "%":  # a number may be that of several types
            return (f"splat ({kind} {register})",) * count
        found = memo.get((register, lanes))
        if found is None:
            wide = TYPES[a.dtype, lanes]
            first = self.line(depth, f"insertelement {wide} poison, {kind} {register}, i64 0")
            found = self.line(
                depth,
                f"shufflevector {wide} {first}, {wide} poison, <{lanes} x i32> zeroinitializer",
            )
            memo[register, lanes] = found
        return (found,) * count

    # Operations on registers ------------------------------------------------------

    def each(
        self, head: str, middles: Iterable[str], tail: str, dtype: DType, lanes: int, depth: int
    ) -> Value:
        """Append ``%v = head middle tail`` for each middle; return the registers as a value."""
        count, out, found = self._count, self.text[depth], []
        for middle in middles:
            count += 1
            register = f"%v{count}"
            out.append(f"  {register} = {head}{middle}{tail}")
            found.append(register)
        self._count = count
        return Value(tuple(found), dtype, lanes, depth)

    def binary(self, op: str, a: Operand, b: Operand, result: DType | None = None) -> Value:
        """Append ``op type a, b`` for each pair of registers."""
        if type(a) is not Value:
            right, dtype, lanes, depth = b  # type: ignore[misc]
            left = number_text(a, dtype, lanes, len(right))
        else:
            left, dtype, lanes, depth = a
            if type(b) is not Value:
                right = number_text(b, dtype, lanes, len(left))
            else:
                right, _, width, other = b
                if lanes != width:
                    if lanes == 1:
                        left, lanes = self._spread(a, width, len(right)), width
                    else:
                        right = self._spread(b, lanes, len(left))
                if other > depth:
                    depth = other
        head = f" = {op} {TYPES[dtype, lanes]} "
        count, out, found = self._count, self.text[depth], []
        for x, y in zip(left, right, strict=True):
            count += 1
            register = f"%v{count}"
            out.append(f"  {register}{head}{x}, {y}")
            found.append(register)
        self._count = count
        return Value(tuple(found), result or dtype, lanes, depth)

    def meet(self, *operands: Operand) -> list[Value]:
        """Return operands as values of one number of lanes and registers."""
        lanes, count, dtype = 1, 1, None
        for v in operands:
            if type(v) is Value:
                dtype = dtype or v.dtype
                if v.lanes != 1:
                    lanes, count = v.lanes, len(v.regs)
        assert dtype is not None, "an operation on numbers alone"
        found = []
        for v in operands:
            if type(v) is not Value:
                v = Value(number_text(v, dtype, lanes, count), dtype, lanes, 0)
            elif v.lanes != lanes:
                v = Value(self._spread(v, lanes, count), v.dtype, lanes, v.depth)
            found.append(v)
        return found

    def apply(self, callee: str, result: DType, values: Sequence[Value], extra: str = "") -> Value:
        """Append a call of ``callee`` for each tuple of registers; ``extra`` ends its arguments."""
        lanes, depth = values[0].lanes, max([v.depth for v in values])
        kinds = [TYPES[v.dtype, lanes] for v in values]
        middles = [
            ", ".join([f"{kind} {x}" for kind, x in zip(kinds, row, strict=True)])
            for row in zip(*[v.regs for v in values], strict=True)
        ]
        head = f"call {TYPES[result, lanes]} {callee}("
        return self.each(head, middles, f"{extra})", result, lanes, depth)

    def intrinsic(self, name: str, *operands: Operand) -> Value:
        """Append ``llvm.name`` of operands of one dtype, which the result has too."""
        values = self.meet(*operands)
        return self.apply(self._intrinsic(name, values[0], len(values)), values[0].dtype, values)

    def _intrinsic(self, name: str, like: Value, arity: int) -> str:
        """Return an intrinsic's full name, and declare it."""
        _, dtype, lanes, _ = like
        callee = self._names.get((name, dtype, lanes))
        if callee is None:
            kind, callee = TYPES[dtype, lanes], f"@llvm.{name}.{suffix(dtype, lanes)}"
            self._names[name, dtype, lanes] = callee
            self.declarations.add(f"declare {kind} {callee}({', '.join([kind] * arity)})")
        return callee

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        """Return a * b + c, rounded once where the machine has a multiply-add."""
        x, y, z = self.meet(a, b, c)
        callee = self._intrinsic("fma" if self.target.has_fma else "fmuladd", x, 3)
        kind, depth = TYPES[x.dtype, x.lanes], max(x.depth, y.depth, z.depth)
        head = f" = call {kind} {callee}({kind} "
        count, out, found = self._count, self.text[depth], []
        for p, q, r in zip(x.regs, y.regs, z.regs, strict=True):
            count += 1
            register = f"%v{count}"
            out.append(f"  {register}{head}{p}, {kind} {q}, {kind} {r})")
            found.append(register)
        self._count = count
        return Value(tuple(found), x.dtype, x.lanes, depth)

    def routine(self, name: str, build: Builder, *operands: Operand) -> Value:
        """Append a call of a function of the module, which ``build(writer, *values)`` writes.

        It is written once for each dtype and number of lanes of its operands, all alike.
        """
        values = self.meet(*operands)
        _, dtype, lanes, _ = values[0]
        key = (f"mg.{name}", dtype, lanes)
        if key not in self._names:
            self._names[key] = f"@{key[0]}.{suffix(dtype, lanes)}"
            self.declarations |= _routine(self.target, self._names[key], build, values)
        return self.apply(self._names[key], dtype, values)

    def bitcast(self, a: Value, dtype: DType) -> Value:
        """Return the same bits as another dtype of the same width."""
        registers, source, lanes, depth = a
        head = f"bitcast {TYPES[source, lanes]} "
        return self.each(head, registers, f" to {TYPES[dtype, lanes]}", dtype, lanes, depth)

    # The dialect ------------------------------------------------------------------

    def const(self, value: float, like: Value) -> Value:
        """Return a literal with the dtype of ``like``."""
        return self.literal(value, like.dtype)

    def dtype(self, x: Value) -> DType:
        """Return the dtype of a value."""
        return x.dtype

    def add(self, a: Operand, b: Operand) -> Value:
        """Return a + b; integers wrap."""
        return self._arithmetic("add", a, b)

    def sub(self, a: Operand, b: Operand) -> Value:
        """Return a - b; integers wrap."""
        return self._arithmetic("sub", a, b)

    def mul(self, a: Operand, b: Operand) -> Value:
        """Return a * b; integers wrap."""
        return self._arithmetic("mul", a, b)

    def _arithmetic(self, op: str, a: Operand, b: Operand) -> Value:
        dtype: DType = (a if type(a) is Value else b).dtype  # type: ignore[union-attr]
        if kind_of(dtype) != "f":
            return self.binary(op, a, b)
        found = self.binary(f"f{op}{self.flags}", a, b)
        return found if dtype.itemsize > 2 else rounded(self, found, dtype)

    def div(self, a: Operand, b: Operand) -> Value:
        """Return a / b; for integers rounded to zero, 0 for b = 0, and wrapping for b = -1."""
        x, y = self.meet(a, b)
        dtype = x.dtype
        if kind_of(dtype) == "f":
            found = self.binary("fdiv", x, y)
            return found if dtype.itemsize > 2 else rounded(self, found, dtype)
        signed = kind_of(dtype) == "i"
        number = self.number(b)
        if number is not None and number not in (0, -1):
            return self.binary("sdiv" if signed else "udiv", x, y)
        zero = self.equal(y, 0)
        minus = self.equal(y, -1) if signed else zero
        safe = self.select(self.bit_or(zero, minus), 1, y)
        if x.lanes > 1 and dtype.itemsize < 8:  # exact: twice the digits, and one more
            wide = float32 if dtype.itemsize < 4 else float64
            found = self.cast(self.binary("fdiv", self.cast(x, wide), self.cast(safe, wide)), dtype)
        else:
            found = self.binary("sdiv" if signed else "udiv", x, safe)
        if signed:
            found = self.select(minus, self.neg(x), found)
        return self.select(zero, 0, found)

    def neg(self, a: Value) -> Value:
        """Return -a."""
        registers, dtype, lanes, depth = a
        number = self.number(a)
        if number is not None:
            return self.literal(-number, dtype)
        if kind_of(dtype) == "f":
            return self.each(f"fneg {TYPES[dtype, lanes]} ", registers, "", dtype, lanes, depth)
        return self.binary("sub", 0, a)

    def equal(self, a: Operand, b: Operand) -> Value:
        """Return a == b; false for NaN."""
        return self._compare("fcmp oeq", "icmp eq", "icmp eq", a, b)

    def less(self, a: Operand, b: Operand) -> Value:
        """Return a < b; false for NaN."""
        return self._compare("fcmp olt", "icmp slt", "icmp ult", a, b)

    def less_equal(self, a: Operand, b: Operand) -> Value:
        """Return a <= b; false for NaN."""
        return self._compare("fcmp ole", "icmp sle", "icmp ule", a, b)

    def _compare(self, floating: str, signed: str, unsigned: str, a: Operand, b: Operand) -> Value:
        kind = kind_of((a if type(a) is Value else b).dtype)  # type: ignore[union-attr]
        op = floating if kind == "f" else signed if kind == "i" else unsigned
        return self.binary(op, a, b, bool_)

    def select(self, condition: Value, a: Operand, b: Operand) -> Value:
        """Return a where the condition holds, else b."""
        masks, _, width, depth = condition
        x, y = self.meet(a, b)
        left, dtype, lanes, _ = x
        right = y.regs
        if lanes != width:
            if width == 1:  # one condition chooses between whole registers
                masks = masks * len(left)
            else:
                lanes, left = width, self._spread(x, width, len(masks))
                right = self._spread(y, width, len(masks))
        depth = max(depth, x.depth, y.depth)
        kind, head = TYPES[dtype, lanes], f" = select {TYPES[bool_, width]} "
        count, out, found = self._count, self.text[depth], []
        for mask, p, q in zip(masks, left, right, strict=True):
            count += 1
            register = f"%v{count}"
            out.append(f"  {register}{head}{mask}, {kind} {p}, {kind} {q}")
            found.append(register)
        self._count = count
        return Value(tuple(found), dtype, lanes, depth)

    def bit_and(self, a: Operand, b: Operand) -> Value:
        """Return a & b, for integers and booleans."""
        return self.binary("and", a, b)

    def bit_or(self, a: Operand, b: Operand) -> Value:
        """Return a | b."""
        return self.binary("or", a, b)

    def bit_xor(self, a: Operand, b: Operand) -> Value:
        """Return a ^ b."""
        return self.binary("xor", a, b)

    def bit_not(self, a: Value) -> Value:
        """Return ~a; logical not for booleans."""
        return self.binary("xor", a, 1 if kind_of(a.dtype) == "b" else -1)

    def shift_left(self, a: Operand, b: Operand) -> Value:
        """Return a << b, for b from 0 to the width less 1."""
        return self.binary("shl", a, b)

    def shift_right(self, a: Value, b: Operand) -> Value:
        """Return a >> b, for b from 0 to the width less 1; arithmetic for signed integers."""
        return self.binary("ashr" if kind_of(a.dtype) == "i" else "lshr", a, b)

    def mulhi(self, a: Value, b: Value) -> Value:
        """Return the high 32 bits of the 64-bit product of two uint32."""
        if a.dtype != uint32 or b.dtype != uint32:
            raise DtypeError(f"mulhi: takes uint32, got {a.dtype} and {b.dtype}")
        return philox.mulhi(self, a, b)

    def cast(self, a: Value, dtype: DType) -> Value:
        """Return a converted; floats to integers truncate, and must be in range."""
        registers, source, lanes, depth = a
        if source == dtype:
            return a
        number = self.number(a)
        if number is not None:
            with np.errstate(all="ignore"):
                return self.literal(convert(scalar(number, source), dtype)[()], dtype)
        if kind_of(dtype) == "b":
            return self._compare("fcmp une", "icmp ne", "icmp ne", a, 0)
        if dtype in halves:  # from float64 at once: rounding to float32 first would round twice
            return rounded(self, a if source == float64 else self.cast(a, float32), dtype)
        op = conversion(source, dtype)
        if not op:
            return Value(registers, dtype, lanes, depth)
        head = f"{op} {TYPES[source, lanes]} "
        return self.each(head, registers, f" to {TYPES[dtype, lanes]}", dtype, lanes, depth)

    def call(self, name: str, *args: Value) -> Value:
        """Return a function of ``backends.scalar.FUNCTIONS``."""
        return vectormath.call(self, name, args)


#: The texts of functions already written, by machine and name.
_routines: dict[tuple[str, int, bool, str], frozenset[str]] = {}


def _routine(target: Target, name: str, build: Builder, like: Sequence[Value]) -> frozenset[str]:
    """Return the text of a function, and of what it needs in turn."""
    key = (target.triple, target.vector_bytes, target.has_fma, name)
    if key not in _routines:
        _, dtype, lanes, _ = like[0]
        inside = Writer(target, lanes=lanes)
        inside.flags = ""
        names = [f"%x{i}" for i in range(len(like))]
        found = build(inside, *[Value((x,), dtype, lanes, 0) for x in names])
        kind = TYPES[dtype, lanes]
        lines = [
            f"define internal {kind} {name}({', '.join([f'{kind} {x}' for x in names])}) "
            "noinline nounwind {",
            "entry:",
            *inside.text[0],
            f"  ret {kind} {found.regs[0]}",
            "}",
        ]
        _routines[key] = frozenset({"\n".join(lines), *inside.declarations})
    return _routines[key]
