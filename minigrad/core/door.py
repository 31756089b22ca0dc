"""The door through which operands enter: lifted, cast to one dtype, broadcast to one shape.

This is the only place that inserts ``astype`` and ``broadcast_to`` nodes, so no gradient
rule ever undoes a broadcast. A Python number adopts the dtype of the other operand and
becomes a ``full`` node of the right shape.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from minigrad.dtypes import (
    DType,
    as_dtype,
    convert,
    get_default_dtype,
    int64,
    kind_of,
    result_type,
    supported,
)
from minigrad.dtypes import bool as bool_
from minigrad.errors import DtypeError, ShapeError
from minigrad.shapes import Shape, broadcast

from .apply import apply, compute
from .aval import aval
from .late import call
from .node import Node
from .place import module_of
from .primitive import Primitive, registry
from .tape import INPUT, constant
from .tensor import Tensor, functions

__all__ = [
    "array_module", "as_array", "as_tensor", "beside", "binary", "cast", "full", "is_number",
    "meet", "module_of", "owned", "set_array_module", "spread", "tensor", "unary",
]  # fmt: skip

#: The array module in which tensors are made when nothing else decides: NumPy or CuPy.
_default_module: list[Any] = [np]

_HOST = (1, 3)  # DLPack's numbers of memory that NumPy can read: the CPU's, and pinned

_literals: dict[Any, Node] = {}
_MANY_LITERALS = 4096


def is_number(x: Any) -> TypeGuard[bool | int | float]:
    """Whether ``x`` is a plain Python number, whose dtype is weak."""
    return type(x) is float or type(x) is int or type(x) is bool


def array_module() -> Any:
    """Return the array module in which new tensors are made."""
    return _default_module[0]


def set_array_module(module: Any) -> None:
    """Make new tensors arrays of this module."""
    _default_module[0] = module


def full(value: float, shape: Shape, dtype: DType, module: Any = None) -> Tensor:
    """Return a tensor filled with one number: one node, and one element of memory.

    Raises
    ------
    DtypeError
        If an integer does not fit the dtype.
    """
    module = module or _default_module[0]
    key = (value, type(value), str(value) if value == 0 else "", shape, dtype, module)
    node = _literals.get(key)
    if node is None:
        params = {"value": value, "shape": shape, "dtype": dtype}
        primitive = registry["full"]
        array = compute(primitive, [module], params)
        node = Node(primitive, (), params, aval(shape, dtype), array, (None, 0, ()))
        if len(_literals) >= _MANY_LITERALS:
            _literals.clear()
        _literals[key] = node
    return Tensor(node)


def as_tensor(x: Any, dtype: DType | None = None) -> Tensor:
    """Return ``x`` as a tensor: numbers and lists in the default dtype, arrays in theirs.

    Tensors in a list are stacked, and keep their history.
    """
    if isinstance(x, list | tuple) and _has_tensor(x):
        x = functions["stack"]([as_tensor(v) for v in x])
    if isinstance(x, Tensor):
        return x if dtype is None else cast(x, dtype)
    return Tensor(_leaf(x, dtype))


def _has_tensor(x: list[Any] | tuple[Any, ...]) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, list | tuple) and _has_tensor(v)) for v in x)


def _leaf(x: Any, dtype: DType | None) -> Node:
    array = as_array(x, dtype)
    return constant(aval(array.shape, array.dtype), array)


def as_array(x: Any, dtype: DType | None = None) -> Any:
    """Return data as a NumPy or CuPy array of a supported dtype, without a copy if possible.

    Arrays of other libraries come through DLPack and stay where they are; data in Python
    or NumPy goes to the device in use (``mg.use``).
    """
    array = _as_array(x, dtype)
    module = _default_module[0]
    if module is not np and isinstance(array, np.ndarray):
        return call("move", array, module.__name__)
    return array


def _as_array(x: Any, dtype: DType | None) -> Any:
    if hasattr(x, "__dlpack__") and type(x).__module__.partition(".")[0] not in ("numpy", "cupy"):
        x = np.from_dlpack(x) if x.__dlpack_device__()[0] in _HOST else call("from_dlpack", x)
    if hasattr(x, "dtype"):
        array = x if hasattr(x, "flags") and hasattr(x, "strides") else np.asarray(x)
        if isinstance(array, np.generic):
            array = np.asarray(array)
        wanted = dtype or as_dtype(array.dtype)
        if array.dtype == wanted:
            return array
        if isinstance(array, np.ndarray) or array.dtype not in supported:
            return convert(array, wanted)
        return compute(registry["astype"], [array], {"dtype": wanted})
    try:
        array = np.asarray(_plain(x))
    except ValueError as error:
        raise ShapeError(
            "nested lists of different lengths do not make an array",
            rule="lists at the same depth have the same length",
            fix="pad the shorter ones, or make a tensor of each",
        ) from error
    if kind_of(array.dtype) not in "biuf":
        raise DtypeError(
            f"cannot make a tensor of {type(x).__name__} {str(x)[:40]!r}",
            fix="pass numbers, nested lists of numbers, or an array",
        )
    if dtype is None:
        dtype = bool_ if kind_of(array.dtype) == "b" else get_default_dtype()
    return convert(array, dtype)


def owned(data: Any, dtype: DType | None) -> Any:
    """Return data as an array that nobody else will write to."""
    array = as_array(data, dtype)
    foreign = hasattr(data, "__dlpack__") and not isinstance(data, np.ndarray)
    return array.copy() if array is data or array.base is not None or foreign else array


def _plain(x: Any) -> Any:
    """Return nested lists with tensors inside them as arrays."""
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    return x.numpy() if isinstance(x, Tensor) else x


def _weak_dtype(number: float, other: DType) -> DType:
    """Return the dtype that a Python number takes beside ``other``."""
    if type(number) is bool or kind_of(other) == "f":
        return other
    if type(number) is float:
        return get_default_dtype()
    return int64 if kind_of(other) == "b" else other


def beside(x: Any, other: Tensor) -> Tensor:
    """Return an operand as a tensor; a Python number takes the shape and dtype of ``other``."""
    if isinstance(x, Tensor):
        return x
    if is_number(x):
        node = other.node
        dtype = _weak_dtype(x, node.aval.dtype)
        return full(x, node.aval.shape, dtype, module_of(node.value))
    return as_tensor(x)


def cast(x: Tensor, dtype: DType) -> Tensor:
    """Return ``x`` converted to ``dtype``; nothing is recorded if it already is."""
    return x if x.dtype == dtype else apply(registry["astype"], (x,), {"dtype": dtype})


def spread(x: Tensor, shape: Shape) -> Tensor:
    """Return ``x`` repeated to ``shape``; nothing is recorded if it already fits."""
    node = x.node
    if node.aval.shape == shape:
        return x
    if node.primitive.name == "full" and broadcast(node.aval.shape, shape) == shape:
        # a literal has no data to repeat
        return full(node.params["value"], shape, node.aval.dtype, module_of(node.value))
    return apply(registry["broadcast_to"], (x,), {"shape": shape})


def meet(name: str, *operands: Tensor, dtypes: bool = True) -> list[Tensor]:
    """Return the operands in their common dtype (if asked for) and shape."""
    if dtypes:
        common = result_type(*(x.dtype for x in operands))
        operands = tuple(cast(x, common) for x in operands)
    try:
        shape = broadcast(*(x.shape for x in operands))
    except ShapeError as error:
        raise ShapeError(
            f"{name}: {error.message}",
            operands=[x.node.describe() for x in operands],
            rule=error.rule,
            fix=error.fix,
        ) from None
    return [spread(x, shape) for x in operands]


def unary(primitive: Primitive, x: Any) -> Tensor:
    """Apply an elementwise primitive of one operand."""
    return apply(primitive, (x if isinstance(x, Tensor) else as_tensor(x),))


def binary(primitive: Primitive, x: Any, y: Any) -> Tensor:
    """Apply an elementwise primitive of two operands, which need not fit yet."""
    if not isinstance(x, Tensor):
        x = beside(x, y) if isinstance(y, Tensor) else as_tensor(x)
    if not isinstance(y, Tensor):
        y = beside(y, x)
    if x.node.aval is not y.node.aval:
        x, y = meet(primitive.name, x, y)
    return apply(primitive, (x, y))


def tensor(
    data: Any,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    name: str | None = None,
) -> Tensor:
    """Return a tensor with a copy of ``data``.

    Python numbers and lists become the default dtype (float32 unless changed with
    ``mg.set_default_dtype``), booleans stay boolean; NumPy and CuPy arrays keep
    their dtype.

    Parameters
    ----------
    data
        A number, nested lists, an array, a tensor, or anything with ``__dlpack__``.
    dtype
        The element type to convert to.
    requires_grad
        Whether ``backward`` fills ``.grad``. Needs a floating dtype.
    name
        Shown in pictures and text; the key in ``compare_gradients``.

    Raises
    ------
    DtypeError
        If the data is not numeric.
    NotDifferentiable
        If ``requires_grad`` is asked of integers or booleans.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        data = data.value
    array = owned(data, wanted)
    node = constant(aval(array.shape, array.dtype), array)
    node.primitive, node.name = INPUT, name
    result = Tensor(node)
    if requires_grad:
        result.requires_grad = True
    return result
