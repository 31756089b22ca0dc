"""What the LLVM writer handles: values in registers, type names, literals.

A value is logical: a half type lives in ``float`` registers (rounded after each
operation), a boolean in ``i1``. Memory has the other forms, which ``memory`` converts.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

import numpy as np

from minigrad.dtypes import (
    DType,
    float32,
    float64,
    foreign,
    int8,
    int16,
    int32,
    int64,
    kind_of,
    scalar,
    uint8,
    uint16,
    uint32,
    uint64,
    wide,
)
from minigrad.dtypes import bool as bool_

__all__ = [
    "LAYOUT",
    "TYPES",
    "Layout",
    "Value",
    "conversion",
    "literal_text",
    "literal_value",
    "number_text",
    "suffix",
]


class Value(NamedTuple):
    """A scalar, or U registers of W lanes each.

    A named tuple, since one is made for every operation and a frozen dataclass takes
    three times as long to make.

    Attributes
    ----------
    regs
        Registers or literals: one for a scalar, U for a vector.
    dtype
        The logical dtype.
    lanes
        1 for a scalar, else W.
    depth
        The loop level at which it is known; 0 is the function's entry.
    """

    regs: tuple[str, ...]
    dtype: DType
    lanes: int
    depth: int


class Layout(NamedTuple):
    """How a floating dtype is laid out in bits."""

    integer: DType
    mantissa: int
    bias: int
    magic: float  #: 1.5 * 2**mantissa: adding it rounds to whole numbers, in the low bits


LAYOUT: Final = {
    float32: Layout(int32, 23, 127, 1.5 * 2.0**23),
    float64: Layout(int64, 52, 1023, 1.5 * 2.0**52),
}

_NAMES: Final = {
    bool_: "i1", int8: "i8", uint8: "i8", int16: "i16", uint16: "i16", int32: "i32",
    uint32: "i32", int64: "i64", uint64: "i64", float32: "float",
    float64: "double",
}  # fmt: skip


class _Types(dict[tuple[DType, int], str]):
    """LLVM's name of the registers for a dtype and a number of lanes, made when asked for."""

    def __missing__(self, key: tuple[DType, int]) -> str:
        name = _NAMES[wide(key[0])]
        self[key] = name = name if key[1] == 1 else f"<{key[1]} x {name}>"
        return name


TYPES: Final = _Types()

_SUFFIX: Final = {"float": "f32", "double": "f64"}


def suffix(dtype: DType, lanes: int) -> str:
    """Return the end of an overloaded intrinsic's name: ``v16f32``, ``i64``."""
    name = _NAMES[wide(dtype)]
    name = _SUFFIX.get(name, name)
    return name if lanes == 1 else f"v{lanes}{name}"


def literal_text(value: Any, dtype: DType) -> str:
    """Return a number as LLVM writes it: the bits of a double; integers wrap, and are signed."""
    if kind_of(dtype) == "f":
        with np.errstate(over="ignore"):
            number = float(scalar(value, dtype) if dtype in foreign else dtype.type(value))
        if number != number:
            number = float("nan")  # without a sign or a payload
        return "0x{:016X}".format(*struct.unpack("<Q", struct.pack("<d", number)))
    if kind_of(dtype) == "b":
        return "true" if value else "false"
    size = 1 << 8 * dtype.itemsize
    return str((int(value) + size // 2) % size - size // 2)


#: Numbers that were needed lately, in every lane of some registers.
_numbers: dict[tuple[Any, DType, int, int], tuple[str, ...]] = {}


def number_text(value: Any, dtype: DType, lanes: int, count: int) -> tuple[str, ...]:
    """Return ``count`` times a number in every lane, which costs no instruction."""
    key = (value or repr(value), dtype, lanes, count)  # 0.0 and -0.0 would be one key
    found = _numbers.get(key)
    if found is None:
        text = literal_text(value, dtype)
        if lanes > 1:
            text = f"splat ({TYPES[dtype, 1]} {text})"
        if len(_numbers) > 9999:
            _numbers.clear()
        _numbers[key] = found = (text,) * count
    return found


def literal_value(text: str, dtype: DType) -> Any:
    """Return the number that a literal stands for."""
    if kind_of(dtype) == "f":
        return struct.unpack("<d", struct.pack("<Q", int(text, 16)))[0]
    if kind_of(dtype) == "b":
        return text == "true"
    return int(text) % (1 << 8 * dtype.itemsize) if kind_of(dtype) == "u" else int(text)


def conversion(source: DType, target: DType) -> str:
    """Return LLVM's conversion between registers of two dtypes; "" where the bits are the same."""
    if kind_of(source) == "f":
        if kind_of(target) == "f":
            wider = _bits(target) - _bits(source)
            return "fpext" if wider > 0 else "fptrunc" if wider < 0 else ""
        return "fptosi" if kind_of(target) == "i" else "fptoui"
    if kind_of(target) == "f":
        return "sitofp" if kind_of(source) == "i" else "uitofp"
    wider = _bits(target) - _bits(source)
    if wider > 0:
        return "sext" if kind_of(source) == "i" else "zext"
    return "trunc" if wider < 0 else ""


def _bits(dtype: DType) -> int:
    """Return the width of a register."""
    name = _NAMES[wide(dtype)]
    return {"float": 32, "double": 64}.get(name) or int(name[1:])
