"""Comparisons, choice, bits and booleans."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.door import as_tensor, beside, full, is_number, meet
from minigrad.core.primitive import (
    ANY,
    BITS,
    BOOLEANS,
    INTEGER,
    INTEGERS,
    REAL,
    WORDS,
    Domain,
    Primitive,
    Sample,
    check_kind,
    register,
)
from minigrad.core.tensor import Tensor
from minigrad.dtypes import bool as bool_
from minigrad.dtypes import get_default_dtype, kind_of, uint32
from minigrad.errors import ShapeError

from .kinds import (
    DISCRETE,
    ArrayLike,
    Binary,
    Unary,
    batch_elementwise,
    binary_function,
    elementwise,
    same_dtype,
    unary_function,
)


def _comparison(name: str, reference: Any, latex: str, note: str) -> Primitive:
    return elementwise(
        name,
        accepts=ANY,
        reference=reference,
        scalar=lambda k, a, b: getattr(k, name)(a, b),
        vjp=(DISCRETE, DISCRETE),
        latex=latex,
        note=note,
        result=bool_,
        analytic=lambda a, b: reference(a.real, b.real),
    )


equal_p: Primitive = _comparison("equal", np.equal, "{0} = {1}", "NaN equals nothing.")
less_p: Primitive = _comparison("less", np.less, "{0} < {1}", "False beside NaN.")
less_equal_p: Primitive = _comparison(
    "less_equal", np.less_equal, r"{0} \le {1}", "False beside NaN."
)


def _where_aval(condition: Aval, a: Aval, b: Aval) -> Aval:
    check_kind("where", condition, "b")
    same_dtype("where", (a, b))
    if not condition.shape == a.shape == b.shape:
        raise ShapeError(
            f"where: shapes {condition.shape}, {a.shape} and {b.shape} differ",
            rule="an elementwise primitive takes operands of one shape",
            fix="broadcast first",
        )
    return a


where_p: Primitive = register(
    Primitive(
        name="where",
        kind="elementwise",
        aval=_where_aval,
        reference=np.where,
        scalar=lambda k, c, a, b: k.select(c, a, b),
        vjp=(
            DISCRETE,
            lambda g, y, c, a, b: where(c, g, 0.0),
            lambda g, y, c, a, b: where(c, 0.0, g),
        ),
        batch=batch_elementwise,
        latex=r"\begin{{cases}} {1} & {0} \\ {2} & \text{{else}} \end{{cases}}",
        note="The branch that is not taken receives no cotangent, but its NaN derivative would: "
        "guard its operand as well.",
        samples=(Sample(((2, 3),) * 3, {}, (BOOLEANS, REAL, REAL)),),
        analytic=True,
    )
)


def _bitwise(name: str, method: str, reference: Any, latex: str) -> Primitive:
    return elementwise(
        name,
        accepts=BITS,
        reference=reference,
        scalar=lambda k, a, b: getattr(k, method)(a, b),
        vjp=(DISCRETE, DISCRETE),
        latex=latex,
        note="Logical for booleans, bit by bit for integers.",
        domains=(INTEGERS,),
        analytic=True,
    )


bitwise_and_p: Primitive = _bitwise("bitwise_and", "bit_and", np.bitwise_and, r"{0} \wedge {1}")
bitwise_or_p: Primitive = _bitwise("bitwise_or", "bit_or", np.bitwise_or, r"{0} \vee {1}")
bitwise_xor_p: Primitive = _bitwise("bitwise_xor", "bit_xor", np.bitwise_xor, r"{0} \oplus {1}")

bitwise_invert_p: Primitive = elementwise(
    "bitwise_invert",
    accepts=BITS,
    reference=np.invert,
    scalar=lambda k, x: k.bit_not(x),
    vjp=(DISCRETE,),
    latex=r"\neg {0}",
    note="Logical not for booleans, bit by bit for integers.",
    domains=(INTEGERS,),
    analytic=True,
)


def _shift(name: str, reference: Any, latex: str) -> Primitive:
    method = name.removeprefix("bitwise_").split("_")
    return elementwise(
        name,
        accepts=INTEGER,
        reference=reference,
        scalar=lambda k, a, b: getattr(k, f"shift_{method[0]}")(a, b),
        vjp=(DISCRETE, DISCRETE),
        latex=latex,
        note="The shift must be from 0 to the width less 1.",
        domains=(INTEGERS, Domain(0, 5, INTEGERS.dtype)),
        analytic=True,
    )


left_shift_p: Primitive = _shift("bitwise_left_shift", np.left_shift, r"{0} \ll {1}")
right_shift_p: Primitive = _shift("bitwise_right_shift", np.right_shift, r"{0} \gg {1}")


def _mulhi_reference(a: Any, b: Any) -> Any:
    return ((a.astype(np.uint64) * b) >> np.uint64(32)).astype(np.uint32)


mulhi_p: Primitive = elementwise(
    "mulhi",
    accepts=(uint32,),
    reference=_mulhi_reference,
    scalar=lambda k, a, b: k.mulhi(a, b),
    vjp=(DISCRETE, DISCRETE),
    latex=r"\lfloor {0} \cdot {1} / 2^{{32}} \rfloor",
    note="The high word of a uint32 product; one instruction on a GPU, and half of Philox.",
    domains=(WORDS,),
    analytic=True,
)

equal: Binary = binary_function(equal_p, "Return whether x1 and x2 are equal.")
less: Binary = binary_function(less_p, "Return whether x1 is less than x2.")
less_equal: Binary = binary_function(less_equal_p, "Return whether x1 is at most x2.")
bitwise_and: Binary = binary_function(bitwise_and_p, "Return x1 & x2.")
bitwise_or: Binary = binary_function(bitwise_or_p, "Return x1 | x2.")
bitwise_xor: Binary = binary_function(bitwise_xor_p, "Return x1 ^ x2.")
bitwise_invert: Unary = unary_function(bitwise_invert_p, "Return ~x.")
bitwise_left_shift: Binary = binary_function(left_shift_p, "Return x1 << x2.")
bitwise_right_shift: Binary = binary_function(right_shift_p, "Return x1 >> x2.")
mulhi: Binary = binary_function(mulhi_p, "Return the high 32 bits of the product of two uint32.")


def not_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return whether x1 and x2 differ; true beside NaN."""
    return bitwise_invert(equal(x1, x2))


