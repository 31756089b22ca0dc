"""exp and what follows from it: expm1, tanh, sinh, cosh.

x = n ln 2 + r with |r| <= ln(2)/2, and e^x = 2^n e^r. The polynomials are minimax in
relative error, found by Remez exchange with the coefficients rounded one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from minigrad.backends.cpu.values import LAYOUT, TYPES, Value
from minigrad.dtypes import DType, float32, float64
from minigrad.dtypes import bool as bool_

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Operand, Writer

__all__ = ["LN2", "clamp", "cosh", "exp", "exp_middle", "expm1", "polynomial", "sinh", "tanh"]

_LOG2_E: Final = 1.4426950408889634
#: ln 2 in two parts. The first has few enough bits that its product with n is exact, so no
#: third part is needed where there is no multiply-add.
LN2: Final = {
    float32: (0.693145751953125, 1.4286068203094173e-06),
    float64: (0.6931471805598903, 5.497923018708371e-14),
}
#: (e^r - 1 - r) / r^2, highest power first; relative error of e^r - 1 below 2^-26, 2^-60.
_EXPM1: Final = {
    float32: (
        0.001383782597258687, 0.008367088623344898, 0.04166774824261665, 0.16666539013385773,
        0.4999999701976776,
    ),
    float64: (
        2.0885410252267284e-09, 2.5108631170185792e-08, 2.755734848575988e-07,
        2.7557245383048823e-06, 2.4801587266389627e-05, 0.0001984126988510626,
        0.0013888888888895971, 0.008333333333321839, 0.041666666666666685, 0.16666666666666677,
        0.5,
    ),
}  # fmt: skip
#: The same for e^r, which needs less: relative error of e^r below 2^-27, 2^-56.
_EXP: Final = {
    float32: _EXPM1[float32],
    float64: (
        2.501847561179231e-08, 2.763079064094079e-07, 2.755753592495317e-06,
        2.480149170295746e-05, 0.0001984126955536386, 0.0013888888944890213,
        0.008333333333475796, 0.041666666666525735, 0.16666666666666435, 0.5000000000000011,
    ),
}  # fmt: skip


def polynomial(k: Writer, x: Value, coefficients: tuple[float, ...]) -> Value:
    """Return a polynomial by Horner's rule, highest power first."""
    result: Operand = coefficients[0]
    for c in coefficients[1:]:
        result = k.fma(result, x, c)
    return result  # type: ignore[return-value]


def clamp(k: Writer, x: Value, low: float | None, high: float | None) -> Value:
    """Return x limited to an interval; NaN stays. One instruction a bound."""
    if low is not None:
        x = k.select(k.binary("fcmp ogt", low, x, bool_), low, x)
    if high is not None:
        x = k.select(k.binary("fcmp olt", high, x, bool_), high, x)
    return x


def _split(k: Writer, x: Value) -> tuple[Value, Value, Value]:
    """Return n + magic, n and r; n is whole and in the low bits of the first."""
    high, low = LN2[x.dtype]
    magic = LAYOUT[x.dtype].magic
    t = k.fma(x, _LOG2_E, magic)
    n = k.sub(t, magic)
    return t, n, k.fma(n, -low, k.fma(n, -high, x))


def _power_of_two(k: Writer, t: Value, less: int = 0) -> Value:
    """Return 2**(n - less) for n + magic: a normal number, which is not checked."""
    layout = LAYOUT[t.dtype]
    n = k.shift_left(k.bitcast(t, layout.integer), layout.mantissa)  # magic leaves at the top
    return k.bitcast(k.add(n, (layout.bias - less) << layout.mantissa), t.dtype)


def _one_plus(k: Writer, r: Value) -> Value:
    """Return e^r."""
    return k.add(k.fma(k.mul(r, r), polynomial(k, r, _EXP[r.dtype]), r), 1.0)


def exp_middle(k: Writer, x: Value) -> Value:
    """Return e^x where x is known to be far from overflow and from subnormal results."""
    t, _, r = _split(k, x)
    return k.mul(_one_plus(k, r), _power_of_two(k, t))


def exp(k: Writer, x: Value) -> Value:
    """Return e^x."""
    x = clamp(k, x, *((-104.0, 89.0) if x.dtype == float32 else (-746.0, 710.0)))
    t, n, r = _split(k, x)
    return _scaled(k, _one_plus(k, r), t, n)


