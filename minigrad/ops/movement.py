"""Cutting and padding, which are transposes of each other; reversing and joining."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.door import as_tensor, cast
from minigrad.core.primitive import Each, Primitive, Sample
from minigrad.core.tensor import Tensor
from minigrad.dtypes import result_type
from minigrad.errors import ShapeError
from minigrad.shapes import as_shape, integers, is_index, pair

from .kinds import ArrayLike, axes_in, axis_in, same_dtype, structural
from .structural import broadcast_to, reshape

Ints = tuple[int, ...]

# Slice and pad -------------------------------------------------------------------


def _slice_aval(x: Aval, *, start: Ints, stop: Ints, step: Ints) -> Aval:
    for a, (n, i, j, s) in enumerate(zip(x.shape, start, stop, step, strict=True)):
        if not (0 <= i <= j <= n and s >= 1):
            raise ShapeError(f"slice: {i}:{j}:{s} does not lie within axis {a} of size {n}")
    shape = tuple(-((i - j) // s) for i, j, s in zip(start, stop, step, strict=True))
    return aval_of(shape, x.dtype)


def _slice_reference(x: Any, *, start: Ints, stop: Ints, step: Ints) -> Any:
    return x[tuple(slice(i, j, s) for i, j, s in zip(start, stop, step, strict=True))]


def _slice_vjp(g: Tensor, y: Tensor, x: Tensor, *, start: Ints, stop: Ints, step: Ints) -> Tensor:
    spans = zip(x.shape, start, y.shape, step, strict=True)
    high = tuple(n - (i + (m - 1) * s + 1 if m else i) for n, i, m, s in spans)
    return _pad(g, start, high, tuple(s - 1 for s in step), 0.0)


def _slice_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    start, stop, step = params["start"], params["stop"], params["step"]
    whole = {"start": (0, *start), "stop": (size, *stop), "step": (1, *step)}
    return apply(p, (xs[0],), whole)


slice_p: Primitive = structural(
    "slice",
    "movement",
    aval=_slice_aval,
    reference=_slice_reference,
    vjp=(_slice_vjp,),
    batch=_slice_batch,
    latex=r"{0}_{{[\cdot]}}",
    note="Basic slicing with positive steps. Its transpose is pad.",
    samples=(
        Sample(((5, 4),), {"start": (1, 0), "stop": (4, 4), "step": (1, 1)}),
        Sample(((7,),), {"start": (1,), "stop": (7,), "step": (3,)}),
        Sample(((4,),), {"start": (2,), "stop": (2,), "step": (1,)}),
        Sample(((),), {"start": (), "stop": (), "step": ()}),
    ),
)


def _pad_aval(x: Aval, *, low: Ints, high: Ints, inner: Ints, value: float) -> Aval:
    if min((*low, *high, *inner), default=0) < 0:
        raise ShapeError("pad: widths must not be negative", fix="slice to remove elements")
    shape = tuple(
        lo + n + max(n - 1, 0) * i + hi
        for n, lo, hi, i in zip(x.shape, low, high, inner, strict=True)
    )
    return aval_of(shape, x.dtype)


def _pad_reference(x: Any, *, low: Ints, high: Ints, inner: Ints, value: float) -> Any:
    shape = tuple(
        lo + n + max(n - 1, 0) * i + hi
        for n, lo, hi, i in zip(x.shape, low, high, inner, strict=True)
    )
    result = np.full_like(x, value, shape=shape)
    place = tuple(
        slice(lo, lo + n + max(n - 1, 0) * i, i + 1)
        for n, lo, i in zip(x.shape, low, inner, strict=True)
    )
    result[place] = x
    return result


def _pad_vjp(
    g: Tensor, y: Tensor, x: Tensor, *, low: Ints, high: Ints, inner: Ints, value: float
) -> Tensor:
    stop = tuple(n - hi for n, hi in zip(y.shape, high, strict=True))
    return _slice(g, low, stop, tuple(i + 1 for i in inner))


def _pad_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    widths = {k: (0, *params[k]) for k in ("low", "high", "inner")}
    return apply(p, (xs[0],), {**widths, "value": params["value"]})


pad_p: Primitive = structural(
    "pad",
    "movement",
    aval=_pad_aval,
    reference=_pad_reference,
    vjp=(_pad_vjp,),
    batch=_pad_batch,
    latex=r"\mathrm{{pad}}({0})",
    note="Adds a constant before, after and between the elements. Its transpose is slice.",
    samples=(
        Sample(((2, 3),), {"low": (1, 0), "high": (2, 1), "inner": (0, 0), "value": 0.0}),
        Sample(((4,),), {"low": (0,), "high": (1,), "inner": (2,), "value": -1.0}),
        Sample(((0, 2),), {"low": (1, 0), "high": (1, 0), "inner": (3, 0), "value": 0.0}),
        Sample(((),), {"low": (), "high": (), "inner": (), "value": 0.0}),
    ),
)


def _slice(x: Tensor, start: Ints, stop: Ints, step: Ints) -> Tensor:
    if stop == x.shape and not any(start) and all(s == 1 for s in step):
        return x
    return apply(slice_p, (x,), {"start": start, "stop": stop, "step": step})


def _pad(x: Tensor, low: Ints, high: Ints, inner: Ints, value: float) -> Tensor:
    if not any((*low, *high, *inner)):
        return x
    return apply(pad_p, (x,), {"low": low, "high": high, "inner": inner, "value": value})


def cut(x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Return the elements ``start:stop:step`` along one axis."""
    at = [(0, n, 1) for n in x.shape]
    at[axis] = (start, stop, step)
    starts, stops, steps = zip(*at, strict=True)
    return _slice(x, starts, stops, steps)


