"""pow: for float32 through log2 and 2^x in float64, for integers by squaring."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from minigrad.backends.cpu.values import LAYOUT, TYPES, Value
from minigrad.dtypes import bool as bool_
from minigrad.dtypes import float32, float64, kind_of

from .exponential import clamp, polynomial
from .library import library
from .logarithm import split, whole

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Writer

__all__ = ["power"]

#: log2(1 + f) / s in powers of s^2, s = f / (2 + f); relative error below 2^-45.
_LOG2: Final = (
    0.2829015202231144, 0.31990560542594215, 0.41220925452790264, 0.5770779423441112,
    0.9617966941134146, 2.88539008177785,
)  # fmt: skip
#: (2^r - 1) / r for |r| <= 1/2; relative error of 2^r below 2^-34.
_EXP2: Final = (
    1.5196135672254237e-05, 0.0001546678157206268, 0.0013333935349255594, 0.009618038059497697,
    0.05550410365400184, 0.24022651067003567, 0.6931471807047622,
)  # fmt: skip


def power(k: Writer, x: Value, y: Value) -> Value:
    """Return x to the power y; integers wrap, and an integer y must not be negative."""
    if kind_of(x.dtype) != "f":
        return k.routine("ipow", _integers, x, y)
    if x.dtype == float64:
        return library("pow")(k, x, y)
    return k.routine("pow", _single, x, y)


def _single(k: Writer, x: Value, y: Value) -> Value:
    """Return a float32 power: IEEE 754's special cases around |x|^y."""
    a = k.intrinsic("fabs", x)
    size = k.cast(_positive(k, k.cast(a, float64), k.cast(y, float64)), float32)
    size = k.select(k.equal(a, 1.0), 1.0, size)  # also where |y| is infinite
    half = k.mul(y, 0.5)
    is_whole = k.equal(k.intrinsic("trunc", y), y)
    odd = k.bit_and(is_whole, k.bit_not(k.equal(k.intrinsic("trunc", half), half)))
    result = k.select(odd, k.intrinsic("copysign", size, x), size)
    outside = k.bit_and(k.less(x, 0.0), k.less(-math.inf, x))
    result = k.select(k.bit_and(outside, k.bit_not(is_whole)), math.nan, result)
    result = k.select(k.binary("fcmp uno", x, y, bool_), math.nan, result)
    return k.select(k.bit_or(k.equal(x, 1.0), k.equal(y, 0.0)), 1.0, result)


def _positive(k: Writer, x: Value, y: Value) -> Value:
    """Return 2^(y log2 x) in float64, for x from 0 to infinity, both float32 numbers."""
    exponent, m = split(k, x)
    f = k.sub(m, 1.0)
    s = k.binary("fdiv", f, k.add(f, 2.0))
    logarithm = k.fma(s, polynomial(k, k.mul(s, s), _LOG2), whole(k, exponent, x))
    logarithm = k.select(k.equal(x, 0.0), -math.inf, logarithm)
    logarithm = k.select(k.equal(x, math.inf), math.inf, logarithm)
    layout = LAYOUT[float64]
    product = clamp(k, k.mul(y, logarithm), -200.0, 200.0)  # float32 ends at -150 and 128
    t = k.add(product, layout.magic)
    r = k.sub(product, k.sub(t, layout.magic))
    n = k.shift_left(k.bitcast(t, layout.integer), layout.mantissa)
    p = k.fma(r, polynomial(k, r, _EXP2), 1.0)
    return k.bitcast(k.add(k.bitcast(p, layout.integer), n), float64)


def _integers(k: Writer, x: Value, y: Value) -> Value:
    """Return an integer power: one turn of the loop for each binary digit of the largest y."""
    kind, lanes = TYPES[x.dtype, x.lanes], x.lanes
    one = k.splat(k.const(1, x), lanes, 1).regs[0]
    result, base, rest = (Value((f"%{name}",), x.dtype, lanes, 0) for name in ("r", "b", "e"))
    header = len(k.text[0]) + 2
    k.text[0] += ["  br label %loop", "loop:"]
    odd = k.equal(k.bit_and(rest, 1), 1)
    product = k.select(odd, k.mul(result, base), result)
    square, left = k.mul(base, base), k.binary("lshr", rest, 1)
    more = k.reduce("or", k.bit_not(k.equal(left, 0)))
    k.text[0][header:header] = [
        f"  %{name} = phi {kind} [ {start}, %entry ], [ {after.regs[0]}, %loop ]"
        for name, start, after in (
            ("r", one, product), ("b", x.regs[0], square), ("e", y.regs[0], left)
        )
    ]  # fmt: skip
    k.text[0] += [f"  br i1 {more.regs[0]}, label %loop, label %done", "done:"]
    return product
