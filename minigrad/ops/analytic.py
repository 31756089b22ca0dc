"""Powers, exponentials, logarithms, trigonometric and hyperbolic functions, erf."""

from __future__ import annotations

from math import pi

import numpy as np

from minigrad.core.door import cast, is_number
from minigrad.core.primitive import FLOAT, NUMERIC, REAL, Domain, Primitive
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array, get_default_dtype, kind_of
from minigrad.errors import DataError

from .arithmetic import divide, square
from .kinds import ArrayLike, Binary, Unary, binary_function, elementwise, unary_function
from .logic import equal, greater, where
from .special import erf_reference

POSITIVE = Domain(0.3, 3.0)
INSIDE_ONE = Domain(-0.9, 0.9)

sqrt_p: Primitive = elementwise(
    "sqrt",
    accepts=FLOAT,
    reference=np.sqrt,
    scalar=lambda k, x: k.call("sqrt", x),
    vjp=(lambda g, y, x: g * 0.5 / y,),
    latex=r"\sqrt{{{0}}}",
    note="Infinite slope at 0; NaN below.",
    domains=(POSITIVE,),
    analytic=True,
)


def _rsqrt(x: Array) -> Array:
    return np.divide(1.0, np.sqrt(x), dtype=x.dtype)


rsqrt_p: Primitive = elementwise(
    "rsqrt",
    accepts=FLOAT,
    reference=_rsqrt,
    scalar=lambda k, x: k.div(k.const(1, x), k.call("sqrt", x)),
    vjp=(lambda g, y, x: g * (y * y * y) * -0.5,),
    latex=r"{0}^{{-1/2}}",
    note="A primitive of its own because GPUs have one, and because its derivative is short.",
    domains=(POSITIVE,),
    analytic=True,
)

exp_p: Primitive = elementwise(
    "exp",
    accepts=FLOAT,
    reference=np.exp,
    scalar=lambda k, x: k.call("exp", x),
    vjp=(lambda g, y, x: g * y,),
    latex=r"e^{{{0}}}",
    note="Overflows to infinity above about 88.7 in float32 and 709.7 in float64.",
    analytic=True,
)

expm1_p: Primitive = elementwise(
    "expm1",
    accepts=FLOAT,
    reference=np.expm1,
    scalar=lambda k, x: k.call("expm1", x),
    vjp=(lambda g, y, x: g * (y + 1.0),),
    latex=r"e^{{{0}}} - 1",
    note="Exact for small x, where exp(x) - 1 cancels.",
    analytic=True,
)

log_p: Primitive = elementwise(
    "log",
    accepts=FLOAT,
    reference=np.log,
    scalar=lambda k, x: k.call("log", x),
    vjp=(lambda g, y, x: g / x,),
    latex=r"\ln {0}",
    note="-inf at 0, NaN below.",
    domains=(POSITIVE,),
    analytic=True,
)

log1p_p: Primitive = elementwise(
    "log1p",
    accepts=FLOAT,
    reference=np.log1p,
    scalar=lambda k, x: k.call("log1p", x),
    vjp=(lambda g, y, x: g / (x + 1.0),),
    latex=r"\ln(1 + {0})",
    note="Exact for small x.",
    domains=(POSITIVE,),
    analytic=True,
)

sin_p: Primitive = elementwise(
    "sin",
    accepts=FLOAT,
    reference=np.sin,
    scalar=lambda k, x: k.call("sin", x),
    vjp=(lambda g, y, x: g * cos(x),),
    latex=r"\sin {0}",
    note="x in radians.",
    analytic=True,
)

cos_p: Primitive = elementwise(
    "cos",
    accepts=FLOAT,
    reference=np.cos,
    scalar=lambda k, x: k.call("cos", x),
    vjp=(lambda g, y, x: -(g * sin(x)),),
    latex=r"\cos {0}",
    note="x in radians.",
    analytic=True,
)

tan_p: Primitive = elementwise(
    "tan",
    accepts=FLOAT,
    reference=np.tan,
    scalar=lambda k, x: k.call("tan", x),
    vjp=(lambda g, y, x: g * (y * y + 1.0),),
    latex=r"\tan {0}",
    note="x in radians.",
    domains=(Domain(-1.2, 1.2),),
    analytic=True,
)

