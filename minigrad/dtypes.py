"""The dtypes, how they promote, and the one table of tolerances.

A dtype is a NumPy dtype: ``mg.float32 is np.dtype("float32")``. Promotion among
floating types, and among integer types, is NumPy's. A floating type absorbs an
integer or boolean one and keeps its width (int64 with float32 is float32): a count
or a mask must not turn a float32 model into float64.

The half types, float16 and bfloat16, are for storage: operations on them are computed in
float32 and rounded once. NumPy has no bfloat16; the package ml_dtypes adds it, and is loaded
when somebody first asks for it. NumPy calls what was added a void, so ``kind_of`` is asked for
a dtype's kind, and ``convert`` to convert arrays.
"""

from __future__ import annotations

import builtins
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .changes import changes
from .errors import BackendUnavailable, DtypeError

if TYPE_CHECKING:
    bfloat16: np.dtype[Any]

DType: TypeAlias = np.dtype[Any]
Array: TypeAlias = npt.NDArray[Any]
DTypeLike: TypeAlias = npt.DTypeLike | None

bool: DType = np.dtype(np.bool_)
int8: DType = np.dtype(np.int8)
int16: DType = np.dtype(np.int16)
int32: DType = np.dtype(np.int32)
int64: DType = np.dtype(np.int64)
uint8: DType = np.dtype(np.uint8)
uint16: DType = np.dtype(np.uint16)
uint32: DType = np.dtype(np.uint32)
uint64: DType = np.dtype(np.uint64)
float16: DType = np.dtype(np.float16)
float32: DType = np.dtype(np.float32)
float64: DType = np.dtype(np.float64)

# Those that NumPy has.
FLOATS = (float16, float32, float64)
INTEGERS = (int8, int16, int32, int64, uint8, uint16, uint32, uint64)
ALL = (bool, *INTEGERS, *FLOATS)

#: Every dtype of tensors; bfloat16 is among them once it is loaded.
supported: set[DType] = {*ALL}
#: Those of 16 bits, in which nothing is computed; bfloat16 is among them once it is loaded.
halves: set[DType] = {float16}
#: Those that NumPy does not compute with: bfloat16, once it is loaded.
foreign: set[DType] = set()

_SHORT = {"bool": "bool", "float": "f", "bfloat": "bf", "int": "i", "uint": "u"}

#: Relative tolerance for comparing one operation across implementations.
_TOLERANCE = {"bfloat16": 1.6e-2, "float16": 2e-3, "float32": 2e-5, "float64": 1e-11}

_default: list[DType] = [float32]


def get_default_dtype() -> DType:
    """Return the dtype that Python numbers and lists become."""
    return _default[0]


def set_default_dtype(dtype: DTypeLike) -> None:
    """Set the dtype that Python numbers and lists become: a floating one.

    Raises
    ------
    DtypeError
        If ``dtype`` is not floating.
    """
    chosen = as_dtype(dtype)
    if kind_of(chosen) != "f":
        raise DtypeError(
            f"set_default_dtype: {chosen} is not a floating dtype",
            fix="choose mg.float32 or mg.float64",
        )
    _default[0] = chosen
    changes.note()


def as_dtype(dtype: DTypeLike) -> DType:
    """Return the supported dtype that ``dtype`` names.

    Raises
    ------
    DtypeError
        If it is complex, a string, an object or a record.
    """
    if dtype is float:
        return _default[0]
    if _is_bfloat16(dtype):
        return _bfloat16()
    try:
        found: DType = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(
            f"{dtype!r} is not a dtype", fix="use mg.float32, mg.int64, ..."
        ) from error
    found = found if found.isnative else found.newbyteorder("=")
    if found not in supported:
        raise DtypeError(
            f"dtype {found} is not supported",
            rule="bool, int8 to int64, uint8 to uint64, float16, bfloat16, float32, float64",
            fix="convert with astype before making a tensor",
        )
    return found


def short(dtype: DType) -> str:
    """Return the two- or three-letter name used in dumps: ``f32``, ``i64``, ``bool``."""
    stem = dtype.name.rstrip("0123456789")
    return _SHORT.get(stem, stem) + dtype.name[len(stem) :]


def result_type(*dtypes: DType) -> DType:
    """Return the dtype in which operands of these dtypes meet; the two half types in float32."""
    floats = [d for d in dtypes if kind_of(d) == "f"]
    if any(d in foreign for d in floats):
        return floats[0] if len(set(floats)) == 1 else np.result_type(*map(wide, floats))
    return np.result_type(*(floats or dtypes))


def tolerance(dtype: DType) -> float:
    """Return the relative tolerance for comparing results of this dtype (0 for integers)."""
    return _TOLERANCE.get(dtype.name, 0.0)


def kind_of(dtype: DType) -> str:
    """Return NumPy's letter for a kind: b bool, i and u integers, f floating, bfloat16 too."""
    found = dtype.kind
    return "f" if found == "V" and dtype in foreign else found


def wide(dtype: DType) -> DType:
    """Return the dtype in which values are computed and added up: float32 for the half types."""
    return float32 if dtype in halves else dtype


def convert(array: Array, dtype: DType) -> Array:
    """Return an array in another dtype, each element rounded once.

    Integers become a half type by way of float32, as in NumPy.
    """
    if dtype not in foreign or array.dtype == dtype:
        return array.astype(dtype, copy=False)
    if array.size > 1 and not any(array.strides):  # one element, repeated
        return np.broadcast_to(convert(array[(slice(1),) * array.ndim], dtype), array.shape)
    narrow = array.astype(float32)
    if array.dtype == float64:  # what was cut off must not look like a tie a second time
        narrow = _to_odd(array, narrow)
    return narrow.astype(dtype)


def _to_odd(exact: Array, rounded: Array) -> Array:
    """Return float64 cut to float32, with the last bit set where anything was cut off."""
    back = rounded.astype(float64)
    cut = (back != exact) & (exact == exact)
    beyond = np.abs(back) > np.abs(exact)
    bits = rounded.view(uint32)
    odd: Array = np.where(cut, (bits - beyond.astype(uint32)) | uint32.type(1), bits)
    return odd.view(float32)


def scalar(value: Any, dtype: DType) -> Array:
    """Return a Python number as an array without axes, rounded once."""
    if dtype in foreign:
        return convert(np.asarray(float(value), float64), dtype)
    return np.asarray(value, dtype)


def limits(dtype: DType) -> Any:
    """Return the limits of a floating dtype, as ``np.finfo`` names them."""
    return import_module("ml_dtypes").finfo(dtype) if dtype in foreign else np.finfo(dtype)


def _is_bfloat16(dtype: Any) -> builtins.bool:
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    return name == "bfloat16" or getattr(dtype, "__name__", None) == "bfloat16"


def _bfloat16() -> DType:
    """Load bfloat16, once.

    Raises
    ------
    BackendUnavailable
        If ml_dtypes is missing.
    """
    if not foreign:
        try:
            found: DType = np.dtype(import_module("ml_dtypes").bfloat16)
        except ImportError as error:
            raise BackendUnavailable(
                "bfloat16 needs the package ml_dtypes: NumPy has no such dtype",
                fix="pip install 'minigrad[lowp]', or use mg.float16",
            ) from error
        for known in (foreign, halves, supported):
            known.add(found)
        globals()["bfloat16"] = found
    return next(iter(foreign))


def __getattr__(name: str) -> Any:
    if name == "bfloat16":
        return _bfloat16()
    raise AttributeError(f"module 'minigrad.dtypes' has no attribute {name!r}")
