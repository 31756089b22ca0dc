"""sin, cos and tan: |x| = n pi/2 + r with |r| <= pi/4, and two minimax polynomials in r^2.

pi/2 is taken in parts, which reaches as far as ``_REACH``; if any lane lies beyond, those
lanes are computed by the C library, which has as many digits of pi as it needs. That is a
branch, so each of these is a function of the module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from minigrad.backends.cpu.values import LAYOUT, Value
from minigrad.dtypes import bool as bool_
from minigrad.dtypes import float32, float64

from .exponential import polynomial
from .library import library_where

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Writer

__all__ = ["cos", "sin", "tan"]

_TWO_OVER_PI: Final = 0.6366197723675814
#: pi/2 as a sum, for machines with a multiply-add ...
_FUSED: Final = {
    float32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    float64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
#: ... and with few bits in all parts but the last, whose products with n are exact.
_EXACT: Final = (
    1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32,
)  # fmt: skip
_REACH: Final = {float32: 65536.0, float64: 524288.0}
#: (sin r - r) / r^3; relative error below 2^-27, 2^-57.
_SIN: Final = {
    float32: (-0.00019517897453624755, 0.008332187309861183, -0.16666655242443085),
    float64: (
        1.589543333125504e-10, -2.505073438977686e-08, 2.7557313538516318e-06,
        -0.0001984126982935853, 0.00833333333332184, -0.1666666666666663,
    ),
}  # fmt: skip
#: (cos r - 1 + r^2/2) / r^4; below 2^-32, 2^-63.
_COS: Final = {
    float32: (2.4432327336398885e-05, -0.0013887309469282627, 0.04166664555668831),
    float64: (
        -1.1358616965158259e-11, 2.0875703138890215e-09, -2.7557314203075745e-07,
        2.4801587288965223e-05, -0.0013888888888873307, 0.041666666666666595,
    ),
}  # fmt: skip


def _reduce(k: Writer, a: Value) -> tuple[Value, Value]:
    """Return r, and n in the low bits of an integer."""
    dtype = a.dtype
    if k.target.has_fma:
        t = k.fma(a, _TWO_OVER_PI, LAYOUT[dtype].magic)
        n, r = k.sub(t, LAYOUT[dtype].magic), a
        for part in _FUSED[dtype]:
            r = k.fma(n, -part, r)
        return r, k.bitcast(t, LAYOUT[dtype].integer)
    wide = k.cast(a, float64)
    t = k.add(k.mul(wide, _TWO_OVER_PI), LAYOUT[float64].magic)
    n, r = k.sub(t, LAYOUT[float64].magic), wide
    for part in _EXACT:
        r = k.sub(r, k.mul(n, part))
    whole = k.cast(k.bitcast(t, LAYOUT[float64].integer), LAYOUT[dtype].integer)
    return k.cast(r, dtype), whole


def _both(k: Writer, a: Value) -> tuple[Value, Value, Value]:
    """Return sin r, cos r and n."""
    r, n = _reduce(k, a)
    z = k.mul(r, r)
    sine = k.fma(k.mul(r, z), polynomial(k, z, _SIN[a.dtype]), r)
    inner = k.fma(z, polynomial(k, z, _COS[a.dtype]), -0.5)
    return sine, k.fma(z, inner, 1.0), n


def _odd(k: Writer, n: Value) -> Value:
    return k.binary("icmp ne", k.bit_and(n, 1), 0, bool_)


def _negate_if(k: Writer, x: Value, bit: Value) -> Value:
    """Return x with its sign changed where an integer's top bit is set."""
    integer = LAYOUT[x.dtype].integer
    top = k.bit_and(bit, -1 << (8 * integer.itemsize - 1))
    return k.bitcast(k.bit_xor(k.bitcast(x, integer), top), x.dtype)


def _shifted(k: Writer, n: Value) -> Value:
    """Return an integer with bit 1 of n on top: set in the third and fourth quadrant."""
    return k.shift_left(n, 8 * n.dtype.itemsize - 2)


def _sin(k: Writer, x: Value) -> Value:
    sine, cosine, n = _both(k, k.intrinsic("fabs", x))
    y = k.select(_odd(k, n), cosine, sine)
    sign = k.bit_xor(_shifted(k, n), k.bitcast(x, n.dtype))
    return _or_library(k, "sin", x, _negate_if(k, y, sign))


def _cos(k: Writer, x: Value) -> Value:
    sine, cosine, n = _both(k, k.intrinsic("fabs", x))
    y = k.select(_odd(k, n), sine, cosine)
    return _or_library(k, "cos", x, _negate_if(k, y, _shifted(k, k.add(n, 1))))


def _tan(k: Writer, x: Value) -> Value:
    sine, cosine, n = _both(k, k.intrinsic("fabs", x))
    odd = _odd(k, n)
    y = k.binary("fdiv", k.select(odd, cosine, sine), k.select(odd, sine, cosine))
    sign = k.bit_xor(k.shift_left(n, 8 * n.dtype.itemsize - 1), k.bitcast(x, n.dtype))
    return _or_library(k, "tan", x, _negate_if(k, y, sign))


def _or_library(k: Writer, name: str, x: Value, near: Value) -> Value:
    """Return ``near``, and the C library's result in the lanes that lie too far out."""
    far = k.less(_REACH[x.dtype], k.intrinsic("fabs", x))
    return library_where(k, name, far, near, x)


def sin(k: Writer, x: Value) -> Value:
    """Return the sine of x."""
    return k.routine("sin", _sin, x)


def cos(k: Writer, x: Value) -> Value:
    """Return the cosine of x."""
    return k.routine("cos", _cos, x)


def tan(k: Writer, x: Value) -> Value:
    """Return the tangent of x."""
    return k.routine("tan", _tan, x)
