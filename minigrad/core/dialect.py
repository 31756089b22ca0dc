"""The small language in which a primitive's scalar code is written, once.

A rule such as ``lambda k, x: k.mul(x, k.call("exp", x))`` receives a writer ``k``.
Three writers implement this protocol: NumPy (to check a rule anywhere), LLVM IR and
CUDA C. Values are opaque to the rule; a writer knows their dtypes.
"""

from __future__ import annotations

from typing import Any, Protocol

from minigrad.dtypes import DType

__all__ = ["Dialect"]


class Dialect(Protocol):
    """Operations on scalars. Both operands of a binary operation have one dtype."""

    def const(self, value: float, like: Any) -> Any:
        """Return a literal with the dtype of ``like``."""

    def dtype(self, x: Any) -> DType:
        """Return the dtype of a value."""

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b; integers wrap."""

    def sub(self, a: Any, b: Any) -> Any:
        """Return a - b; integers wrap."""

    def mul(self, a: Any, b: Any) -> Any:
        """Return a * b; integers wrap."""

    def div(self, a: Any, b: Any) -> Any:
        """Return a / b for floats; for integers the quotient rounded to zero.

        An integer divided by 0 is 0; the least integer divided by -1 wraps to itself.
        """

    def neg(self, a: Any) -> Any:
        """Return -a."""

    def equal(self, a: Any, b: Any) -> Any:
        """Return a == b; false for NaN."""

    def less(self, a: Any, b: Any) -> Any:
        """Return a < b; false for NaN."""

    def less_equal(self, a: Any, b: Any) -> Any:
        """Return a <= b; false for NaN."""

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a where the condition holds, else b; the other one's NaN does not leak."""

    def bit_and(self, a: Any, b: Any) -> Any:
        """Return a & b, for integers and booleans."""

    def bit_or(self, a: Any, b: Any) -> Any:
        """Return a | b."""

    def bit_xor(self, a: Any, b: Any) -> Any:
        """Return a ^ b."""

    def bit_not(self, a: Any) -> Any:
        """Return ~a; logical not for booleans."""

    def shift_left(self, a: Any, b: Any) -> Any:
        """Return a << b, for b from 0 to the width less 1."""

    def shift_right(self, a: Any, b: Any) -> Any:
        """Return a >> b, for b from 0 to the width less 1; arithmetic for signed integers."""

    def mulhi(self, a: Any, b: Any) -> Any:
        """Return the high 32 bits of the 64-bit product of two uint32."""

    def cast(self, a: Any, dtype: DType) -> Any:
        """Return a converted; floats to integers truncate, and must be in range."""

    def call(self, name: str, *args: Any) -> Any:
        """Return a function of the mathematical library: exp, log, sin, pow, floor, ...

        ``minigrad.backends.scalar.FUNCTIONS`` lists them. ``pow`` also takes integers.
        """