def greater(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return whether x1 is greater than x2."""
    return less(x2, x1)


def greater_equal(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return whether x1 is at least x2."""
    return less_equal(x2, x1)


def where(condition: ArrayLike, x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return x1 where the condition holds, else x2.

    The operands broadcast. No value leaks from the branch not taken; its derivative does,
    as NaN, if it is infinite there: guard the operand too, as in
    ``where(x > 0, log(where(x > 0, x, 1)), 0)``.
    """
    condition = as_tensor(condition)
    if condition.dtype != bool_:
        condition = not_equal(condition, 0)
    number1, number2 = is_number(x1), is_number(x2)
    if number1 and number2:
        both_bool = type(x1) is bool and type(x2) is bool
        dtype = bool_ if both_bool else get_default_dtype()
        a, b = full(x1, (), dtype), full(x2, (), dtype)
    else:
        a = b = as_tensor(x2 if number1 else x1)
        if number1:
            a = beside(x1, b)
        else:
            b = beside(x2, a)
    if a.dtype != b.dtype:
        a, b = meet("where", a, b)
    if not condition.shape == a.shape == b.shape:
        condition, a, b = meet("where", condition, a, b, dtypes=False)
    return apply(where_p, (condition, a, b))


def _boolean(x: ArrayLike) -> Tensor:
    x = as_tensor(x)
    return x if x.dtype == bool_ else not_equal(x, 0)


def logical_and(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return whether both are true (not zero)."""
    return bitwise_and(_boolean(x1), _boolean(x2))


def logical_or(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return whether at least one is true."""
    return bitwise_or(_boolean(x1), _boolean(x2))


def logical_xor(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return whether exactly one is true."""
    return bitwise_xor(_boolean(x1), _boolean(x2))


def logical_not(x: ArrayLike) -> Tensor:
    """Return whether x is false."""
    return bitwise_invert(_boolean(x))


def isnan(x: ArrayLike) -> Tensor:
    """Return whether x is NaN."""
    x = as_tensor(x)
    return not_equal(x, x)


def isinf(x: ArrayLike) -> Tensor:
    """Return whether x is an infinity."""
    x = as_tensor(x)
    if kind_of(x.dtype) != "f":
        return full(False, x.shape, bool_)
    infinite = full(float("inf"), x.shape, x.dtype)
    return bitwise_or(equal(x, infinite), less_equal(x, full(float("-inf"), x.shape, x.dtype)))


def isfinite(x: ArrayLike) -> Tensor:
    """Return whether x is neither infinite nor NaN."""
    return bitwise_invert(bitwise_or(isnan(x), isinf(x)))
