"""Arithmetic: signs, sums, products, quotients, extrema, rounding, conversion."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.dialect import Dialect
from minigrad.core.door import as_tensor, cast, is_number
from minigrad.core.primitive import (
    ANY,
    FLOAT,
    NUMERIC,
    REAL,
    Domain,
    Primitive,
    Sample,
    Zero,
    register,
)
from minigrad.core.tensor import Tensor, functions
from minigrad.dtypes import (
    DType,
    DTypeLike,
    as_dtype,
    float32,
    get_default_dtype,
    halves,
    kind_of,
)

from .kinds import (
    FLAT_STEP,
    ArrayLike,
    Binary,
    Unary,
    batch_elementwise,
    binary_function,
    elementwise,
    unary_function,
)
from .logic import equal, greater, less, where

AWAY_FROM_ZERO = Domain(0.4, 2.5)
BETWEEN_INTEGERS = Domain(0.1, 0.4)

neg_p: Primitive = elementwise(
    "neg",
    accepts=NUMERIC,
    reference=np.negative,
    scalar=lambda k, x: k.neg(x),
    vjp=(lambda g, y, x: -g,),
    latex="-{0}",
    note="Unsigned integers wrap.",
    analytic=True,
)

abs_p: Primitive = elementwise(
    "abs",
    accepts=NUMERIC,
    reference=np.abs,
    scalar=lambda k, x: (
        k.call("fabs", x)
        if kind_of(k.dtype(x)) == "f"
        else k.select(k.less(x, k.const(0, x)), k.neg(x), x)
    ),
    vjp=(lambda g, y, x: g * sign(x),),
    latex=r"\left|{0}\right|",
    note="The derivative at 0 is taken as 0.",
    domains=(AWAY_FROM_ZERO,),
    analytic=lambda x: np.where(x.real < 0, -x, x),
)

sign_p: Primitive = elementwise(
    "sign",
    accepts=NUMERIC,
    reference=np.sign,
    scalar=lambda k, x: k.select(
        k.less(k.const(0, x), x),
        k.const(1, x),
        k.select(
            k.less(x, k.const(0, x)),
            k.neg(k.const(1, x)),
            k.select(k.equal(x, k.const(0, x)), k.const(0, x), x),
        ),
    ),
    vjp=(FLAT_STEP,),
    latex=r"\mathrm{{sign}}({0})",
    note="-1, 0 or 1; NaN stays NaN.",
    domains=(AWAY_FROM_ZERO,),
    analytic=lambda x: np.sign(x.real),
)


def _rounding(name: str, reference: Any, library: str, latex: str, note: str) -> Primitive:
    return elementwise(
        name,
        accepts=FLOAT,
        reference=reference,
        scalar=lambda k, x: k.call(library, x),
        vjp=(FLAT_STEP,),
        latex=latex,
        note=note,
        domains=(BETWEEN_INTEGERS,),
        analytic=lambda x: reference(x.real),
    )


floor_p: Primitive = _rounding(
    "floor", np.floor, "floor", r"\lfloor {0} \rfloor", "Integers pass unchanged."
)
ceil_p: Primitive = _rounding(
    "ceil", np.ceil, "ceil", r"\lceil {0} \rceil", "Integers pass unchanged."
)
trunc_p: Primitive = _rounding(
    "trunc", np.trunc, "trunc", r"\mathrm{{trunc}}({0})", "Rounds towards zero."
)
round_p: Primitive = _rounding(
    "round", np.rint, "rint", r"\mathrm{{round}}({0})", "Halves go to even."
)

add_p: Primitive = elementwise(
    "add",
    accepts=NUMERIC,
    reference=np.add,
    scalar=lambda k, a, b: k.add(a, b),
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: g),
    latex="{0} + {1}",
    note="Integers wrap.",
    analytic=True,
)

sub_p: Primitive = elementwise(
    "sub",
    accepts=NUMERIC,
    reference=np.subtract,
    scalar=lambda k, a, b: k.sub(a, b),
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g),
    latex="{0} - {1}",
    note="Integers wrap.",
    analytic=True,
)

mul_p: Primitive = elementwise(
    "mul",
    accepts=NUMERIC,
    reference=np.multiply,
    scalar=lambda k, a, b: k.mul(a, b),
    vjp=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    latex=r"{0} \cdot {1}",
    note="Integers wrap.",
    analytic=True,
)

div_p: Primitive = elementwise(
    "div",
    accepts=FLOAT,
    reference=np.divide,
    scalar=lambda k, a, b: k.div(a, b),
    vjp=(lambda g, y, a, b: g / b, lambda g, y, a, b: -(g * y / b)),
    latex=r"\frac{{{0}}}{{{1}}}",
    note="True division; integers are converted to the default floating dtype first.",
    domains=(REAL, AWAY_FROM_ZERO),
    analytic=True,
)


def _floor_divide_scalar(k: Dialect, a: Any, b: Any) -> Any:
    dtype = k.dtype(a)
    if dtype in halves:  # the quotient must not be rounded before it is rounded down
        whole = _floor_divide_scalar(k, k.cast(a, float32), k.cast(b, float32))
        return k.cast(whole, dtype)
    zero = k.const(0, a)
    if kind_of(k.dtype(a)) != "f":
        q = k.div(a, b)
        exact = k.equal(k.mul(q, b), a)
        apart = k.bit_xor(k.less(a, zero), k.less(b, zero))
        down = k.bit_and(k.bit_and(k.bit_not(exact), apart), k.bit_not(k.equal(b, zero)))
        return k.select(down, k.sub(q, k.const(1, q)), q)
    rest = k.call("fmod", a, b)
    off = k.bit_and(k.bit_not(k.equal(rest, zero)), k.bit_xor(k.less(b, zero), k.less(rest, zero)))
    q = k.div(k.sub(a, rest), b)
    q = k.select(off, k.sub(q, k.const(1, q)), q)
    down = k.call("floor", q)
    nearest = k.select(k.less(k.const(0.5, q), k.sub(q, down)), k.add(down, k.const(1, q)), down)
    signed_zero = k.call("copysign", zero, k.div(a, b))
    return k.select(k.equal(b, zero), k.div(a, b), k.select(k.equal(q, zero), signed_zero, nearest))


floor_divide_p: Primitive = elementwise(
    "floor_divide",
    accepts=NUMERIC,
    reference=np.floor_divide,
    scalar=_floor_divide_scalar,
    vjp=(FLAT_STEP, FLAT_STEP),
    latex=r"\left\lfloor \frac{{{0}}}{{{1}}} \right\rfloor",
    note="An integer divided by 0 gives 0.",
    domains=(Domain(4.1, 5.9), Domain(1.7, 1.9)),
)


def _remainder_scalar(k: Dialect, a: Any, b: Any) -> Any:
    zero = k.const(0, a)
    if kind_of(k.dtype(a)) != "f":
        rest = k.sub(a, k.mul(k.div(a, b), b))
        rest = k.select(k.equal(b, zero), zero, rest)
    else:
        rest = k.call("fmod", a, b)
    off = k.bit_xor(k.less(b, zero), k.less(rest, zero))
    whole = k.equal(rest, zero)
    if kind_of(k.dtype(a)) == "f":
        return k.select(whole, k.call("copysign", zero, b), k.select(off, k.add(rest, b), rest))
    return k.select(whole, rest, k.select(off, k.add(rest, b), rest))


remainder_p: Primitive = elementwise(
    "remainder",
    accepts=NUMERIC,
    reference=np.remainder,
    scalar=_remainder_scalar,
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -(g * floor_divide(a, b))),
    latex=r"{0} \bmod {1}",
    note="Has the sign of the divisor, as in Python.",
    domains=(Domain(4.1, 5.3), Domain(1.8, 1.95)),
)


def _share(g: Tensor, mine: Tensor, other: Tensor, winner: Any) -> Tensor:
    """Return one operand's part of the cotangent of an extremum: all, half at a tie, or none."""
    return where(equal(mine, other), g * 0.5, where(winner(mine, other), g, 0.0))