asin_p: Primitive = elementwise(
    "asin",
    accepts=FLOAT,
    reference=np.arcsin,
    scalar=lambda k, x: k.call("asin", x),
    vjp=(lambda g, y, x: g * rsqrt(1.0 - x * x),),
    latex=r"\arcsin {0}",
    note="NaN outside [-1, 1].",
    domains=(INSIDE_ONE,),
    analytic=True,
)

acos_p: Primitive = elementwise(
    "acos",
    accepts=FLOAT,
    reference=np.arccos,
    scalar=lambda k, x: k.call("acos", x),
    vjp=(lambda g, y, x: -(g * rsqrt(1.0 - x * x)),),
    latex=r"\arccos {0}",
    note="NaN outside [-1, 1].",
    domains=(INSIDE_ONE,),
    analytic=True,
)

atan_p: Primitive = elementwise(
    "atan",
    accepts=FLOAT,
    reference=np.arctan,
    scalar=lambda k, x: k.call("atan", x),
    vjp=(lambda g, y, x: g / (x * x + 1.0),),
    latex=r"\arctan {0}",
    note="Radians, in (-pi/2, pi/2).",
    analytic=True,
)

sinh_p: Primitive = elementwise(
    "sinh",
    accepts=FLOAT,
    reference=np.sinh,
    scalar=lambda k, x: k.call("sinh", x),
    vjp=(lambda g, y, x: g * cosh(x),),
    latex=r"\sinh {0}",
    note="Overflows where exp does.",
    analytic=True,
)

cosh_p: Primitive = elementwise(
    "cosh",
    accepts=FLOAT,
    reference=np.cosh,
    scalar=lambda k, x: k.call("cosh", x),
    vjp=(lambda g, y, x: g * sinh(x),),
    latex=r"\cosh {0}",
    note="Overflows where exp does.",
    analytic=True,
)

tanh_p: Primitive = elementwise(
    "tanh",
    accepts=FLOAT,
    reference=np.tanh,
    scalar=lambda k, x: k.call("tanh", x),
    vjp=(lambda g, y, x: g * (1.0 - y * y),),
    latex=r"\tanh {0}",
    note="Saturates at -1 and 1.",
    analytic=True,
)

asinh_p: Primitive = elementwise(
    "asinh",
    accepts=FLOAT,
    reference=np.arcsinh,
    scalar=lambda k, x: k.call("asinh", x),
    vjp=(lambda g, y, x: g * rsqrt(x * x + 1.0),),
    latex=r"\mathrm{{arsinh}}\,{0}",
    note="Inverse of sinh.",
    analytic=True,
)

acosh_p: Primitive = elementwise(
    "acosh",
    accepts=FLOAT,
    reference=np.arccosh,
    scalar=lambda k, x: k.call("acosh", x),
    vjp=(lambda g, y, x: g * rsqrt(x * x - 1.0),),
    latex=r"\mathrm{{arcosh}}\,{0}",
    note="NaN below 1.",
    domains=(Domain(1.2, 3.0),),
    analytic=True,
)

atanh_p: Primitive = elementwise(
    "atanh",
    accepts=FLOAT,
    reference=np.arctanh,
    scalar=lambda k, x: k.call("atanh", x),
    vjp=(lambda g, y, x: g / (1.0 - x * x),),
    latex=r"\mathrm{{artanh}}\,{0}",
    note="NaN outside [-1, 1].",
    domains=(INSIDE_ONE,),
    analytic=True,
)

atan2_p: Primitive = elementwise(
    "atan2",
    accepts=FLOAT,
    reference=np.arctan2,
    scalar=lambda k, a, b: k.call("atan2", a, b),
    vjp=(
        lambda g, y, a, b: g * b / (a * a + b * b),
        lambda g, y, a, b: -(g * a / (a * a + b * b)),
    ),
    latex=r"\mathrm{{atan2}}({0}, {1})",
    note="The angle of the point (x2, x1), in radians, in [-pi, pi].",
    domains=(POSITIVE, POSITIVE),
)

