"""The mathematical functions of the dialect as LLVM text, for vectors and scalars.

A function of a scalar gives the same bits as in a lane of a vector. NaN, infinities, -0.0,
subnormal arguments and results, overflow and arguments of any size are handled. ``ERRORS``
has the largest errors; what is not in it is exact, rounded once (``sqrt``), or the C
library's. Nothing here sets a fast-math flag.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from minigrad.backends.cpu.half import rounded
from minigrad.backends.cpu.values import Value
from minigrad.dtypes import float32, halves

from . import error, exponential, logarithm, power, trigonometric
from .library import fmod, intrinsic, library

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Writer

__all__ = ["ERRORS", "FUNCTIONS", "call"]

#: Largest errors in units of the last place, for float32 and float64, with and without a
#: multiply-add: measured on millions of bit patterns against more digits, and rounded up.
#: ``rsqrt`` is composed; the C library's ``pow`` serves float64.
ERRORS: Final[dict[str, tuple[float, float]]] = {
    "cos": (1.7, 2.0),
    "cosh": (1.6, 1.6),
    "erf": (1.3, 1.3),
    "exp": (1.1, 1.1),
    "expm1": (1.8, 2.1),
    "log": (0.9, 0.9),
    "log1p": (1.5, 1.5),
    "pow": (0.6, 1.0),
    "rsqrt": (1.6, 1.6),
    "sin": (1.7, 2.0),
    "sinh": (2.4, 2.4),
    "tan": (3.8, 4.5),
    "tanh": (2.7, 2.8),
}

#: Written in full at every use, unless the writer shares them.
_INLINE: Final[dict[str, Callable[..., Value]]] = {
    "cosh": exponential.cosh,
    "erf": error.erf,
    "exp": exponential.exp,
    "expm1": exponential.expm1,
    "log": logarithm.log,
    "log1p": logarithm.log1p,
    "sinh": exponential.sinh,
    "tanh": exponential.tanh,
}

#: Exact, so that a half type is not rounded again.
_EXACT: Final[dict[str, Callable[..., Value]]] = {
    "ceil": intrinsic("ceil"),
    "copysign": intrinsic("copysign"),
    "fabs": intrinsic("fabs"),
    "floor": intrinsic("floor"),
    "fmod": fmod,
    "rint": intrinsic("rint"),
    "trunc": intrinsic("trunc"),
}

#: What ``Writer.call`` may name: the functions of ``backends.scalar.FUNCTIONS``.
FUNCTIONS: Final[dict[str, Callable[..., Value]]] = {
    "cos": trigonometric.cos,
    "pow": power.power,
    "sin": trigonometric.sin,
    "sqrt": intrinsic("sqrt"),
    "tan": trigonometric.tan,
    **{
        name: library(name) for name in ("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh")
    },
    **_EXACT,
    **_INLINE,
}


def call(k: Writer, name: str, values: Sequence[Value]) -> Value:
    """Return a function of values of one dtype. A half type is computed in float32."""
    rule, dtype = FUNCTIONS[name], values[0].dtype
    if dtype in halves:
        found = call(k, name, [Value(v.regs, float32, v.lanes, v.depth) for v in values])
        if name not in _EXACT:
            return rounded(k, found, dtype)
        return Value(found.regs, dtype, found.lanes, found.depth)
    if k.shared and name in _INLINE:
        return k.routine(name, rule, *values)
    flags, k.flags = k.flags, ""  # each rounding is where the rule has it
    try:
        return rule(k, *values)
    finally:
        k.flags = flags
