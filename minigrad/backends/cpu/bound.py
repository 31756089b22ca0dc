"""Calling a plan with NumPy arrays, natively: what is known of CPython's and NumPy's memory.

``call(plan, *arrays)`` reads an array's address, flags, base and reference count from where
CPython (64 bits, with its lock) and NumPy keep them. ``layout()`` tries all of that out on
arrays at hand and returns None where anything is elsewhere; plans are then bound in Python.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["Layout", "layout"]

# Where an array keeps things, in bytes from its beginning.
_COUNT, _TYPE, _DATA, _BASE, _DESCR, _FLAGS = 0, 8, 16, 48, 56, 64


class Layout(NamedTuple):
    """What the native call compares with.

    Attributes
    ----------
    array
        The type of plain arrays.
    shared
        The reference count of memory that one array is a view of, and that the executable
        keeps to be used again.
    memory
        The description of the bytes of such memory.
    """

    array: int
    shared: int
    memory: int


def _word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _half(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


@cache
def layout() -> Layout | None:
    """Return what the native call compares with, or None if memory is laid out otherwise."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    memory = np.zeros(192, np.uint8)
    listed = [memory]
    view = np.ndarray((3, 4), np.float32, memory, 64)
    turned = view.T
    expected = (
        (_word(id(view) + _TYPE), id(np.ndarray)),
        (_word(id(view) + _DATA), view.ctypes.data),
        (_word(id(view) + _BASE), id(memory)),
        (_word(id(memory) + _BASE), 0),
        (_half(id(view) + _FLAGS) & 0x101, 0x101),
        (_half(id(turned) + _FLAGS) & 0x101, 0x100),
        (_word(id(memory) + _DESCR), id(np.dtype(np.uint8))),
        (_half(id(listed) + _COUNT), sys.getrefcount(listed) - 1),
        (_half(id(view) + _COUNT), sys.getrefcount(view) - 1),
    )
    if any(found != wanted for found, wanted in expected):
        return None
    del turned
    return Layout(id(np.ndarray), 2, id(np.dtype(np.uint8)))