erf_p: Primitive = elementwise(
    "erf",
    accepts=FLOAT,
    reference=erf_reference,
    scalar=lambda k, x: k.call("erf", x),
    vjp=(lambda g, y, x: g * (exp(-(x * x)) * (2.0 / pi**0.5)),),
    latex=r"\mathrm{{erf}}({0})",
    note="The reference is the C library's.",
)


def _pow_base(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return g b a^(b-1), which is 0 for b = 0 even where a = 0."""
    constant = equal(b, 0)
    return g * where(constant, 0.0, b * pow(a, where(constant, 1.0, b - 1.0)))


def _pow_exponent(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return g y ln a; for a <= 0 the power is defined at isolated exponents only: 0."""
    positive = greater(a, 0)
    return g * where(positive, y * log(where(positive, a, 1.0)), 0.0)


def _pow_reference(a: Array, b: Array) -> Array:
    if kind_of(b.dtype) == "i" and b.size and b.min() < 0:
        raise DataError(
            "pow: an integer to a negative integer power is not an integer",
            fix="convert the base first, e.g. x.astype(mg.float32)",
        )
    return np.power(a, b)


pow_p: Primitive = elementwise(
    "pow",
    accepts=NUMERIC,
    reference=_pow_reference,
    scalar=lambda k, a, b: k.call("pow", a, b),
    vjp=(_pow_base, _pow_exponent),
    latex="{0}^{{{1}}}",
    note="The derivative with respect to the exponent is 0 where the base is not positive.",
    domains=(POSITIVE, REAL),
    analytic=True,
)


sqrt: Unary = unary_function(sqrt_p, "Return the square root of x.")
rsqrt: Unary = unary_function(rsqrt_p, "Return 1 / sqrt(x).")
exp: Unary = unary_function(exp_p, "Return e to the power x.")
expm1: Unary = unary_function(expm1_p, "Return exp(x) - 1, exact for small x.")
log: Unary = unary_function(log_p, "Return the natural logarithm of x.")
log1p: Unary = unary_function(log1p_p, "Return log(1 + x), exact for small x.")
sin: Unary = unary_function(sin_p, "Return the sine of x.")
cos: Unary = unary_function(cos_p, "Return the cosine of x.")
tan: Unary = unary_function(tan_p, "Return the tangent of x.")
asin: Unary = unary_function(asin_p, "Return the inverse sine of x.")
acos: Unary = unary_function(acos_p, "Return the inverse cosine of x.")
atan: Unary = unary_function(atan_p, "Return the inverse tangent of x.")
sinh: Unary = unary_function(sinh_p, "Return the hyperbolic sine of x.")
cosh: Unary = unary_function(cosh_p, "Return the hyperbolic cosine of x.")
tanh: Unary = unary_function(tanh_p, "Return the hyperbolic tangent of x.")
asinh: Unary = unary_function(asinh_p, "Return the inverse hyperbolic sine of x.")
acosh: Unary = unary_function(acosh_p, "Return the inverse hyperbolic cosine of x.")
atanh: Unary = unary_function(atanh_p, "Return the inverse hyperbolic tangent of x.")
atan2: Binary = binary_function(atan2_p, "Return the angle of the point (x2, x1).")
erf: Unary = unary_function(erf_p, "Return the error function of x.")
_pow: Binary = binary_function(pow_p, "")


def pow(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return x1 to the power x2.

    Small whole exponents given as Python numbers become products, so that the derivative
    of ``x ** 2`` at 0 is exact and that of ``x ** 0`` is 0. Integers stay integers, save
    beside a Python exponent that is a float or negative.

    Raises
    ------
    DataError
        If an integer is raised to a negative integer power of an array.
    """
    if not (is_number(x2) and isinstance(x1, Tensor)):
        return _pow(x1, x2)
    inexact = kind_of(x1.dtype) == "f" or x2 < 0 or type(x2) is float
    base = cast(x1, get_default_dtype()) if inexact and kind_of(x1.dtype) != "f" else x1
    if x2 == 2:
        return square(base)
    if x2 == 1:
        return base
    if x2 == 3:
        return square(base) * base
    if inexact:
        if x2 == 0.5:
            return sqrt(base)
        if x2 == -0.5:
            return rsqrt(base)
        if x2 == -1:
            return divide(1.0, base)
    return _pow(base, x2)
