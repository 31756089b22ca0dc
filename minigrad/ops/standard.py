"""What else the Python Array API standard has: questions about dtypes, counts, differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core.door import as_tensor, cast, is_number
from minigrad.core.tensor import Tensor
from minigrad.dtypes import (
    DType,
    DTypeLike,
    as_dtype,
    get_default_dtype,
    int64,
    kind_of,
    limits,
    wide,
)
from minigrad.dtypes import result_type as common
from minigrad.errors import DtypeError, ShapeError

from .arithmetic import subtract
from .kinds import ArrayLike, axis_in
from .logic import not_equal
from .movement import concat, cut, pad
from .reductions import AxisLike
from .structural import sum, sum_dtype

__all__ = [
    "can_cast", "count_nonzero", "cumulative_prod", "diff", "finfo", "iinfo", "isdtype",
    "positive", "result_type",
]  # fmt: skip


def _dtype_of(x: Any) -> DType:
    return x.dtype if isinstance(x, Tensor | np.ndarray) else as_dtype(x)


def finfo(type: Any, /) -> Any:
    """Return the limits of a floating dtype, or of a tensor's: bits, eps, max, min, ..."""
    dtype = _dtype_of(type)
    if kind_of(dtype) != "f":
        raise DtypeError(f"finfo: {dtype} is not floating", fix="use mg.iinfo for integers")
    return limits(dtype)


def iinfo(type: Any, /) -> np.iinfo[Any]:
    """Return the limits of an integer dtype, or of a tensor's: bits, max, min."""
    dtype = _dtype_of(type)
    if kind_of(dtype) not in "iu":
        raise DtypeError(f"iinfo: {dtype} is not an integer dtype", fix="use mg.finfo for floats")
    return np.iinfo(dtype)


def isdtype(dtype: DTypeLike, kind: Any) -> bool:
    """Return whether a dtype is of a kind: a dtype, "bool", "integral", "real floating", ..."""
    found = as_dtype(dtype)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    known = wide(found)  # NumPy knows the kinds of its own dtypes only
    return any(np.isdtype(known, k) if isinstance(k, str) else as_dtype(k) == found for k in kinds)


def can_cast(from_: Any, to: DTypeLike, /) -> bool:
    """Return whether a dtype, or a tensor's, promotes to ``to`` without loss of its kind."""
    return common(_dtype_of(from_), as_dtype(to)) == as_dtype(to)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """Return the dtype in which operands meet; Python numbers adopt the others' where they can."""
    numbers = [x for x in arrays_and_dtypes if is_number(x)]
    given = [_dtype_of(x) for x in arrays_and_dtypes if not is_number(x)]
    if not given:
        raise DtypeError("result_type: needs at least one tensor or dtype", fix="pass one")
    found = common(*given)
    if kind_of(found) != "f" and any(type(x) is float for x in numbers):
        return get_default_dtype()
    return int64 if kind_of(found) == "b" and any(type(x) is int for x in numbers) else found


def positive(x: ArrayLike, /) -> Tensor:
    """Return +x, which is x."""
    return as_tensor(x)


def count_nonzero(x: ArrayLike, /, *, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """Return how many elements over ``axis`` are not zero; NaN is not."""
    return sum(cast(not_equal(x, 0), int64), axis, keepdims=keepdims)


def diff(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Tensor:
    """Return the differences of neighbours along ``axis``, taken ``n`` times."""
    t = as_tensor(x)
    at = axis_in(t, axis, "diff")
    if n < 0:
        raise ShapeError(f"diff: n = {n} is negative", fix="take at least 0 differences")
    ends = [e for e in (prepend, t, append) if e is not None]
    if len(ends) > 1:
        t = concat(ends, axis=at)
    for _ in range(n):
        size = t.shape[at]
        later, earlier = cut(t, at, min(1, size), size), cut(t, at, 0, max(size - 1, 0))
        t = not_equal(later, earlier) if kind_of(t.dtype) == "b" else subtract(later, earlier)
    return t


def cumulative_prod(
    x: ArrayLike,
    /,
    *,
    axis: int | None = None,
    dtype: DTypeLike = None,
    include_initial: bool = False,
) -> Tensor:
    """Return the running product along ``axis``, which may be left out for one axis.

    ``include_initial`` puts a 1 in front. log2(n) products of the whole array, each with
    a copy that is shifted twice as far as the last one.
    """
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise ShapeError(
            f"cumulative_prod: shape {x.shape} has {x.ndim} axes, so the axis must be named",
            operands=[x.node.describe()],
            fix="pass axis=",
        )
    at = axis_in(x, 0 if axis is None else axis, "cumulative_prod")
    x = cast(x, sum_dtype(x.dtype) if dtype is None else as_dtype(dtype))
    n, shift = x.shape[at], 1
    while shift < n:
        x = x * _after_ones(cut(x, at, 0, n - shift), at, shift)
        shift *= 2
    return _after_ones(x, at, 1) if include_initial else x


def _after_ones(x: Tensor, axis: int, n: int) -> Tensor:
    return pad(x, [(n if a == axis else 0, 0) for a in range(x.ndim)], constant_values=1)
