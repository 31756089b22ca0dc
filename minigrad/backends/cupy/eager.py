"""Work at the prompt on CuPy arrays: one kernel for each operation.

An elementwise primitive runs its own scalar code, in a kernel for any number of elements;
it is thereby the reference in every special case, which CuPy's functions are not. Other
primitives run their reference, whose NumPy functions CuPy provides, except for those below.

CuPy is asked for no arithmetic of bfloat16: elements are moved as their 16 bits, and reduced
and multiplied in float32, with one rounding at the end, as the reference does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from math import prod
from typing import Any, Final

import numpy as np

from minigrad.core.aval import aval
from minigrad.core.place import sent
from minigrad.core.primitive import Primitive, registry
from minigrad.dtypes import Array, DType, float32, foreign, int64, kind_of, scalar, uint16
from minigrad.errors import BackendUnavailable

from . import runtime
from .dialect import Value, Writer, c_type, storage_type
from .prelude import prelude

__all__ = ["compute", "from_dlpack", "pointwise", "scatter"]

_THREADS = 256
_EACH = 4  # elements of one thread, before more blocks are started

#: Whose scalar code is not all that they do: a check of values, or nothing at all.
_BY_REFERENCE: Final = {"in_range", "stop_gradient", "barrier"}

#: What only moves elements, beside the kind of this name.
_MOVES: Final = {"take", "windows"}


def compute(primitive: Primitive, values: Sequence[Any], params: dict[str, Any]) -> Any:
    """Return the result of a primitive on CuPy arrays.

    Raises
    ------
    DeviceMemoryError
        If the result does not fit.
    """
    cupy = import_module("cupy")
    try:
        result = _compute(cupy, primitive, values, params)
    except cupy.cuda.memory.OutOfMemoryError as error:
        shapes = ", ".join(str(tuple(v.shape)) for v in values)
        raise runtime.memory_error(error, f"{primitive.name} of {shapes}") from error
    return cupy.asarray(result)


def _compute(cupy: Any, primitive: Primitive, values: Sequence[Any], params: dict[str, Any]) -> Any:
    name = primitive.name
    by_reference = name in _BY_REFERENCE or (name == "pow" and kind_of(values[0].dtype) != "f")
    if primitive.scalar is not None and not by_reference:
        return elementwise(cupy, primitive, values, params)
    low = next((v.dtype for v in values if v.dtype in foreign), None)
    if low is None or primitive.kind == "call" or name in _BY_REFERENCE:
        return _by_arrays(cupy, primitive, values, params)
    if primitive.kind == "movement" or name in _MOVES:
        bits = [v.view(uint16) if v.dtype == low else v for v in values]
        if "value" in params:
            params = {**params, "value": int(scalar(params["value"], low).view(uint16))}
        return _by_arrays(cupy, primitive, bits, params).view(low)
    wide = [_converted(cupy, v, float32) if v.dtype == low else v for v in values]
    result = cupy.asarray(_by_arrays(cupy, primitive, wide, params))
    return _converted(cupy, result, low) if kind_of(result.dtype) == "f" else result


def _by_arrays(
    cupy: Any, primitive: Primitive, values: Sequence[Any], params: dict[str, Any]
) -> Any:
    own = _OWN.get(primitive.name)
    if own is not None:
        return own(cupy, *values, **params)
    return primitive.reference(*values, **params)


def _converted(cupy: Any, x: Any, dtype: DType) -> Any:
    return elementwise(cupy, registry["astype"], [x], {"dtype": dtype})


def from_dlpack(x: Any) -> Any:
    """Return another library's array on a GPU as a CuPy array of the same memory.

    Raises
    ------
    BackendUnavailable
        If CuPy is not usable here, or the array is on another kind of device.
    """
    reason = runtime.missing()
    if reason or x.__dlpack_device__()[0] not in (2, 13):  # CUDA's memory, also managed
        raise BackendUnavailable(
            f"an array of {type(x).__module__.partition('.')[0]} on device "
            f"{tuple(map(int, x.__dlpack_device__()))} cannot be taken: "
            f"{reason or 'only CPUs and CUDA devices are supported'}",
            fix="bring it to the CPU first, e.g. x.cpu()",
        )
    return import_module("cupy").from_dlpack(x)


# Elementwise ----------------------------------------------------------------------


def pointwise(
    primitive: Primitive,
    dtypes: Sequence[DType],
    steps: Sequence[int],
    params: dict[str, Any],
    result: DType,
) -> str:
    """Return a kernel for ``n`` elements; an operand with step 0 is one element for all."""
    assert primitive.scalar is not None
    w = Writer()
    operands = [f"const {storage_type(d)}* __restrict__ x{i}" for i, d in enumerate(dtypes)]
    w.lines.append(
        f'extern "C" __global__ void __launch_bounds__({_THREADS}) mg_{primitive.name}('
        f"{', '.join(operands)}, {storage_type(result)}* __restrict__ y, const u64 n) {{"
    )
    constant = {i: w.load(f"x{i}[0]", d) for i, d in enumerate(dtypes) if steps[i] == 0}
    w.line("const u64 stride = (u64)gridDim.x * blockDim.x;")
    head = "for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)"
    with w.block(head):
        xs = [constant[i] if i in constant else w.load(f"x{i}[i]", d) for i, d in enumerate(dtypes)]
        w.store("y[i]", primitive.scalar(w, *xs, **params))
    w.lines.append("}")
    return prelude(w.helpers) + w.text()


def elementwise(
    cupy: Any, primitive: Primitive, values: Sequence[Any], params: dict[str, Any]
) -> Any:
    """Return an elementwise primitive of arrays of one shape."""
    shape = values[0].shape
    types = tuple(aval(v.shape, v.dtype) for v in values)
    result = primitive.aval(*types, **params).dtype
    n = prod(shape)
    made = cupy.empty(shape, result)
    if n == 0:
        return made
    steps, arrays = [], []
    for v in values:
        repeated = not any(s for s, m in zip(v.strides, v.shape, strict=True) if m > 1)
        steps.append(0 if repeated else 1)
        arrays.append(v if repeated or v.flags.c_contiguous else cupy.ascontiguousarray(v))
    key = tuple(sorted(params.items()))
    launch = _kernel(
        primitive, tuple(v.dtype for v in values), tuple(steps), key, result, _device(cupy)
    )
    blocks = min(-(-n // (_THREADS * _EACH)), 1 << 16)
    launch((blocks, 1, 1), _THREADS, [*arrays, made, np.uint64(n)])
    return made


def _device(cupy: Any) -> int:
    return int(cupy.cuda.Device().id)


@lru_cache(maxsize=4096)
def _kernel(
    primitive: Primitive,
    dtypes: tuple[DType, ...],
    steps: tuple[int, ...],
    params: tuple[tuple[str, Any], ...],
    result: DType,
    device: int,
) -> runtime.Launcher:
    del device  # part of the key only: machine code belongs to one device
    source = pointwise(primitive, dtypes, steps, dict(params), result)
    return runtime.launcher(source, f"mg_{primitive.name}")


# What CuPy lacks, or does otherwise ------------------------------------------------


def _reduced(name: str) -> Callable[..., Any]:
    def reduction(cupy: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
        if not axes:
            return x
        shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes]
        if 0 in shape:
            return cupy.empty(shape, x.dtype)
        options = {"dtype": x.dtype} if name in ("sum", "prod") else {}
        return getattr(cupy, name)(x, axis=axes, keepdims=keepdims, **options)

    return reduction


def _position(name: str) -> Callable[..., Any]:
    def position(cupy: Any, x: Any, *, axis: int) -> Any:
        shape = [n for a, n in enumerate(x.shape) if a != axis]
        if 0 in shape:
            return cupy.empty(shape, int64)
        return getattr(cupy, name)(x, axis=axis).astype(int64)

    return position


def _argsort(cupy: Any, x: Any, *, axis: int, descending: bool) -> Any:
    if x.size == 0:
        return cupy.empty(x.shape, int64)
    if not descending:
        return cupy.argsort(x, axis=axis).astype(int64)  # CuPy's is stable
    order = cupy.argsort(cupy.flip(x, axis), axis=axis).astype(int64)
    return x.shape[axis] - 1 - cupy.flip(order, axis)


def _pad(cupy: Any, x: Any, *, low: Any, high: Any, inner: Any, value: float) -> Any:
    widths = zip(x.shape, low, high, inner, strict=True)
    shape = tuple(lo + n + max(n - 1, 0) * i + hi for n, lo, hi, i in widths)
    made = cupy.empty(shape, x.dtype)
    made[...] = sent(cupy, np.asarray(value, x.dtype))
    steps = zip(x.shape, low, inner, strict=True)
    made[tuple(slice(lo, lo + n + max(n - 1, 0) * i, i + 1) for n, lo, i in steps)] = x
    return made


def _cumulative(cupy: Any, x: Any, *, axis: int, reverse: bool) -> Any:
    if x.size == 0:
        return x
    if not reverse:
        return cupy.cumsum(x, axis=axis, dtype=x.dtype)
    return cupy.flip(cupy.cumsum(cupy.flip(x, axis), axis=axis, dtype=x.dtype), axis)


def scatter(dtype: DType) -> str:
    """Return the kernel of scatter_add: each element of the result gathers its own summands.

    They are added in the order of the indices, as the reference does; nothing is atomic.
    """
    kind = storage_type(dtype)
    w = Writer()
    w.lines.append(
        f'extern "C" __global__ void __launch_bounds__({_THREADS}) mg_scatter('
        f"const i64* __restrict__ sorted, const i64* __restrict__ order, "
        f"const {kind}* __restrict__ rows, {kind}* __restrict__ y, const u64 k, const u64 n, "
        f"const u64 c) {{"
    )
    w.line("const u64 stride = (u64)gridDim.x * blockDim.x;")
    head = "for (u64 e = (u64)blockIdx.x * blockDim.x + threadIdx.x; e < n * c; e += stride)"
    with w.block(head):
        w.line("const i64 row = (i64)(e / c);")
        w.line("u64 low = 0, high = k;")
        w.line("while (low < high) { const u64 mid = (low + high) / 2; "
               "if (sorted[mid] < row) low = mid + 1; else high = mid; }")  # fmt: skip
        total = Value("total", dtype)
        w.line(f"{c_type(dtype)} total = 0;")
        with w.block("for (u64 j = low; j < k && sorted[j] == row; ++j)"):
            x = w.load("rows[(u64)order[j] * c + e % c]", dtype)
            w.line(f"total = {w.add(total, x).text};")
        w.store("y[e]", total)
    w.lines.append("}")
    return prelude(w.helpers) + w.text()


def _scatter(cupy: Any, g: Any, index: Any, *, axis: int, n: int) -> Any:
    rows = cupy.moveaxis(g, range(axis, axis + index.ndim), range(index.ndim))
    rest = rows.shape[index.ndim :]
    k, c = int(index.size), prod(rest)
    result = cupy.zeros((n, *rest), g.dtype)
    if k and c and n:
        flat = index.ravel().astype(int64)
        order = cupy.argsort(flat)
        launch = _scatter_kernel(g.dtype, _device(cupy))
        blocks = min(-(-n * c // _THREADS), 1 << 16)
        arguments = [flat[order], order, cupy.ascontiguousarray(rows), result]
        launch((blocks, 1, 1), _THREADS, [*arguments, *map(np.uint64, (k, n, c))])
    return cupy.moveaxis(result, 0, axis)


@lru_cache(maxsize=64)
def _scatter_kernel(dtype: DType, device: int) -> runtime.Launcher:
    del device
    return runtime.launcher(scatter(dtype), "mg_scatter")


def _all_reduce(cupy: Any, x: Any, *, group: Any) -> Any:
    """Sum over processes by way of the CPU: MPI's wheels know nothing of devices."""
    summed: Array = group.all_reduce(x.get())
    return cupy.asarray(summed)


_OWN: Final[dict[str, Callable[..., Any]]] = {
    "sum": _reduced("sum"), "prod": _reduced("prod"), "max": _reduced("max"),
    "min": _reduced("min"), "argmax": _position("argmax"), "argmin": _position("argmin"),
    "argsort": _argsort, "pad": _pad, "cumulative_sum": _cumulative, "scatter_add": _scatter,
    "all_reduce": _all_reduce,
}  # fmt: skip
