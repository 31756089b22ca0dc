"""Tensors made from nothing: constants of a value, counting, identity matrices, triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.core.apply import compute
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.door import array_module, as_tensor, cast, is_number, module_of
from minigrad.core.door import full as filled
from minigrad.core.place import sent
from minigrad.core.primitive import Primitive, Sample, register
from minigrad.core.tape import record
from minigrad.core.tensor import Tensor, functions
from minigrad.dtypes import (
    DType,
    DTypeLike,
    as_dtype,
    convert,
    float64,
    foreign,
    get_default_dtype,
    int64,
    kind_of,
    scalar,
)
from minigrad.dtypes import bool as bool_
from minigrad.errors import DataError, DtypeError, ShapeError
from minigrad.shapes import Shape, as_shape

from .kinds import ArrayLike
from .logic import equal, less_equal, where
from .structural import broadcast_to, moveaxis, reshape


def _unbatched(*_: Any) -> Tensor:
    raise AssertionError("a creation has no operands, so nothing of it can be batched")


def _full_reference(module: Any, *, value: float, shape: Shape, dtype: DType) -> Any:
    """Return one element, repeated by zero strides: no memory for a large constant."""
    try:
        one = sent(module, scalar(value, dtype))
    except (OverflowError, ValueError) as error:  # too large an integer, or NaN as one
        raise DtypeError(f"{value} does not fit {dtype}", fix="use a wider dtype") from error
    if module is np:
        return np.ndarray(shape, dtype, one, 0, (0,) * len(shape))
    return module.broadcast_to(one, shape)


full_p: Primitive = register(
    Primitive(
        name="full",
        kind="creation",
        aval=lambda *, value, shape, dtype: aval_of(shape, dtype),
        reference=_full_reference,
        vjp=(),
        batch=_unbatched,
        latex="{value}",
        note="A literal. Its one element is repeated by strides of 0.",
        samples=(
            Sample((), {"value": 1.5, "shape": (2, 3), "dtype": np.dtype(np.float64)}),
            Sample((), {"value": True, "shape": (0,), "dtype": np.dtype(np.bool_)}),
            Sample((), {"value": -7, "shape": (), "dtype": np.dtype(np.int8)}),
        ),
        analytic=True,
    )
)


def _iota_aval(*, shape: Shape, axis: int, dtype: DType) -> Aval:
    return aval_of(shape, dtype)


def _iota_reference(module: Any, *, shape: Shape, axis: int, dtype: DType) -> Any:
    if dtype in foreign:
        line = sent(module, convert(np.arange(shape[axis], dtype=float64), dtype))
    else:
        line = module.arange(shape[axis], dtype=dtype)
    line = line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return module.broadcast_to(line, shape)


iota_p: Primitive = register(
    Primitive(
        name="iota",
        kind="creation",
        aval=_iota_aval,
        reference=_iota_reference,
        vjp=(),
        batch=_unbatched,
        latex=r"\iota",
        note="The index along one axis; masks, ranges and identities are comparisons of it.",
        samples=(
            Sample((), {"shape": (2, 3), "axis": 1, "dtype": np.dtype(np.int64)}),
            Sample((), {"shape": (2, 0), "axis": 1, "dtype": np.dtype(np.float32)}),
        ),
        analytic=True,
    )
)


def _new(p: Primitive, module: Any = None, **params: Any) -> Tensor:
    """Record a creation: unlike the door's literals, it belongs to the user's line."""
    value = compute(p, [module or array_module()], params)
    return Tensor(record(p, (), params, aval_of(params["shape"], params["dtype"]), value))


def iota(shape: Shape, axis: int = 0, dtype: DType = int64) -> Tensor:
    """Return the index of each element along ``axis``."""
    return _new(iota_p, shape=shape, axis=axis, dtype=dtype)


def _placed(x: Tensor, device: Any) -> Tensor:
    """Return a new tensor on the device that was asked for; None is where it is."""
    return x if device is None or device == x.device else functions["to"](x, device)


def full(
    shape: Any, fill_value: ArrayLike, *, dtype: DTypeLike = None, device: Any = None
) -> Tensor:
    """Return a tensor of one value. Without ``dtype``: that of the value, or its default."""
    size = as_shape(shape)
    if not is_number(fill_value):
        value = as_tensor(fill_value)
        value = value if dtype is None else cast(value, as_dtype(dtype))
        return _placed(broadcast_to(value, size), device)
    kinds = {bool: bool_, int: int64, float: get_default_dtype()}
    chosen = kinds[type(fill_value)] if dtype is None else as_dtype(dtype)
    return _placed(_new(full_p, value=fill_value, shape=size, dtype=chosen), device)


def _default(dtype: DTypeLike) -> DType:
    return get_default_dtype() if dtype is None else as_dtype(dtype)


def zeros(shape: Any, *, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """Return a tensor of zeros."""
    return full(shape, 0, dtype=_default(dtype), device=device)


def ones(shape: Any, *, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """Return a tensor of ones."""
    return full(shape, 1, dtype=_default(dtype), device=device)


def empty(shape: Any, *, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """Return a tensor of any values: zeros, since a tensor cannot be written to later."""
    return zeros(shape, dtype=dtype, device=device)


def full_like(
    x: ArrayLike, /, fill_value: ArrayLike, *, dtype: DTypeLike = None, device: Any = None
) -> Tensor:
    """Return a tensor of one value with the shape and dtype of x."""
    x = as_tensor(x)
    chosen = x.dtype if dtype is None else as_dtype(dtype)
    if not is_number(fill_value):
        return full(x.shape, fill_value, dtype=chosen, device=device)
    value = x.node.value  # if it is known, beside x, wherever new tensors are made
    module = None if value is None else module_of(value)
    made = _new(full_p, module, value=fill_value, shape=x.shape, dtype=chosen)
    return _placed(made, device)


def zeros_like(x: ArrayLike, /, *, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """Return zeros with the shape and dtype of x."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: ArrayLike, /, *, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """Return ones with the shape and dtype of x."""
    return full_like(x, 1, dtype=dtype, device=device)


def empty_like(x: ArrayLike, /, *, dtype: DTypeLike = None, device: Any = None) -> Tensor:
    """Return zeros with the shape and dtype of x."""
    return zeros_like(x, dtype=dtype, device=device)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike = None,
    device: Any = None,
) -> Tensor:
    """Return start, start + step, ... before stop: int64 if all three are integers."""
    if stop is None:
        start, stop = 0, start
    start, stop, step = _plain_number(start), _plain_number(stop), _plain_number(step)
    if step == 0:
        raise ShapeError("arange: the step must not be 0", fix="use 1 or -1, say")
    whole = all(isinstance(v, int) for v in (start, stop, step))
    wanted = (int64 if whole else get_default_dtype()) if dtype is None else as_dtype(dtype)
    n = max(0, -int((start - stop) // step))
    count = iota((n,), 0, int64 if whole else float64)  # a narrow type cannot count far
    scaled = count if step == 1 else count * step
    return _placed(cast(scaled if start == 0 else scaled + start, wanted), device)


def _plain_number(x: Any) -> float:
    """Return a number, NumPy's or a tensor's too, as a Python one."""
    return x if is_number(x) else np.asarray(x).item()


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: DTypeLike = None,
    device: Any = None,
    endpoint: bool = True,
) -> Tensor:
    """Return ``num`` evenly spaced numbers from start to stop, stop included if ``endpoint``."""
    wanted = _default(dtype)
    if kind_of(wanted) != "f":
        raise DtypeError(f"linspace: {wanted} is not floating", fix="use mg.arange for integers")
    line = convert(np.linspace(start, stop, num, endpoint=endpoint), wanted)
    return _placed(as_tensor(array_module().asarray(line)), device)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DTypeLike = None,
    device: Any = None,
) -> Tensor:
    """Return a matrix with ones on the k-th diagonal and zeros elsewhere."""
    shape = as_shape((n_rows, n_rows if n_cols is None else n_cols))
    return _placed(cast(equal(iota(shape, 0) + k, iota(shape, 1)), _default(dtype)), device)


def _triangle(x: ArrayLike, k: int, lower: bool) -> Tensor:
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(
            f"{'tril' if lower else 'triu'}: needs at least 2 axes, got {x.shape}",
            fix="insert an axis first, e.g. mg.expand_dims(x, axis=0)",
        )
    rows, columns = iota(x.shape, x.ndim - 2), iota(x.shape, x.ndim - 1)
    keep = less_equal(columns, rows + k) if lower else less_equal(rows + k, columns)
    return where(keep, x, filled(0, x.shape, x.dtype))


def tril(x: ArrayLike, /, *, k: int = 0) -> Tensor:
    """Return the lower triangle of the last two axes, up to the k-th diagonal."""
    return _triangle(x, k, lower=True)


def triu(x: ArrayLike, /, *, k: int = 0) -> Tensor:
    """Return the upper triangle of the last two axes, from the k-th diagonal."""
    return _triangle(x, k, lower=False)


def meshgrid(*arrays: ArrayLike, indexing: str = "xy") -> list[Tensor]:
    """Return coordinate grids of one-axis tensors, in "xy" or "ij" order."""
    xs = [as_tensor(a) for a in arrays]
    n = len(xs)
    shape = tuple(x.size for x in xs)
    grids = [
        broadcast_to(reshape(x, [-1 if i == j else 1 for j in range(n)]), shape)
        for i, x in enumerate(xs)
    ]
    return [moveaxis(g, 0, 1) for g in grids] if indexing == "xy" and n > 1 else grids


def asarray(
    obj: ArrayLike,
    /,
    *,
    dtype: DTypeLike = None,
    device: Any = None,
    copy: bool | None = None,
) -> Tensor:
    """Return data as a tensor, without a copy where possible; see ``mg.tensor``.

    Raises
    ------
    DataError
        If a copy is forbidden by ``copy=False``, and needed.
    """
    x = as_tensor(obj, None if dtype is None else as_dtype(dtype))
    if not isinstance(obj, Tensor):
        theirs = hasattr(obj, "__dlpack__") and not isinstance(obj, np.ndarray)
        shared = (
            dtype is None
            if theirs
            else isinstance(obj, np.ndarray)
            and isinstance(x.value, np.ndarray)
            and np.shares_memory(obj, x.value)
        )
        if copy is False and not shared:
            raise DataError(
                f"asarray: a {type(obj).__name__} cannot become a tensor without a copy",
                fix="leave out copy=False",
            )
        if copy and shared:
            x = as_tensor(x.value.copy())
    return _placed(x, device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """Return a tensor that shares the memory of any array with ``__dlpack__``.

    ``copy=True`` gives it memory of its own.
    """
    shared = as_tensor(x.value if isinstance(x, Tensor) else x)
    return _placed(as_tensor(shared.value.copy()) if copy else shared, device)
