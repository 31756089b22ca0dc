"""Arithmetic on shapes and axes: tuples of integers in, tuples of integers out."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from math import prod
from typing import SupportsIndex, TypeAlias, TypeGuard, cast

from .errors import ShapeError

Shape: TypeAlias = tuple[int, ...]
Axes: TypeAlias = tuple[int, ...]

__all__ = [
    "Axes",
    "Shape",
    "as_shape",
    "axes_of",
    "axis_of",
    "broadcast",
    "broadcast_axes",
    "integers",
    "is_index",
    "pair",
    "reduced",
    "resolve_reshape",
    "size",
]


def is_index(x: object) -> TypeGuard[SupportsIndex]:
    """Whether ``x`` is one integer, NumPy's too; an array with axes only looks like one."""
    return type(x) is int or (isinstance(x, SupportsIndex) and not getattr(x, "shape", ()))


def integers(x: int | Iterable[int]) -> tuple[int, ...]:
    """Return one integer, or several, as a tuple."""
    if is_index(x):
        return (operator.index(x),)
    return tuple([operator.index(n) for n in cast(Iterable[int], x)])


def size(shape: Shape) -> int:
    """Return the number of elements."""
    return prod(shape)


def as_shape(shape: int | Iterable[int]) -> Shape:
    """Return ``shape`` as a tuple; a single integer is a shape of one axis."""
    result = integers(shape)
    if any(n < 0 for n in result):
        raise ShapeError(
            f"a shape has no negative sizes, got {result}",
            fix="use sizes from 0; only reshape takes a -1",
        )
    return result


def axis_of(axis: SupportsIndex, ndim: int, what: str) -> int:
    """Return ``axis`` counted from the front; ``what`` names the operation in the error."""
    found = operator.index(axis)
    if not -ndim <= found < ndim:
        raise ShapeError(
            f"{what}: axis {found} does not exist in an array of {ndim} axes",
            fix=f"use an axis from {-ndim} to {ndim - 1}" if ndim else "a scalar has no axes",
        )
    return found % ndim


def axes_of(axis: int | Sequence[int] | None, ndim: int, what: str) -> Axes:
    """Return the sorted, non-negative axes that ``axis`` means; None means all."""
    if axis is None:
        return tuple(range(ndim))
    given = integers(axis)
    found = sorted(axis_of(a, ndim, what) for a in given)
    if len(set(found)) != len(found):
        raise ShapeError(f"{what}: an axis is named twice in {given}", fix="name each axis once")
    return tuple(found)


def reduced(shape: Shape, axes: Axes, keepdims: bool) -> Shape:
    """Return the shape after reducing ``axes``."""
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape to which all broadcast; trailing axes are aligned."""
    ndim = max(map(len, shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        offset = ndim - len(shape)
        for i, n in enumerate(shape, offset):
            if n != 1:
                if result[i] not in (1, n):
                    raise ShapeError(
                        f"shapes {' and '.join(map(str, shapes))} do not broadcast: "
                        f"axis {i - ndim} has sizes {result[i]} and {n}",
                        rule="aligned at the last axis, sizes are equal or one of them is 1",
                        fix="reshape an operand, or insert an axis with mg.expand_dims",
                    )
                result[i] = n
    return tuple(result)


def broadcast_axes(small: Shape, large: Shape) -> Axes:
    """Return the axes of ``large`` along which ``small`` is repeated."""
    offset = len(large) - len(small)
    stretched = (i + offset for i, n in enumerate(small) if n == 1 and large[i + offset] != 1)
    return (*range(offset), *stretched)


def resolve_reshape(shape: Shape, target: int | Iterable[int]) -> Shape:
    """Return ``target`` with a -1, if any, replaced by the size that fits."""
    wanted = integers(target)
    unknown = [i for i, n in enumerate(wanted) if n == -1]
    known = prod(n for n in wanted if n != -1)
    total = size(shape)
    fits = len(unknown) <= 1 and all(n >= -1 for n in wanted)
    if fits and unknown:
        fits = known > 0 and total % known == 0
        if fits:
            wanted = tuple(total // known if n == -1 else n for n in wanted)
    elif fits:
        fits = known == total
    if not fits:
        raise ShapeError(
            f"reshape: {total} elements of shape {shape} do not fit shape {wanted}",
            rule="the number of elements stays the same; one size may be -1",
            fix="check the product of the new sizes",
        )
    return wanted


def pair(value: int | Sequence[int], what: str, n: int = 2) -> tuple[int, ...]:
    """Return ``value`` as ``n`` integers: one integer stands for all."""
    found = integers(value)
    if is_index(value):
        return found * n
    if len(found) != n:
        raise ShapeError(f"{what} has {len(found)} entries, {n} are needed", fix=f"give 1 or {n}")
    return found