maximum_p: Primitive = elementwise(
    "maximum",
    accepts=ANY,
    reference=np.maximum,
    scalar=lambda k, a, b: k.select(k.bit_or(k.less(b, a), k.bit_not(k.equal(a, a))), a, b),
    vjp=(
        lambda g, y, a, b: _share(g, a, b, greater),
        lambda g, y, a, b: _share(g, b, a, greater),
    ),
    latex=r"\max({0}, {1})",
    note="At a tie each operand receives half of the cotangent. NaN wins. Of two zeros that "
    "differ in sign either may be returned.",
    domains=(Domain(-2.0, -0.1), Domain(0.1, 2.0)),
    analytic=lambda a, b: np.where(a.real >= b.real, a, b),
)

minimum_p: Primitive = elementwise(
    "minimum",
    accepts=ANY,
    reference=np.minimum,
    scalar=lambda k, a, b: k.select(k.bit_or(k.less(a, b), k.bit_not(k.equal(a, a))), a, b),
    vjp=(
        lambda g, y, a, b: _share(g, a, b, less),
        lambda g, y, a, b: _share(g, b, a, less),
    ),
    latex=r"\min({0}, {1})",
    note="At a tie each operand receives half of the cotangent. NaN wins. Of two zeros that "
    "differ in sign either may be returned.",
    domains=(Domain(-2.0, -0.1), Domain(0.1, 2.0)),
    analytic=lambda a, b: np.where(a.real <= b.real, a, b),
)