# Flip and concat -----------------------------------------------------------------


flip_p: Primitive = structural(
    "flip",
    "movement",
    aval=lambda x, axes: x,
    reference=lambda x, axes: np.flip(x, axis=axes),
    vjp=(lambda g, y, x, *, axes: flip(g, axis=axes),),
    batch=lambda p, xs, batched, size, params: apply(
        p, (xs[0],), {"axes": tuple(a + 1 for a in params["axes"])}
    ),
    latex=r"\mathrm{{flip}}({0})",
    note="Reverses axes. Its own transpose.",
    samples=(
        Sample(((2, 3),), {"axes": (1,)}),
        Sample(((2, 0),), {"axes": (0, 1)}),
        Sample(((),), {"axes": ()}),
    ),
)


def _concat_aval(*xs: Aval, axis: int) -> Aval:
    dtype = same_dtype("concat", xs)
    first = xs[0].shape
    for x in xs[1:]:
        if x.ndim != len(first) or any(
            n != m for i, (n, m) in enumerate(zip(x.shape, first, strict=True)) if i != axis
        ):
            raise ShapeError(
                f"concat: {', '.join(str(x.shape) for x in xs[:6])} differ outside axis {axis}",
                rule="all sizes but that of the joined axis are equal",
                fix="choose another axis, or mg.stack to join along a new one",
            )
    total = sum(x.shape[axis] for x in xs)
    return aval_of((*first[:axis], total, *first[axis + 1 :]), dtype)


def _concat_vjp(i: int, g: Tensor, y: Tensor, *xs: Tensor, axis: int) -> Tensor:
    start = sum(x.shape[axis] for x in xs[:i])
    return cut(g, axis, start, start + xs[i].shape[axis])


def _concat_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    whole = [
        x if b else broadcast_to(x, (size, *x.shape)) for x, b in zip(xs, batched, strict=True)
    ]
    return apply(p, tuple(whole), {"axis": params["axis"] + 1})


concat_p: Primitive = structural(
    "concat",
    "movement",
    aval=_concat_aval,
    reference=lambda *xs, axis: np.concatenate(xs, axis=axis),
    vjp=Each(_concat_vjp),
    batch=_concat_batch,
    latex=r"\left[{0}, \dots\right]",
    note="Joins any number of operands along an axis. Its transpose is a slice for each.",
    samples=(
        Sample(((2, 3), (2, 1)), {"axis": 1}),
        Sample(((2,), (0,), (3,)), {"axis": 0}),
        Sample(((1, 2),), {"axis": 0}),
    ),
)

# Public functions -----------------------------------------------------------------


