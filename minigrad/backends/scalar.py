"""The scalar dialect written for NumPy: a primitive's scalar code, run on whole arrays.

The code of a primitive is written once, for LLVM IR and CUDA C. This third writer runs it
on any machine, so that it can be compared with the primitive's independent ``reference``.
It defines what the other two must do: integers wrap, an integer divided by 0 is 0, and
a float that an integer cannot hold becomes an unspecified one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from minigrad.core.dialect import Dialect
from minigrad.core.primitive import Primitive
from minigrad.dtypes import Array, DType, kind_of, uint32
from minigrad.errors import DtypeError, GraphInvalid
from minigrad.ops.special import erf_reference

__all__ = ["FUNCTIONS", "NUMPY", "NumpyDialect", "run_scalar"]


def _power(a: Array, b: Array) -> Array:
    """Return a to the power b; for integers by squaring, wrapping, with b not negative."""
    if kind_of(a.dtype) == "f":
        return np.power(a, b)
    result, base, rest = np.ones_like(a), a, b
    while np.any(rest > 0):
        odd = (rest & rest.dtype.type(1)).astype(np.bool_)
        result = np.where(odd, result * base, result)
        base, rest = base * base, rest >> rest.dtype.type(1)
    return result


#: What ``Dialect.call`` may name. A writer of another language has the same table.
FUNCTIONS: Final[dict[str, Callable[..., Array]]] = {
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "copysign": np.copysign,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": erf_reference,
    "exp": np.exp,
    "expm1": np.expm1,
    "fabs": np.fabs,
    "floor": np.floor,
    "fmod": np.fmod,
    "log": np.log,
    "log1p": np.log1p,
    "pow": _power,
    "rint": np.rint,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
    "trunc": np.trunc,
}


class NumpyDialect:
    """The writer: an operation of the dialect is a NumPy operation on arrays of one dtype."""

    def const(self, value: float, like: Array) -> Array:
        """Return a literal with the dtype of ``like``, without axes."""
        return np.asarray(value, like.dtype)

    def dtype(self, x: Array) -> DType:
        """Return the dtype of a value."""
        return x.dtype

    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""
        return np.asarray(np.add(a, b))

    def sub(self, a: Array, b: Array) -> Array:
        """Return a - b."""
        return np.asarray(np.subtract(a, b))

    def mul(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        return np.asarray(np.multiply(a, b))

    def div(self, a: Array, b: Array) -> Array:
        """Return a / b; for integers rounded to zero, 0 for b = 0, and wrapping for -b = 1."""
        if kind_of(a.dtype) == "f":
            return np.asarray(np.divide(a, b))
        down = np.floor_divide(a, b)  # 0 where b is 0
        apart = (a < 0) != (b < 0)
        inexact = down * b != a
        return np.asarray(np.where((b != 0) & apart & inexact, down + down.dtype.type(1), down))

    def neg(self, a: Array) -> Array:
        """Return -a."""
        return np.asarray(np.negative(a))

    def equal(self, a: Array, b: Array) -> Array:
        """Return a == b."""
        return np.asarray(np.equal(a, b))

    def less(self, a: Array, b: Array) -> Array:
        """Return a < b."""
        return np.asarray(np.less(a, b))

    def less_equal(self, a: Array, b: Array) -> Array:
        """Return a <= b."""
        return np.asarray(np.less_equal(a, b))

    def select(self, condition: Array, a: Array, b: Array) -> Array:
        """Return a where the condition holds, else b."""
        return np.where(condition, a, b)

    def bit_and(self, a: Array, b: Array) -> Array:
        """Return a & b."""
        return np.asarray(np.bitwise_and(a, b))

    def bit_or(self, a: Array, b: Array) -> Array:
        """Return a | b."""
        return np.asarray(np.bitwise_or(a, b))

    def bit_xor(self, a: Array, b: Array) -> Array:
        """Return a ^ b."""
        return np.asarray(np.bitwise_xor(a, b))

    def bit_not(self, a: Array) -> Array:
        """Return ~a."""
        return np.asarray(np.invert(a))

    def shift_left(self, a: Array, b: Array) -> Array:
        """Return a << b."""
        return np.asarray(np.left_shift(a, b))

    def shift_right(self, a: Array, b: Array) -> Array:
        """Return a >> b."""
        return np.asarray(np.right_shift(a, b))

    def mulhi(self, a: Array, b: Array) -> Array:
        """Return the high 32 bits of the product, from products of 16-bit halves."""
        if a.dtype != uint32 or b.dtype != uint32:
            raise DtypeError(f"mulhi: takes uint32, got {a.dtype} and {b.dtype}")
        half, low = np.uint32(16), np.uint32(0xFFFF)
        a0, a1, b0, b1 = a & low, a >> half, b & low, b >> half
        middle = a1 * b0 + (a0 * b0 >> half)  # at most 2**32 - 2**16
        other = a0 * b1 + (middle & low)
        return np.asarray(a1 * b1 + (middle >> half) + (other >> half))

    def cast(self, a: Array, dtype: DType) -> Array:
        """Return a converted; floats to integers truncate."""
        return np.asarray(a.astype(dtype))

    def call(self, name: str, *args: Array) -> Array:
        """Return a function of ``FUNCTIONS``."""
        return np.asarray(FUNCTIONS[name](*args))


NUMPY: Final[Dialect] = NumpyDialect()


def run_scalar(primitive: Primitive, *arrays: Array, **params: Any) -> Array:
    """Return what a primitive's scalar code computes, for every element of the arrays.

    Raises
    ------
    GraphInvalid
        If the primitive has no scalar code: it is not elementwise.
    """
    if primitive.scalar is None:
        raise GraphInvalid(f"{primitive.name} is not elementwise: it has no scalar code")
    with np.errstate(all="ignore"):
        result: Array = primitive.scalar(NUMPY, *arrays, **params)
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return np.array(np.broadcast_to(result, shape))
