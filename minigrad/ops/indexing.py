"""Taking by index and adding by index, which are transposes of each other."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.door import as_tensor
from minigrad.core.primitive import (
    INTEGER,
    INTEGERS,
    NUMERIC,
    REAL,
    Primitive,
    Sample,
    check_kind,
    register,
)
from minigrad.core.tensor import Tensor
from minigrad.dtypes import int64, kind_of
from minigrad.errors import DataError, ShapeError
from minigrad.shapes import Shape, broadcast

from .arithmetic import astype
from .creation import iota
from .kinds import DISCRETE, ArrayLike, axis_in, batch_elementwise, structural
from .logic import less, where
from .reductions import argsort
from .structural import broadcast_to, moveaxis, reshape


def _in_range_aval(x: Aval, *, low: int, high: int, what: str) -> Aval:
    check_kind(what, x, INTEGER)
    return x


def _in_range_reference(x: Any, *, low: int, high: int, what: str) -> Any:
    if x.size and (x.min() < low or x.max() >= high):
        wrong = x[(x < low) | (x >= high)]
        raise DataError(
            f"{what}: {wrong.ravel()[0]} is out of range, {wrong.size} of {x.size} are",
            rule=f"from {low} to {high - 1}",
            fix="check the labels or indices, and the number of classes or rows",
        )
    return x


in_range_p: Primitive = register(
    Primitive(
        name="in_range",
        kind="elementwise",
        aval=_in_range_aval,
        reference=_in_range_reference,
        scalar=lambda k, x, low, high, what: x,
        vjp=(DISCRETE,),
        batch=batch_elementwise,
        latex="{0}",
        note="The identity on integers, and an error outside the range: labels and indices are "
        "checked when the graph runs, on every backend.",
        samples=(Sample(((2, 3),), {"low": 0, "high": 7, "what": "label"}, (INTEGERS,)),),
        analytic=True,
    )
)


def in_range(x: Tensor, low: int, high: int, what: str) -> Tensor:
    """Return integers after checking, at run time, that each is at least low and below high."""
    return apply(in_range_p, (x,), {"low": low, "high": high, "what": what})


def _take_aval(x: Aval, index: Aval, *, axis: int) -> Aval:
    check_kind("take", index, INTEGER)
    return aval_of((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), x.dtype)


def _take_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    """Batch a gather; with an index for each element of the batch, rows are numbered through.

    The numbers may be too large for the dtype of the index: they are int64.
    """
    (x, index), axis = xs, params["axis"]
    if not batched[1]:
        return apply(p, (x, index), {"axis": axis + 1})
    if not batched[0]:
        return moveaxis(apply(p, (x, index), params), axis, 0)
    n = x.shape[axis + 1]
    rows = moveaxis(x, axis + 1, 1)
    rows = reshape(rows, (size * n, *rows.shape[2:]))
    offset = reshape(iota((size,), 0) * n, (size,) + (1,) * (index.ndim - 1))
    found = apply(p, (rows, astype(index, int64) + offset), {"axis": 0})
    return moveaxis(found, list(range(1, index.ndim)), list(range(axis + 1, axis + index.ndim)))


take_p: Primitive = structural(
    "take",
    "indexing",
    aval=_take_aval,
    reference=lambda x, index, axis: np.take(x, index, axis=axis),
    vjp=(
        lambda g, y, x, index, *, axis: apply(
            scatter_add_p, (g, index), {"axis": axis, "n": x.shape[axis]}
        ),
        DISCRETE,
    ),
    batch=_take_batch,
    latex="{0}_{{{1}}}",
    note="Indices from 0, in range. Its transpose is scatter_add.",
    samples=(
        Sample(((7, 2), (3,)), {"axis": 0}, (REAL, INTEGERS)),
        Sample(((2, 7), (2, 2)), {"axis": 1}, (REAL, INTEGERS)),
        Sample(((7,), ()), {"axis": 0}, (REAL, INTEGERS)),
        Sample(((7, 2), (0,)), {"axis": 0}, (REAL, INTEGERS)),
    ),
)


def _scatter_aval(g: Aval, index: Aval, *, axis: int, n: int) -> Aval:
    check_kind("scatter_add", g, NUMERIC)
    check_kind("scatter_add", index, INTEGER)
    if g.shape[axis : axis + index.ndim] != index.shape:
        raise ShapeError(
            f"scatter_add: shape {g.shape} does not fit indices of shape {index.shape}"
        )
    return aval_of((*g.shape[:axis], n, *g.shape[axis + index.ndim :]), g.dtype)


def _scatter_reference(g: Any, index: Any, *, axis: int, n: int) -> Any:
    shape = (n, *g.shape[:axis], *g.shape[axis + index.ndim :])
    result = np.zeros_like(g, shape=shape)
    rows = np.moveaxis(g, range(axis, axis + index.ndim), range(index.ndim))
    np.add.at(result, index, rows)
    return np.moveaxis(result, 0, axis)


def _scatter_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    (g, index), axis, n = xs, params["axis"], params["n"]
    if not batched[1]:
        return apply(p, (g, index), {"axis": axis + 1, "n": n})
    if not batched[0]:
        g = broadcast_to(g, (size, *g.shape))
    k = index.ndim - 1
    rows = moveaxis(g, list(range(axis + 1, axis + 1 + k)), list(range(1, 1 + k)))
    offset = reshape(iota((size,), 0) * n, (size,) + (1,) * k)
    total = apply(p, (rows, astype(index, int64) + offset), {"axis": 0, "n": size * n})
    return moveaxis(reshape(total, (size, n, *total.shape[1:])), 1, axis + 1)


scatter_add_p: Primitive = structural(
    "scatter_add",
    "indexing",
    aval=_scatter_aval,
    reference=_scatter_reference,
    vjp=(
        lambda g, y, x, index, *, axis, n: apply(take_p, (g, index), {"axis": axis}),
        DISCRETE,
    ),
    batch=_scatter_batch,
    latex=r"\mathrm{{scatter}}({0}, {1})",
    note="Adds rows into zeros; rows with one index add up. Its transpose is take.",
    samples=(
        Sample(((3, 2), (3,)), {"axis": 0, "n": 7}, (REAL, INTEGERS)),
        Sample(((2, 2, 2), (2, 2)), {"axis": 1, "n": 7}, (REAL, INTEGERS)),
        Sample(((2,), ()), {"axis": 0, "n": 7}, (REAL, INTEGERS)),
        Sample(((0, 2), (0,)), {"axis": 0, "n": 7}, (REAL, INTEGERS)),
    ),
)

# Public functions -----------------------------------------------------------------


def checked_index(index: Tensor, n: int, what: str) -> Tensor:
    """Return indices counted from 0, after checking them; negative ones count from the end."""
    if kind_of(index.dtype) == "u":
        return in_range(index, 0, n, what)
    index = astype(in_range(index, -n, n, what), int64)  # a narrow one could not hold index + n
    return where(less(index, 0), index + n, index)


def take(x: ArrayLike, indices: ArrayLike, *, axis: int | None = None) -> Tensor:
    """Return the slices of x at ``indices`` along ``axis``, which one axis may leave out.

    Negative indices count from the end.

    Raises
    ------
    DataError
        If an index is out of range.
    """
    x, index = as_tensor(x), _as_index(indices, "take")
    if axis is None and x.ndim != 1:
        raise ShapeError(
            f"take: shape {x.shape} has {x.ndim} axes, so the axis must be named",
            operands=[x.node.describe()],
            fix="pass axis=",
        )
    at = axis_in(x, axis or 0, "take")
    return apply(take_p, (x, checked_index(index, x.shape[at], "index")), {"axis": at})


def _as_index(indices: ArrayLike, what: str) -> Tensor:
    if isinstance(indices, Tensor):
        index = indices
    else:
        index = as_tensor(np.asarray(indices, None if np.size(indices) else np.int64))
    check_kind(what, index.node.aval, INTEGER)
    return index


def take_along_axis(x: ArrayLike, indices: ArrayLike, /, *, axis: int = -1) -> Tensor:
    """Return one element of x for each index along ``axis``; other axes run along.

    Both have as many axes; those but ``axis`` broadcast.

    Raises
    ------
    DataError
        If an index is out of range.
    """
    x, index = as_tensor(x), _as_index(indices, "take_along_axis")
    at = axis_in(x, axis, "take_along_axis")
    try:
        if index.ndim != x.ndim:
            raise ShapeError(f"{x.ndim} and {index.ndim} axes")
        shape = broadcast(_but(x.shape, at, 1), _but(index.shape, at, 1))
    except ShapeError as error:
        raise ShapeError(
            f"take_along_axis: shapes {x.shape} and {index.shape} do not fit: {error.message}",
            operands=[x.node.describe(), index.node.describe()],
            rule=f"the same number of axes; those but axis {at} broadcast",
            fix="give the indices the shape of x, save along the axis",
        ) from None
    x = broadcast_to(x, _but(shape, at, x.shape[at]))
    index = broadcast_to(index, _but(shape, at, index.shape[at]))
    index = astype(checked_index(index, x.shape[at], "index"), int64)
    shape = index.shape
    flat = index * prod(x.shape[at + 1 :])
    for a, n in enumerate(shape):
        if a != at and n > 1:
            flat = flat + iota(shape, a) * prod(x.shape[a + 1 :])
    return apply(take_p, (reshape(x, -1), flat), {"axis": 0})


def _but(shape: Shape, axis: int, n: int) -> Shape:
    """Return a shape with another size of one axis."""
    return (*shape[:axis], n, *shape[axis + 1 :])


def sort(
    x: ArrayLike, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """Return x sorted along ``axis``; the gradient follows each element to its place."""
    x = as_tensor(x)
    order = argsort(x, axis=axis, descending=descending)
    return take_along_axis(x, order, axis=axis)


def repeat(x: ArrayLike, repeats: int | ArrayLike, /, *, axis: int | None = None) -> Tensor:
    """Return x with each element repeated along ``axis``; flat if it is None.

    ``repeats`` is one number, or one for each element of the axis.
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, -1), 0
    at = axis_in(x, axis, "repeat")
    if not isinstance(repeats, int):
        counts = np.asarray(repeats)
        if counts.ndim == 1 and len(counts) not in (1, x.shape[at]):
            raise ShapeError(
                f"repeat: {len(counts)} repeats for an axis of size {x.shape[at]}",
                fix="give one number, or one for each element of the axis",
            )
        if counts.size and counts.min() < 0:
            raise ShapeError(
                f"repeat: {counts.min()} repeats of an element",
                fix="repeat each element at least 0 times",
            )
        return take(x, np.repeat(np.arange(x.shape[at]), counts), axis=at)
    spaced = reshape(x, (*x.shape[: at + 1], 1, *x.shape[at + 1 :]))
    wide = broadcast_to(spaced, (*x.shape[: at + 1], repeats, *x.shape[at + 1 :]))
    return reshape(wide, (*x.shape[:at], x.shape[at] * repeats, *x.shape[at + 1 :]))