def flip(x: ArrayLike, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return x reversed along ``axis``, along every axis if it is None."""
    x = as_tensor(x)
    axes = axes_in(x, axis, "flip")
    return apply(flip_p, (x,), {"axes": axes}) if axes else x


def concat(arrays: Sequence[ArrayLike], *, axis: int | None = 0) -> Tensor:
    """Return the arrays joined along ``axis``; flattened first if it is None."""
    if not arrays:
        raise ShapeError("concat: needs at least one array", fix="pass a list of arrays")
    xs = [as_tensor(a) for a in arrays]
    if axis is None:
        xs, axis = [reshape(x, -1) for x in xs], 0
    at = axis_in(xs[0], axis, "concat")
    common = result_type(*(x.dtype for x in xs))
    return apply(concat_p, tuple(cast(x, common) for x in xs), {"axis": at})


def stack(arrays: Sequence[ArrayLike], *, axis: int = 0) -> Tensor:
    """Return the arrays, all of one shape, joined along a new axis."""
    xs = [as_tensor(a) for a in arrays]
    if not xs:
        raise ShapeError("stack: needs at least one array", fix="pass a list of arrays")
    if len({x.shape for x in xs}) > 1:
        raise ShapeError(
            f"stack: shapes {', '.join(str(x.shape) for x in xs[:6])} differ",
            operands=[x.node.describe() for x in xs[:6]],
            fix="mg.concat joins arrays of different sizes along an axis that they have",
        )
    at = axis_in(xs[0], axis, "stack", 1)
    shape = (*xs[0].shape[:at], 1, *xs[0].shape[at:])
    return concat([reshape(x, shape) for x in xs], axis=at)


def unstack(x: ArrayLike, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Return the slices along ``axis``, each without that axis."""
    x = as_tensor(x)
    at = axis_in(x, axis, "unstack")
    rest = (*x.shape[:at], *x.shape[at + 1 :])
    return tuple(reshape(cut(x, at, i, i + 1), rest) for i in range(x.shape[at]))


def split(x: ArrayLike, sections_or_cut_points: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Return x cut along ``axis`` into equal sections, or at the given places.

    Raises
    ------
    ShapeError
        If the axis does not divide into that many sections.
    """
    x = as_tensor(x)
    at = axis_in(x, axis, "split")
    n = x.shape[at]
    if is_index(sections_or_cut_points):
        sections = operator.index(sections_or_cut_points)
        if sections < 1 or n % sections:
            raise ShapeError(
                f"split: axis {at} of size {n} does not divide into {sections} equal sections",
                fix="give the places to cut at, e.g. mg.split(x, [3, 5])",
            )
        points = [i * (n // sections) for i in range(1, sections)]
    else:
        given = integers(sections_or_cut_points)
        points = [min(p if p >= 0 else max(p + n, 0), n) for p in given]
    edges = [0, *points, n]
    return [cut(x, at, i, max(i, j)) for i, j in itertools.pairwise(edges)]


def pad(x: ArrayLike, pad_width: Any, *, constant_values: float = 0) -> Tensor:
    """Return x with ``constant_values`` added before and after each axis.

    ``pad_width`` is one integer, one pair for all axes, or ``((before, after), ...)``
    with a pair for each axis.
    """
    x = as_tensor(x)
    if is_index(pad_width) or (len(pad_width) and is_index(pad_width[0])):
        widths = [pair(pad_width, "pad_width")] * x.ndim
    else:
        widths = [pair(w, "pad_width") for w in pad_width]
    if len(widths) != x.ndim:
        raise ShapeError(
            f"pad: {len(widths)} pairs of widths for {x.ndim} axes",
            fix="give ((before, after), ...) with a pair for each axis",
        )
    low, high = tuple(w[0] for w in widths), tuple(w[1] for w in widths)
    return _pad(x, low, high, (0,) * x.ndim, constant_values)


def roll(x: ArrayLike, shift: int | Sequence[int], *, axis: Any = None) -> Tensor:
    """Return x with its elements shifted cyclically along ``axis``; flat if it is None."""
    t = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(t, -1), shift, axis=0), t.shape)
    axes = integers(axis)
    for a, s in zip(axes, pair(shift, "shift", len(axes)), strict=True):
        at = axis_in(t, a, "roll")
        n = t.shape[at]
        k = s % n if n else 0
        if k:
            t = concat([cut(t, at, n - k, n), cut(t, at, 0, n - k)], axis=at)
    return t


def tile(x: ArrayLike, repetitions: int | Sequence[int]) -> Tensor:
    """Return x repeated as a whole, ``repetitions`` times along each axis."""
    x = as_tensor(x)
    given = as_shape(repetitions)
    times = (1,) * (x.ndim - len(given)) + given
    shape = (1,) * (len(times) - x.ndim) + x.shape
    spaced = tuple(n for pair_ in zip((1,) * len(shape), shape, strict=True) for n in pair_)
    wide = tuple(n for pair_ in zip(times, shape, strict=True) for n in pair_)
    result = tuple(t * n for t, n in zip(times, shape, strict=True))
    return reshape(broadcast_to(reshape(x, spaced), wide), result)
