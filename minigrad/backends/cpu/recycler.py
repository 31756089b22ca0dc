"""Memory of results, used again once nobody else holds it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from math import prod

import numpy as np

from minigrad.dtypes import Array, DType
from minigrad.shapes import Shape

from .layout import ALIGN

__all__ = ["Recycler"]


class Recycler:
    """Arrays for one result, used again once nobody else holds them.

    Memory that was written before is several times cheaper than memory new from the system,
    which must be cleared first. Whether an array is held is seen from the reference count of
    the memory that it is a view of: views of the array count, too.
    """

    __slots__ = ("_dtype", "_free", "_nbytes", "_shape")

    def __init__(self, shape: Shape, dtype: DType) -> None:
        self._shape = shape
        self._dtype = dtype
        self._nbytes = max(1, prod(shape)) * dtype.itemsize
        self._free: list[tuple[Array, int, int]] = []

    def take(self) -> tuple[Array, int]:
        """Return an array that nobody else holds, and its address."""
        for memory, offset, address in self._free:
            if sys.getrefcount(memory) == _ALONE:
                return np.ndarray(self._shape, self._dtype, memory, offset), address
        memory = np.zeros(self._nbytes + ALIGN, np.uint8)
        address = memory.ctypes.data
        offset = -address % ALIGN
        if len(self._free) >= _MOST:
            del self._free[0]
        self._free.append((memory, offset, address + offset))
        return np.ndarray(self._shape, self._dtype, memory, offset), address + offset

    def take_array(self) -> Array:
        """Return an array that nobody else holds."""
        return self.take()[0]

    @property
    def taker(self) -> Callable[[], Array]:
        """The fastest way to an array: NumPy keeps small memory itself."""
        if self._nbytes <= _SMALL:
            return partial(np.empty, self._shape, self._dtype)
        return self.take_array


_MOST = 8
_SMALL = 512  # bytes


def _measure() -> int:
    """Return the reference count of an array held by a list of tuples, in a loop over it."""
    entries = [(np.zeros(1), 0, 0)]
    for memory, _, _ in entries:
        return sys.getrefcount(memory)
    raise AssertionError


_ALONE = _measure()
