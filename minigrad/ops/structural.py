"""Repeating and summing, which are transposes of each other; reshaping and permuting axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.door import as_tensor, cast, spread
from minigrad.core.primitive import NUMERIC, Primitive, Sample, check_kind
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DType, DTypeLike, as_dtype, int64, kind_of, uint64
from minigrad.errors import ShapeError
from minigrad.shapes import (
    Axes,
    Shape,
    as_shape,
    broadcast,
    broadcast_axes,
    integers,
    reduced,
    resolve_reshape,
)

from .kinds import ArrayLike, axes_in, axis_in, structural

# Repeat and sum -----------------------------------------------------------------


def _broadcast_aval(x: Aval, *, shape: Shape) -> Aval:
    if len(shape) < x.ndim or broadcast(x.shape, shape) != shape:
        raise ShapeError(
            f"broadcast_to: shape {x.shape} does not repeat to {shape}",
            rule="aligned at the last axis, each size is kept or grows from 1",
            fix="reshape first",
        )
    return aval_of(shape, x.dtype)


def _broadcast_reference(x: Any, *, shape: Shape) -> Any:
    if isinstance(x, np.ndarray) and x.flags.c_contiguous and x.size:  # 5 times faster
        missing = len(shape) - x.ndim
        strides = (0,) * missing + tuple(
            0 if n == 1 != m else s
            for n, m, s in zip(x.shape, shape[missing:], x.strides, strict=True)
        )
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return np.broadcast_to(x, shape)


def _broadcast_vjp(g: Tensor, y: Tensor, x: Tensor, *, shape: Shape) -> Tensor:
    axes = broadcast_axes(x.shape, shape)
    kept = reduced(shape, axes, keepdims=True)[len(shape) - x.ndim :] == x.shape
    total = sum(g, axes, keepdims=kept and len(shape) == x.ndim)
    return reshape(total, x.shape)


def _broadcast_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    (x,), shape = xs, params["shape"]
    padded = (size, *(1,) * (len(shape) - x.ndim + 1), *x.shape[1:])
    return broadcast_to(reshape(x, padded), (size, *shape))


broadcast_to_p: Primitive = structural(
    "broadcast_to",
    "movement",
    aval=_broadcast_aval,
    reference=_broadcast_reference,
    vjp=(_broadcast_vjp,),
    batch=_broadcast_batch,
    latex=r"\mathrm{{repeat}}({0})",
    note="The only broadcast there is: the door inserts it. Its transpose is sum.",
    samples=(
        Sample(((3,),), {"shape": (2, 3)}),
        Sample(((2, 1, 3),), {"shape": (4, 2, 5, 3)}),
        Sample(((),), {"shape": (2, 2)}),
        Sample(((1, 3),), {"shape": (0, 3)}),
    ),
)


def reduction_aval(name: str, accepts: str) -> Callable[..., Aval]:
    """Return the type rule of a reduction that keeps the dtype."""

    def rule(x: Aval, *, axes: Axes, keepdims: bool) -> Aval:
        check_kind(name, x, accepts)
        return aval_of(reduced(x.shape, axes, keepdims), x.dtype)

    return rule


def reduction_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    """Batch a reduction: its axes move up by one."""
    axes = tuple(a + 1 for a in params["axes"])
    return apply(p, (xs[0],), {**params, "axes": axes})


def spread_back(x: Tensor, shape: Shape, axes: Axes) -> Tensor:
    """Return a reduced tensor repeated over the axes that were reduced."""
    return spread(reshape(x, reduced(shape, axes, keepdims=True)), shape)


REDUCTION_SAMPLES = (
    Sample(((2, 3),), {"axes": (0,), "keepdims": False}),
    Sample(((2, 3),), {"axes": (0, 1), "keepdims": False}),
    Sample(((2, 3, 4),), {"axes": (1,), "keepdims": True}),
    Sample(((),), {"axes": (), "keepdims": False}),
)

sum_p: Primitive = structural(
    "sum",
    "reduction",
    aval=reduction_aval("sum", NUMERIC),
    reference=lambda x, axes, keepdims: np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype),
    vjp=(lambda g, y, x, *, axes, keepdims: spread_back(g, x.shape, axes),),
    batch=reduction_batch,
    latex=r"\sum {0}",
    note="Keeps the dtype; the public function widens small integers first.",
    samples=(*REDUCTION_SAMPLES, Sample(((0, 3),), {"axes": (0,), "keepdims": False})),
)

# Reshape and permute -------------------------------------------------------------


def _reshape_aval(x: Aval, *, shape: Shape) -> Aval:
    target = aval_of(shape, x.dtype)
    if target.size != x.size:
        resolve_reshape(x.shape, shape)
    return target


reshape_p: Primitive = structural(
    "reshape",
    "movement",
    aval=_reshape_aval,
    reference=lambda x, shape: x.reshape(shape),
    vjp=(lambda g, y, x, *, shape: reshape(g, x.shape),),
    batch=lambda p, xs, batched, size, params: reshape(xs[0], (size, *params["shape"])),
    latex="{0}",
    note="Keeps the elements in row-major order.",
    samples=(
        Sample(((2, 6),), {"shape": (3, 4)}),
        Sample(((1, 1),), {"shape": ()}),
        Sample(((0, 4),), {"shape": (2, 0)}),
    ),
)


def _inverse(axes: Axes) -> Axes:
    result = [0] * len(axes)
    for i, a in enumerate(axes):
        result[a] = i
    return tuple(result)


def _permute_aval(x: Aval, *, axes: Axes) -> Aval:
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(
            f"permute_dims: {axes} is not a permutation of the {x.ndim} axes of shape {x.shape}",
            fix="name every axis exactly once",
        )
    return aval_of(tuple(x.shape[a] for a in axes), x.dtype)


permute_dims_p: Primitive = structural(
    "permute_dims",
    "movement",
    aval=_permute_aval,
    reference=lambda x, axes: x.transpose(axes),
    vjp=(lambda g, y, x, *, axes: permute_dims(g, _inverse(axes)),),
    batch=lambda p, xs, batched, size, params: permute_dims(
        xs[0], (0, *(a + 1 for a in params["axes"]))
    ),
    latex=r"{0}^{{\mathsf{{T}}}}",
    note="Axis i of the result is axis axes[i] of the operand.",
    samples=(
        Sample(((2, 3),), {"axes": (1, 0)}),
        Sample(((2, 3, 4),), {"axes": (2, 0, 1)}),
        Sample(((0, 3),), {"axes": (1, 0)}),
        Sample(((),), {"axes": ()}),
    ),
)

# Public functions -----------------------------------------------------------------


def broadcast_to(x: ArrayLike, shape: int | Sequence[int]) -> Tensor:
    """Return x repeated to ``shape``: sizes 1 grow, axes are added in front."""
    return spread(as_tensor(x), as_shape(shape))


def broadcast_arrays(*arrays: ArrayLike) -> list[Tensor]:
    """Return the operands, all repeated to their common shape."""
    tensors = [as_tensor(x) for x in arrays]
    shape = broadcast(*(x.shape for x in tensors))
    return [spread(x, shape) for x in tensors]


def reshape(x: ArrayLike, shape: int | Sequence[int], *, copy: bool | None = None) -> Tensor:
    """Return the elements of x in another shape; one size may be -1."""
    x = as_tensor(x)
    try:
        target = resolve_reshape(x.shape, shape)
    except ShapeError as error:
        error.operands = (x.node.describe(),)
        raise
    return x if target == x.shape else apply(reshape_p, (x,), {"shape": target})


def permute_dims(x: ArrayLike, axes: Sequence[int]) -> Tensor:
    """Return x with its axes in another order: axis i of the result is ``axes[i]`` of x."""
    x = as_tensor(x)
    order = tuple(axis_in(x, a, "permute_dims") for a in axes)
    return x if order == tuple(range(x.ndim)) else apply(permute_dims_p, (x,), {"axes": order})


def matrix_transpose(x: ArrayLike) -> Tensor:
    """Return x with its last two axes exchanged."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(
            f"mT: needs at least 2 axes, got shape {x.shape}",
            fix="insert an axis first, e.g. mg.expand_dims(x, axis=0)",
        )
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def moveaxis(x: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Return x with the axes ``source`` moved to the places ``destination``."""
    x = as_tensor(x)
    sources, places = integers(source), integers(destination)
    if len(sources) != len(places):
        raise ShapeError(
            f"moveaxis: {len(sources)} axes for {len(places)} places",
            fix="give one place for each axis",
        )
    moved = [axis_in(x, a, "moveaxis") for a in sources]
    order = [a for a in range(x.ndim) if a not in moved]
    for place, a in sorted(zip((axis_in(x, d, "moveaxis") for d in places), moved, strict=True)):
        order.insert(place, a)
    return permute_dims(x, order)


def expand_dims(x: ArrayLike, /, *, axis: int = 0) -> Tensor:
    """Return x with a new axis of size 1 at ``axis``."""
    x = as_tensor(x)
    at = axis_in(x, axis, "expand_dims", 1)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: ArrayLike, /, axis: int | Sequence[int]) -> Tensor:
    """Return x without the named axes, which must have size 1."""
    x = as_tensor(x)
    axes = axes_in(x, axis, "squeeze")
    wrong = [a for a in axes if x.shape[a] != 1]
    if wrong:
        raise ShapeError(
            f"squeeze: axis {wrong[0]} of shape {x.shape} has size {x.shape[wrong[0]]}, not 1",
            operands=[x.node.describe()],
            fix="squeeze only axes of size 1",
        )
    return reshape(x, reduced(x.shape, axes, keepdims=False))


def sum(
    x: ArrayLike,
    axis: int | Sequence[int] | None = None,
    *,
    dtype: DTypeLike = None,
    keepdims: bool = False,
) -> Tensor:
    """Return the sum over ``axis``, over everything if it is None.

    Booleans and small integers are summed as int64 (unsigned ones as uint64).
    """
    t = as_tensor(x)
    axes = axes_in(t, axis, "sum")
    t = cast(t, sum_dtype(t.dtype) if dtype is None else as_dtype(dtype))
    if not axes:
        return t
    return apply(sum_p, (t,), {"axes": axes, "keepdims": keepdims})


def sum_dtype(dtype: DType) -> DType:
    """Return the dtype in which values of this dtype are added up."""
    return {"b": int64, "i": int64, "u": uint64}.get(kind_of(dtype), dtype)