def _astype_aval(x: Aval, *, dtype: DType) -> Aval:
    return aval_of(x.shape, dtype)


def _astype_vjp(g: Tensor, y: Tensor, x: Tensor, *, dtype: DType) -> Tensor | None:
    return cast(g, x.dtype) if kind_of(x.dtype) == "f" and kind_of(dtype) == "f" else None


astype_p: Primitive = register(
    Primitive(
        name="astype",
        kind="elementwise",
        aval=_astype_aval,
        reference=lambda x, dtype: x.astype(dtype),
        scalar=lambda k, x, dtype: k.cast(x, dtype),
        vjp=(_astype_vjp,),
        batch=batch_elementwise,
        latex=r"\mathrm{{{dtype}}}({0})",
        note="Floats become integers by truncation. Only a conversion among floats carries a "
        "gradient.",
        samples=(Sample(((2, 3),), {"dtype": np.dtype(np.float64)}),),
        analytic=lambda x, dtype: x if kind_of(dtype) == "f" else x.real.astype(dtype),
    )
)

stop_gradient_p: Primitive = elementwise(
    "stop_gradient",
    accepts=ANY,
    reference=lambda x: x,
    scalar=lambda k, x: x,
    vjp=(Zero("the user asked that no gradient flow here"),),
    latex=r"\mathrm{{stop}}({0})",
    note="The identity, with derivative 0.",
    analytic=lambda x: x.real,
)

barrier_p: Primitive = elementwise(
    "barrier",
    accepts=ANY,
    reference=lambda x: x,
    scalar=lambda k, x: x,
    vjp=(lambda g, y, x: g,),
    latex="{0}",
    note="The identity; clean-up passes do not look through it. mg.checkpoint puts it before what "
    "is computed a second time, which would else be merged with the first.",
    analytic=True,
)

