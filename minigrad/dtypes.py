"""The dtypes, how they promote, and the one table of tolerances.

A dtype is a NumPy dtype: ``mg.float32 is np.dtype("float32")``. Promotion among
floating types, and among integer types, is NumPy's. A floating type absorbs an
integer or boolean one and keeps its width (int64 with float32 is float32): a count
or a mask must not turn a float32 model into float64.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .changes import changes
from .errors import DtypeError

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

FLOATS = (float16, float32, float64)
INTEGERS = (int8, int16, int32, int64, uint8, uint16, uint32, uint64)
ALL = (bool, *INTEGERS, *FLOATS)

_SHORT = {"bool": "bool", "float": "f", "int": "i", "uint": "u"}

#: Relative tolerance for comparing one operation across implementations.
TOLERANCE: dict[DType, float] = {float16: 2e-3, float32: 2e-5, float64: 1e-11}

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
    if chosen.kind != "f":
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
    try:
        found: DType = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(
            f"{dtype!r} is not a dtype", fix="use mg.float32, mg.int64, ..."
        ) from error
    found = found if found.isnative else found.newbyteorder("=")
    if found not in ALL:
        raise DtypeError(
            f"dtype {found} is not supported",
            rule="bool, int8 to int64, uint8 to uint64, float16, float32, float64",
            fix="convert with astype before making a tensor",
        )
    return found


def short(dtype: DType) -> str:
    """Return the two- or three-letter name used in dumps: ``f32``, ``i64``, ``bool``."""
    stem = dtype.name.rstrip("0123456789")
    return _SHORT.get(stem, stem) + dtype.name[len(stem) :]


def result_type(*dtypes: DType) -> DType:
    """Return the dtype in which operands of these dtypes meet."""
    floats = [d for d in dtypes if d.kind == "f"]
    return np.result_type(*(floats or dtypes))


def tolerance(dtype: DType) -> float:
    """Return the relative tolerance for comparing results of this dtype (0 for integers)."""
    return TOLERANCE.get(dtype, 0.0)