def _scaled(k: Writer, p: Value, t: Value, n: Value) -> Value:
    """Return p * 2**n, rounded once, subnormal results and overflow included."""
    size = p.lanes * p.dtype.itemsize
    if k.target.vector_bytes == 64 and size in (16, 32, 64) and k.target.triple.startswith("x86"):
        short = "ps" if p.dtype == float32 else "pd"
        callee = f"@llvm.x86.avx512.mask.scalef.{short}.{8 * size}"
        kind, mask = TYPES[p.dtype, p.lanes], f"i{max(8, p.lanes)} -1"
        rounding = ", i32 4" if size == 64 else ""  # as the machine is set
        types = [kind, kind, kind, mask.split()[0], *(["i32"] if rounding else [])]
        k.declarations.add(f"declare {kind} {callee}({', '.join(types)})")
        return k.apply(callee, p.dtype, k.meet(p, n, 0.0), f", {mask}{rounding}")
    layout = LAYOUT[p.dtype]
    top = 4096  # n becomes positive: vectors of int64 have no arithmetic shift before AVX-512
    i = k.sub(k.bitcast(t, layout.integer), _bits_of(layout.magic, p.dtype) - top)
    half = k.binary("lshr", i, 1)
    for part in (half, k.sub(i, half)):
        number = k.shift_left(k.add(part, layout.bias - top // 2), layout.mantissa)
        p = k.mul(p, k.bitcast(number, p.dtype))
    return p


def _bits_of(value: float, dtype: DType) -> int:
    return int(np.asarray(value, dtype).view(LAYOUT[dtype].integer))


def _small(k: Writer, x: Value, power: int) -> Value:
    """Return whether |x| < 2**power."""
    return k.less(k.intrinsic("fabs", x), 2.0**power)


def expm1(k: Writer, x: Value) -> Value:
    """Return e^x - 1 = 2^n (e^r - 1) + (2^n - 1), halved so that 2^n does not overflow."""
    single = x.dtype == float32
    y = clamp(k, x, *((-30.0, 89.0) if single else (-60.0, 710.0)))
    t, _, r = _split(k, y)
    q = k.fma(k.mul(r, r), polynomial(k, r, _EXPM1[x.dtype]), r)
    s = _power_of_two(k, t, 1)
    half = k.fma(s, q, k.sub(s, 0.5))
    return k.select(_small(k, x, -25 if single else -54), x, k.add(half, half))


def tanh(k: Writer, x: Value) -> Value:
    """Return t / (t + 2) with t = e^2|x| - 1, and the sign of x."""
    a = k.intrinsic("fabs", x)
    t, _, r = _split(k, clamp(k, k.add(a, a), None, 20.0 if x.dtype == float32 else 40.0))
    q = k.fma(k.mul(r, r), polynomial(k, r, _EXPM1[x.dtype]), r)
    s = _power_of_two(k, t)
    e = k.fma(s, q, k.sub(s, 1.0))
    return k.intrinsic("copysign", k.binary("fdiv", e, k.add(e, 2.0)), x)


def sinh(k: Writer, x: Value) -> Value:
    """Return 2 (h + h / (4 h + 1)) with h = (e^|x| - 1) / 4, and the sign of x."""
    single = x.dtype == float32
    a = k.intrinsic("fabs", x)
    t, _, r = _split(k, clamp(k, a, None, 89.5 if single else 710.6))
    q = k.fma(k.mul(r, r), polynomial(k, r, _EXPM1[x.dtype]), r)
    s = _power_of_two(k, t, 2)
    h = k.fma(s, q, k.sub(s, 0.25))
    y = k.add(h, k.binary("fdiv", h, k.fma(h, 4.0, 1.0)))
    y = k.intrinsic("copysign", k.add(y, y), x)
    return k.select(_small(k, x, -13 if single else -28), x, y)


def cosh(k: Writer, x: Value) -> Value:
    """Return 2 (h + 1 / (16 h)) with h = e^|x| / 4."""
    a = clamp(k, k.intrinsic("fabs", x), None, 89.5 if x.dtype == float32 else 710.6)
    t, _, r = _split(k, a)
    h = k.mul(_one_plus(k, r), _power_of_two(k, t, 2))
    y = k.add(h, k.binary("fdiv", 0.0625, h))
    return k.add(y, y)
