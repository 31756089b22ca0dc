"""Reductions other than sum, their positions, and running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.door import as_tensor, cast, full
from minigrad.core.primitive import ANY, NUMERIC, Domain, Primitive, Sample, check_kind
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike, as_dtype, int64, kind_of
from minigrad.errors import ShapeError
from minigrad.shapes import Axes, reduced, size

from .kinds import DISCRETE, ArrayLike, axes_in, axis_in, structural
from .logic import equal
from .movement import cut, pad
from .structural import (
    REDUCTION_SAMPLES,
    permute_dims,
    reduction_aval,
    reduction_batch,
    reshape,
    spread_back,
    sum,
    sum_dtype,
)

AxisLike = int | Sequence[int] | None


def _extremum_vjp(g: Tensor, y: Tensor, x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    """Send the cotangent to the winners; n tied winners receive g / n each.

    At a tie there is no derivative. Sharing is symmetric, and the cotangents of a
    slice still add up to g.
    """
    won = cast(equal(x, spread_back(y, x.shape, axes)), x.dtype)
    each = g / sum(won, axes, keepdims=keepdims)
    return spread_back(each, x.shape, axes) * won


def _extremum(name: str, reference: Any, latex: str) -> Primitive:
    return structural(
        name,
        "reduction",
        aval=_nonempty(name),
        reference=lambda x, axes, keepdims: reference(x, axis=axes, keepdims=keepdims),
        vjp=(_extremum_vjp,),
        batch=reduction_batch,
        latex=latex,
        note="Tied winners share the cotangent equally. NaN wins.",
        samples=(*REDUCTION_SAMPLES, Sample(((0, 3),), {"axes": (1,), "keepdims": False})),
    )


def _nonempty(name: str) -> Any:
    rule = reduction_aval(name, ANY)

    def checked(x: Aval, *, axes: Axes, keepdims: bool) -> Aval:
        if 0 in (x.shape[a] for a in axes):
            raise ShapeError(
                f"{name}: shape {x.shape} has no elements along axes {axes}",
                rule=f"{name} of nothing is not defined",
                fix="check that the batch is not empty",
            )
        return rule(x, axes=axes, keepdims=keepdims)

    return checked


max_p: Primitive = _extremum("max", np.max, r"\max {0}")
min_p: Primitive = _extremum("min", np.min, r"\min {0}")


def _others(x: Tensor, axes: Axes) -> Tensor:
    """Return for each element the product of all others over ``axes``, zeros included.

    The product of what comes before times the product of what comes after, each by
    doubling: log2(n) products, no division, right to any order of derivative.
    """
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = (*kept, *axes)
    flat = reshape(permute_dims(x, order), (*(x.shape[a] for a in kept), -1))
    n, last = flat.shape[-1], flat.ndim - 1
    none = ((0, 0),) * last
    before = pad(cut(flat, last, 0, n - 1), (*none, (1, 0)), constant_values=1.0)
    after = pad(cut(flat, last, 1, n), (*none, (0, 1)), constant_values=1.0)
    step = 1
    while step < n:
        earlier = pad(cut(before, last, 0, n - step), (*none, (step, 0)), constant_values=1.0)
        later = pad(cut(after, last, step, n), (*none, (0, step)), constant_values=1.0)
        before, after, step = before * earlier, after * later, 2 * step
    back = reshape(before * after, tuple(x.shape[a] for a in order))
    return permute_dims(back, tuple(order.index(a) for a in range(x.ndim)))


def _prod_vjp(g: Tensor, y: Tensor, x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    spread = spread_back(g, x.shape, axes)
    return spread * _others(x, axes) if axes and size(x.shape) else spread


prod_p: Primitive = structural(
    "prod",
    "reduction",
    aval=reduction_aval("prod", NUMERIC),
    reference=lambda x, axes, keepdims: np.prod(x, axis=axes, keepdims=keepdims, dtype=x.dtype),
    vjp=(_prod_vjp,),
    batch=reduction_batch,
    latex=r"\prod {0}",
    note="Its derivative is a product of the other elements, so zeros are no exception.",
    samples=(*REDUCTION_SAMPLES, Sample(((0, 3),), {"axes": (0,), "keepdims": False})),
)


def _arg_aval(name: str) -> Any:
    def rule(x: Aval, *, axis: int) -> Aval:
        if x.shape[axis] == 0:
            raise ShapeError(
                f"{name}: shape {x.shape} has no elements along axis {axis}",
                fix="reduce another axis, or leave out the empty case",
            )
        return aval_of(reduced(x.shape, (axis,), keepdims=False), int64)

    return rule


def _next_axis(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], n: int, params: dict[str, Any]
) -> Tensor:
    return apply(p, (xs[0],), {**params, "axis": params["axis"] + 1})


def _arg(name: str, reference: Any, latex: str) -> Primitive:
    return structural(
        name,
        "reduction",
        aval=_arg_aval(name),
        reference=lambda x, axis: reference(x.real, axis=axis),
        vjp=(DISCRETE,),
        batch=_next_axis,
        latex=latex,
        note="The index of the first winner.",
        samples=(
            Sample(((2, 3),), {"axis": 1}),
            Sample(((4,),), {"axis": 0}),
            Sample(((0, 3),), {"axis": 1}),
        ),
    )


argmax_p: Primitive = _arg("argmax", np.argmax, r"\arg\max {0}")
argmin_p: Primitive = _arg("argmin", np.argmin, r"\arg\min {0}")


def _cumulative_aval(x: Aval, *, axis: int, reverse: bool) -> Aval:
    check_kind("cumulative_sum", x, NUMERIC)
    return x


def _cumulative_reference(x: Any, *, axis: int, reverse: bool) -> Any:
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis=axis, dtype=x.dtype)


cumulative_sum_p: Primitive = structural(
    "cumulative_sum",
    "scan",
    aval=_cumulative_aval,
    reference=_cumulative_reference,
    vjp=(
        lambda g, y, x, *, axis, reverse: apply(
            cumulative_sum_p, (g,), {"axis": axis, "reverse": not reverse}
        ),
    ),
    batch=_next_axis,
    latex=r"\mathrm{{cumsum}}({0})",
    note="Runs backwards if ``reverse``; each direction is the other's transpose.",
    samples=(
        Sample(((2, 3),), {"axis": 1, "reverse": False}),
        Sample(((3,),), {"axis": 0, "reverse": True}),
        Sample(((0, 2),), {"axis": 0, "reverse": False}),
    ),
)


def _argsort_aval(x: Aval, *, axis: int, descending: bool) -> Aval:
    return aval_of(x.shape, int64)


def _argsort_reference(x: Any, *, axis: int, descending: bool) -> Any:
    if not descending:
        return np.argsort(x.real, axis=axis, stable=True)
    order = np.argsort(np.flip(x.real, axis), axis=axis, stable=True)
    return x.shape[axis] - 1 - np.flip(order, axis)


argsort_p: Primitive = structural(
    "argsort",
    "indexing",
    aval=_argsort_aval,
    reference=_argsort_reference,
    vjp=(DISCRETE,),
    batch=_next_axis,
    latex=r"\mathrm{{argsort}}({0})",
    note="Stable in both directions. Sorting is this and an indexing, which carries the gradient.",
    samples=(
        Sample(((2, 4),), {"axis": 1, "descending": False}),
        Sample(((5,),), {"axis": 0, "descending": True}, (Domain(0, 3, int64),)),
        Sample(((0,),), {"axis": 0, "descending": False}),
    ),
)

# Public functions -----------------------------------------------------------------


def _reduce(p: Primitive, x: Tensor, axis: AxisLike, keepdims: bool) -> Tensor:
    axes = axes_in(x, axis, p.name)
    return apply(p, (x,), {"axes": axes, "keepdims": keepdims}) if axes else x


def prod(
    x: ArrayLike, axis: AxisLike = None, *, dtype: DTypeLike = None, keepdims: bool = False
) -> Tensor:
    """Return the product over ``axis``, over everything if it is None."""
    x = as_tensor(x)
    x = cast(x, sum_dtype(x.dtype) if dtype is None else as_dtype(dtype))
    return _reduce(prod_p, x, axis, keepdims)


def max(x: ArrayLike, axis: AxisLike = None, *, keepdims: bool = False) -> Tensor:
    """Return the maximum over ``axis``; tied winners share the cotangent; NaN wins."""
    return _reduce(max_p, as_tensor(x), axis, keepdims)


def min(x: ArrayLike, axis: AxisLike = None, *, keepdims: bool = False) -> Tensor:
    """Return the minimum over ``axis``; tied winners share the cotangent; NaN wins."""
    return _reduce(min_p, as_tensor(x), axis, keepdims)


def _truth(p: Primitive, x: ArrayLike, axis: AxisLike, keepdims: bool, empty: bool) -> Tensor:
    """Return any or all, as the maximum or minimum of booleans."""
    x = as_tensor(x)
    truth = x if kind_of(x.dtype) == "b" else ~equal(x, 0)
    axes = axes_in(x, axis, p.name)
    if 0 in (x.shape[a] for a in axes):
        return full(empty, reduced(x.shape, axes, keepdims), truth.dtype)
    return _reduce(p, truth, axis, keepdims)


def any(x: ArrayLike, axis: AxisLike = None, *, keepdims: bool = False) -> Tensor:
    """Return whether any element over ``axis`` is true (not zero)."""
    return _truth(max_p, x, axis, keepdims, empty=False)


def all(x: ArrayLike, axis: AxisLike = None, *, keepdims: bool = False) -> Tensor:
    """Return whether all elements over ``axis`` are true (not zero)."""
    return _truth(min_p, x, axis, keepdims, empty=True)


def _position(p: Primitive, x: ArrayLike, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if axis is None:
        found = apply(p, (reshape(x, -1),), {"axis": 0})
        return reshape(found, (1,) * x.ndim) if keepdims else found
    at = axis_in(x, axis, p.name)
    found = apply(p, (x,), {"axis": at})
    return reshape(found, reduced(x.shape, (at,), keepdims=True)) if keepdims else found


def argmax(x: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Return the index of the first maximum along ``axis``, in the flat array if it is None."""
    return _position(argmax_p, x, axis, keepdims)


def argmin(x: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Return the index of the first minimum along ``axis``, in the flat array if it is None."""
    return _position(argmin_p, x, axis, keepdims)


def cumulative_sum(
    x: ArrayLike,
    /,
    *,
    axis: int | None = None,
    dtype: DTypeLike = None,
    include_initial: bool = False,
) -> Tensor:
    """Return the running sum along ``axis``, which may be left out for one axis.

    ``include_initial`` puts a 0 in front.
    """
    x = as_tensor(x)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(
                f"cumulative_sum: shape {x.shape} has {x.ndim} axes, so the axis must be named",
                fix="pass axis=",
            )
        axis = 0
    at = axis_in(x, axis, "cumulative_sum")
    x = cast(x, sum_dtype(x.dtype) if dtype is None else as_dtype(dtype))
    total = apply(cumulative_sum_p, (x,), {"axis": at, "reverse": False})
    if include_initial:
        total = pad(total, [(int(a == at), 0) for a in range(x.ndim)])
    return total


def argsort(
    x: ArrayLike, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """Return the indices that sort x along ``axis``; equal elements keep their order."""
    x = as_tensor(x)
    at = axis_in(x, axis, "argsort")
    return apply(argsort_p, (x,), {"axis": at, "descending": descending})