negative: Unary = unary_function(neg_p, "Return -x.")
sign: Unary = unary_function(sign_p, "Return the sign of x: -1, 0 or 1.")
add: Binary = binary_function(add_p, "Return x1 + x2.")
subtract: Binary = binary_function(sub_p, "Return x1 - x2.")
multiply: Binary = binary_function(mul_p, "Return x1 * x2.")
floor_divide: Binary = binary_function(floor_divide_p, "Return x1 // x2, rounded down.")
remainder: Binary = binary_function(remainder_p, "Return x1 modulo x2, with the sign of x2.")
maximum: Binary = binary_function(maximum_p, "Return the larger of x1 and x2.")
minimum: Binary = binary_function(minimum_p, "Return the smaller of x1 and x2.")
stop_gradient: Unary = unary_function(stop_gradient_p, "Return x; no gradient flows back.")
barrier: Unary = unary_function(barrier_p, "Return x; clean-up passes do not look through it.")
_abs: Unary = unary_function(abs_p, "Return the absolute value of x.")
_floor, _ceil = unary_function(floor_p, ""), unary_function(ceil_p, "")
_trunc, _round = unary_function(trunc_p, ""), unary_function(round_p, "")
_divide: Binary = binary_function(div_p, "")


def abs(x: ArrayLike) -> Tensor:
    """Return the absolute value of x; its derivative at 0 is taken as 0."""
    return _abs(x)


def _whole(function: Unary, x: ArrayLike) -> Tensor:
    x = as_tensor(x)
    return function(x) if kind_of(x.dtype) == "f" else x


def floor(x: ArrayLike) -> Tensor:
    """Return the largest whole number not above x."""
    return _whole(_floor, x)


def ceil(x: ArrayLike) -> Tensor:
    """Return the smallest whole number not below x."""
    return _whole(_ceil, x)


def trunc(x: ArrayLike) -> Tensor:
    """Return x rounded towards zero."""
    return _whole(_trunc, x)


def round(x: ArrayLike) -> Tensor:
    """Return x rounded to the nearest whole number, halves to even."""
    return _whole(_round, x)


def as_float(x: ArrayLike) -> ArrayLike:
    """Return an operand with integers and booleans converted to the default floating dtype."""
    if isinstance(x, Tensor) or not is_number(x):
        x = as_tensor(x)
        return x if kind_of(x.dtype) == "f" else cast(x, get_default_dtype())
    return float(x)


def as_floats(x1: ArrayLike, x2: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Return two operands, of which at least one is floating.

    An integer one beside a floating one is left to the door, which gives it that one's
    dtype; only if neither is floating are they converted to the default.
    """
    a = x1 if is_number(x1) else as_tensor(x1)
    b = x2 if is_number(x2) else as_tensor(x2)
    if _is_floating(a) or _is_floating(b):
        return (float(a) if is_number(a) else a), (float(b) if is_number(b) else b)
    return as_float(a), as_float(b)


def _is_floating(x: ArrayLike) -> bool:
    return isinstance(x, Tensor) and kind_of(x.dtype) == "f"


def divide(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return x1 / x2. Integers are converted to the default floating dtype.

    Division by zero gives an infinity or NaN, as IEEE 754 says.
    """
    return _divide(*as_floats(x1, x2))


def square(x: ArrayLike) -> Tensor:
    """Return x * x."""
    x = as_tensor(x)
    return multiply(x, x)


def astype(
    x: ArrayLike, dtype: DTypeLike, *, copy: bool = True, device: str | None = None
) -> Tensor:
    """Return x converted to ``dtype``; tensors never alias, so ``copy`` changes nothing."""
    found = cast(as_tensor(x), as_dtype(dtype))
    return found if device in (None, found.device) else functions["to"](found, device)


def clip(x: ArrayLike, min: ArrayLike = None, max: ArrayLike = None) -> Tensor:
    """Return x limited to the interval from ``min`` to ``max``; NaN stays.

    The derivative is 1 inside and at the bounds, 0 outside.
    """
    t = as_tensor(x)
    if min is not None:
        t = where(less(t, min), min, t)
    if max is not None:
        t = where(greater(t, max), max, t)
    return t


def signbit(x: ArrayLike) -> Tensor:
    """Return whether x is negative, the negative zero included; NaN is not."""
    x = as_tensor(x)
    return less(x, 0) | (equal(x, 0) & less(divide(1.0, x), 0))
