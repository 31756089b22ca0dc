"""NumPy indexing, basic and by arrays, in terms of slice, flip, reshape and take."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.dtypes import int64, kind_of
from minigrad.errors import DtypeError, ShapeError
from minigrad.shapes import Shape, broadcast

from .arithmetic import astype
from .indexing import checked_index, take_p
from .movement import cut, flip
from .structural import broadcast_to, moveaxis, reshape

__all__ = ["getitem"]


def getitem(x: Tensor, key: Any) -> Tensor:
    """Return ``x[key]`` with NumPy's meaning of integers, slices, ``None``, ``...`` and arrays.

    Raises
    ------
    ShapeError
        If there are too many indices, or an integer is out of range.
    DtypeError
        If an index is neither an integer, a slice nor an array of integers or booleans.
    TraceError
        For a boolean array without a value: the result's shape would depend on it.
    """
    parts = _expanded(x, key if isinstance(key, tuple) else (key,))
    arrays = any(isinstance(p, Tensor) for p in parts)
    shape: list[int] = []  # after slicing, with new axes, without integer axes
    chosen: list[tuple[int, Tensor]] = []  # place in ``shape``, index array
    places: list[int] = []  # positions of array indices in the key, to see whether adjacent
    axis = 0
    for position, part in enumerate(parts):
        if part is None:
            shape.append(1)
            continue
        if part is Ellipsis:  # one that stands for no axes; it still separates index arrays
            continue
        n = x.shape[axis]
        if isinstance(part, slice):
            x = _sliced(x, axis, part)
            shape.append(x.shape[axis])
        elif isinstance(part, Tensor):
            chosen.append((len(shape), part))
            places.append(position)
            shape.append(n)
        elif arrays:  # an integer beside arrays is an array of one index
            chosen.append((len(shape), as_tensor(np.int64(_in_axis(x, part, axis)))))
            places.append(position)
            shape.append(n)
        else:
            i = _in_axis(x, part, axis)
            x = cut(x, axis, i, i + 1)
        axis += 1
    x = reshape(x, shape)
    return _taken(x, chosen, places) if chosen else x


def _expanded(x: Tensor, key: tuple[Any, ...]) -> list[Any]:
    """Return one entry per axis (and per None): ints, slices, index tensors."""
    parts: list[Any] = []
    masks: list[tuple[int, Shape]] = []  # where the indices of a boolean array begin
    for part in key:
        converted, mask = _converted(part)
        if mask is not None:
            masks.append((len(parts), mask))
        parts += converted
    used = sum(1 for p in parts if p is not None and p is not Ellipsis)
    if used > x.ndim:
        raise ShapeError(
            f"too many indices: {used} for shape {x.shape} with {x.ndim} axes",
            operands=[x.node.describe()],
            fix=f"use at most {x.ndim}; None adds an axis",
        )
    dots = [i for i, p in enumerate(parts) if p is Ellipsis]
    if len(dots) > 1:
        raise ShapeError(
            "an index can have only one ellipsis (...)",
            fix="write : for the axes that the others stand for",
        )
    for place, mask in masks:
        before = sum(1 for p in parts[:place] if p is not None and p is not Ellipsis)
        if dots and dots[0] < place:
            before += x.ndim - used
        _check_mask(x, before, mask)
    fill: list[Any] = [slice(None)] * (x.ndim - used)
    if not dots:
        return parts + fill
    return parts[: dots[0]] + (fill or [Ellipsis]) + parts[dots[0] + 1 :]


def _check_mask(x: Tensor, axis: int, mask: Shape) -> None:
    covered = x.shape[axis : axis + len(mask)]
    if covered != mask:
        raise ShapeError(
            f"a boolean index of shape {mask} does not fit axes of shape {covered}",
            operands=[x.node.describe()],
            rule="a mask has the shape of the axes that it selects from",
            fix="make the mask from the tensor that it selects from",
        )


def _converted(part: Any) -> tuple[list[Any], Shape | None]:
    """Return an index as entries for ``_expanded``, and its shape if it is a mask."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return [part], None
    if isinstance(part, Tensor | np.ndarray | list | tuple):
        if isinstance(part, list | tuple):
            part = np.asarray(part, None if len(part) else np.int64)
        index = as_tensor(part)
        if kind_of(index.dtype) == "b" and index.ndim:
            found = np.nonzero(np.asarray(index))
            return [as_tensor(i) for i in found], index.shape
        if kind_of(index.dtype) not in "iu":
            raise DtypeError(
                f"an index array holds integers, or booleans with at least one axis, got "
                f"{index.node.aval!r}",
                operands=[index.node.describe()],
                fix="convert it: i.astype(mg.int64)",
            )
        return [index], None
    if hasattr(part, "__index__") and not isinstance(part, bool):
        return [operator.index(part)], None
    raise DtypeError(
        f"{part!r} is not an index",
        rule="integers, slices, None, ..., arrays of integers or booleans",
        fix=f"round it: {int(part)}"
        if isinstance(part, float) and isfinite(part)
        else "use one of these",
    )


def _in_axis(x: Tensor, i: int, axis: int) -> int:
    n = x.shape[axis]
    if not -n <= i < n:
        raise ShapeError(
            f"index {i} is out of range for axis {axis} of size {n}",
            operands=[x.node.describe()],
            fix=f"use an index from {-n} to {n - 1}" if n else "the axis is empty",
        )
    return i % n


def _sliced(x: Tensor, axis: int, part: slice) -> Tensor:
    n = x.shape[axis]
    start, stop, step = part.indices(n)
    count = len(range(start, stop, step))
    if step > 0:
        return cut(x, axis, min(start, n), max(min(start, n), stop), step)
    if count == 0:
        return cut(x, axis, 0, 0)
    last = start + (count - 1) * step
    forward = cut(x, axis, last, start + 1, -step)
    return flip(forward, axis=axis)


def _taken(x: Tensor, chosen: Sequence[tuple[int, Tensor]], places: Sequence[int]) -> Tensor:
    """Take elements by one or several index arrays, which broadcast together."""
    axes = [a for a, _ in chosen]
    shape = broadcast(*(i.shape for _, i in chosen))
    adjacent = places == list(range(places[0], places[0] + len(places)))
    front = axes[0] if adjacent else 0
    indices = [checked_index(i, x.shape[a], "index") for a, i in chosen]
    if len(chosen) == 1:
        return apply(take_p, (x, indices[0]), {"axis": axes[0]})
    sizes = [x.shape[a] for a in axes]
    x = moveaxis(x, axes, list(range(len(axes))))
    flat = reshape(x, (prod(sizes), *x.shape[len(axes) :]))
    number = as_tensor(np.zeros((), np.int64))
    for n, index in zip(sizes, indices, strict=True):
        number = number * n + broadcast_to(astype(index, int64), shape)
    found = apply(take_p, (flat, number), {"axis": 0})
    k = len(shape)
    return moveaxis(found, list(range(k)), list(range(front, front + k)))
