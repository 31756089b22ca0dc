"""Constructors, one per kind of primitive, so that no record has a field that does not apply.

Each fills in what follows from the kind: the type rule's shape part, and how to batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, TypeAlias, TypeVar

from minigrad.core.apply import apply
from minigrad.core.aval import Aval, aval
from minigrad.core.door import binary, spread, unary
from minigrad.core.primitive import (
    REAL,
    Domain,
    Each,
    Kind,
    Primitive,
    Rule,
    Sample,
    Zero,
    check_kind,
    register,
)
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DType
from minigrad.errors import DtypeError, ShapeError
from minigrad.shapes import Axes, axes_of, axis_of

__all__ = [
    "DISCRETE",
    "FLAT_STEP",
    "ArrayLike",
    "Binary",
    "Unary",
    "axes_in",
    "axis_in",
    "batch_elementwise",
    "binary_function",
    "elementwise",
    "same_dtype",
    "structural",
    "unary_function",
]

#: What functions accept where they need a tensor: tensors, arrays, numbers, nested lists.
ArrayLike: TypeAlias = Any
F = TypeVar("F", bound=Callable[..., Tensor])
Unary: TypeAlias = Callable[[ArrayLike], Tensor]
Binary: TypeAlias = Callable[[ArrayLike, ArrayLike], Tensor]

FLAT_STEP = Zero("piecewise constant: the derivative is 0 wherever it exists")
DISCRETE = Zero("integers and booleans have no derivative")


def batch_elementwise(
    primitive: Primitive,
    operands: Sequence[Tensor],
    batched: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Tensor:
    """Batch an elementwise primitive: repeat the operands that have no batch."""
    whole = [
        x if b else spread(x, (size, *x.shape)) for x, b in zip(operands, batched, strict=True)
    ]
    return apply(primitive, tuple(whole), params)


def elementwise(
    name: str,
    *,
    accepts: str | tuple[DType, ...],
    reference: Callable[..., Any],
    scalar: Callable[..., Any],
    vjp: tuple[Rule | Zero, ...],
    latex: str,
    note: str,
    domains: tuple[Domain, ...] = (REAL,),
    result: DType | None = None,
    analytic: Any = False,
) -> Primitive:
    """Register a function applied to each element of operands of one shape and dtype.

    ``accepts`` lists NumPy's kind letters, or dtypes. ``result`` is the dtype of the
    result where that is not the operands'.
    """
    arity, kinds = len(vjp), isinstance(accepts, str)

    def rule(x: Aval, *others: Aval) -> Aval:
        for other in others:
            if other is not x:
                _differ(name, x, other)
        if (x.kind if kinds else x.dtype) not in accepts:
            check_kind(name, x, accepts)
        return x if result is None else aval(x.shape, result)

    domains = domains * arity if len(domains) == 1 else domains
    return register(
        Primitive(
            name=name,
            kind="elementwise",
            aval=rule,
            reference=reference,
            vjp=vjp,
            batch=batch_elementwise,
            latex=latex,
            note=note,
            scalar=scalar,
            analytic=analytic,
            samples=(Sample(((2, 3),) * arity, {}, domains),),
        )
    )


def _differ(name: str, a: Aval, b: Aval) -> None:
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: shapes {a.shape} and {b.shape} differ",
            rule="an elementwise primitive takes operands of one shape",
            fix="broadcast first",
        )
    raise DtypeError(f"{name}: dtypes {a.dtype} and {b.dtype} differ", fix="cast one operand")


def structural(
    name: str,
    kind: Kind,
    *,
    aval: Callable[..., Aval],
    reference: Callable[..., Any],
    vjp: tuple[Rule | Zero, ...] | Each,
    batch: Callable[..., Tensor],
    latex: str,
    note: str,
    samples: tuple[Sample, ...],
    analytic: Any = True,
) -> Primitive:
    """Register a primitive that looks at the whole array: a reduction, a movement, ..."""
    return register(
        Primitive(
            name=name,
            kind=kind,
            aval=aval,
            reference=reference,
            vjp=vjp,
            batch=batch,
            latex=latex,
            note=note,
            samples=samples,
            analytic=analytic,
        )
    )


def axis_in(x: Tensor, axis: SupportsIndex, what: str, extra: int = 0) -> int:
    """Return an axis of x counted from the front; an error shows x.

    ``extra`` axes may be new: ``expand_dims`` accepts one more than there are.
    """
    try:
        return axis_of(axis, x.ndim + extra, what)
    except ShapeError as error:
        error.operands = (x.node.describe(),)
        raise


def axes_in(x: Tensor, axis: int | Sequence[int] | None, what: str) -> Axes:
    """Return the sorted axes of x that are meant, all for None; an error shows x."""
    try:
        return axes_of(axis, x.ndim, what)
    except ShapeError as error:
        error.operands = (x.node.describe(),)
        raise


def same_dtype(name: str, avals: Sequence[Aval]) -> DType:
    """Return the one dtype of the operands; raise DtypeError if there are several."""
    first = avals[0]
    for other in avals[1:]:
        if other.dtype != first.dtype:
            raise DtypeError(
                f"{name}: dtypes {first.dtype} and {other.dtype} differ", fix="cast one operand"
            )
    return first.dtype


def unary_function(primitive: Primitive, summary: str) -> Unary:
    """Return the public function of an elementwise primitive of one operand."""

    def function(x: ArrayLike) -> Tensor:
        return unary(primitive, x)

    return _documented(function, primitive, summary)


def binary_function(primitive: Primitive, summary: str) -> Binary:
    """Return the public function of an elementwise primitive of two operands."""

    def function(x1: ArrayLike, x2: ArrayLike) -> Tensor:
        return binary(primitive, x1, x2)

    return _documented(function, primitive, summary)


_PUBLIC_NAMES = {
    "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative",
}  # fmt: skip


def _documented(function: F, primitive: Primitive, summary: str) -> F:
    name = _PUBLIC_NAMES.get(primitive.name, primitive.name)
    function.__name__ = function.__qualname__ = name
    function.__module__ = "minigrad"
    function.__doc__ = (
        f"{summary}\n\nFormula: ``{primitive.latex}``. Operands broadcast; a Python number adopts\n"
        f"the other operand's dtype. {primitive.note}"
    )
    return function
