"""log and log1p: a number is 2^n (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2).

The polynomials are minimax in relative error of log(1 + f), found by Remez exchange.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from minigrad.backends.cpu.values import LAYOUT, Value
from minigrad.dtypes import float32

from .exponential import LN2, polynomial

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Writer

__all__ = ["log", "log1p", "split"]

#: (log(1 + f) - f + f^2/2) / f^3; relative error of the logarithm below 2^-27.
_SINGLE: Final = (
    -0.07643167674541473, 0.1276700645685196, -0.1315952092409134, 0.14200948178768158,
    -0.1662333458662033, 0.20001260936260223, -0.250008225440979, 0.3333333134651184,
)  # fmt: skip
#: (log(1 + f) - 2 s) / s^3 in powers of s^2, s = f / (2 + f); below 2^-59.
_DOUBLE: Final = (
    0.14795363923537622, 0.1531411086354277, 0.18183561889142133, 0.22222198621901543,
    0.28571428741890526, 0.3999999999941705, 0.6666666666666734,
)  # fmt: skip


def split(k: Writer, x: Value) -> tuple[Value, Value]:
    """Return n + bias as an integer and 1 + f, for x positive, normal and finite."""
    layout, dtype = LAYOUT[x.dtype], x.dtype
    root = int(np.asarray(math.sqrt(0.5), dtype).view(layout.integer))
    one = layout.bias << layout.mantissa
    moved = k.add(k.bitcast(x, layout.integer), one - root)
    exponent = k.binary("lshr", moved, layout.mantissa)
    f = k.add(k.bit_and(moved, (1 << layout.mantissa) - 1), root)
    return exponent, k.bitcast(f, dtype)


def whole(k: Writer, exponent: Value, like: Value) -> Value:
    """Return n as a float, from n + bias."""
    layout, dtype = LAYOUT[like.dtype], like.dtype
    power = 2.0**layout.mantissa  # the bits below its last place are the integer's
    bits = int(np.asarray(power, dtype).view(layout.integer))
    return k.sub(k.bitcast(k.bit_or(exponent, bits), dtype), power + layout.bias)


def _sum(k: Writer, f: Value, n: Value) -> Value:
    """Return n ln 2 + log(1 + f)."""
    high, low = LN2[f.dtype]
    if f.dtype == float32:
        z = k.mul(f, f)
        y = k.mul(k.mul(z, f), polynomial(k, f, _SINGLE))
        y = k.fma(n, low, y)
        y = k.add(k.fma(z, -0.5, y), f)
        return k.fma(n, high, y)
    s = k.binary("fdiv", f, k.add(f, 2.0))
    z = k.mul(s, s)
    h = k.mul(k.mul(f, f), 0.5)
    y = k.mul(s, k.fma(z, polynomial(k, z, _DOUBLE), h))
    y = k.sub(k.fma(n, low, y), h)
    return k.fma(n, high, k.add(y, f))


def log(k: Writer, x: Value) -> Value:
    """Return ln x."""
    single = x.dtype == float32
    tiny = k.less(x, 2.0**-126 if single else 2.0**-1022)
    shift = 23 if single else 52
    y = k.select(tiny, k.mul(x, 2.0**shift), x)
    exponent, m = split(k, y)
    n = k.add(whole(k, exponent, x), k.select(tiny, float(-shift), k.const(0.0, x)))
    r = _sum(k, k.sub(m, 1.0), n)
    inside = k.bit_and(k.less(0.0, x), k.less(x, math.inf))
    negative = k.select(k.less(x, 0.0), math.nan, x)
    return k.select(inside, r, k.select(k.equal(x, 0.0), -math.inf, negative))


def log1p(k: Writer, x: Value) -> Value:
    """Return ln(1 + x): n from 1 + x, and f = x 2^-n + (2^-n - 1) without its rounding."""
    layout, dtype = LAYOUT[x.dtype], x.dtype
    u = k.add(x, 1.0)
    exponent, _ = split(k, u)
    four = k.sub((2 * layout.bias + 2) << layout.mantissa, k.shift_left(exponent, layout.mantissa))
    s = k.bitcast(four, dtype)  # 4 * 2^-n: a normal number for every n
    r = _sum(k, k.fma(k.mul(x, s), 0.25, k.fma(s, 0.25, -1.0)), whole(k, exponent, x))
    small = k.less(k.intrinsic("fabs", x), 2.0 ** (-25 if dtype == float32 else -54))
    r = k.select(small, x, r)
    inside = k.bit_and(k.less(-1.0, x), k.less(x, math.inf))
    below = k.select(k.less(x, -1.0), math.nan, x)
    return k.select(inside, r, k.select(k.equal(x, -1.0), -math.inf, below))
