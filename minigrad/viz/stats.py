"""What a picture says about an array: its size, spread, zeros, and what went wrong in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.dtypes import Array, float32, foreign, kind_of

__all__ = ["Stats", "number", "statistics", "to_numpy", "value_text"]

_FEW = 4  # elements that are written out


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of one array; norm, low and high are those of its finite elements.

    Attributes
    ----------
    size
        Number of elements.
    norm
        Euclidean norm.
    low, high
        Smallest and largest element.
    zeros
        Share of elements that are exactly zero, in [0, 1].
    nans, infinities
        How many there are.
    """

    size: int
    norm: float
    low: float
    high: float
    zeros: float
    nans: int
    infinities: int

    @property
    def alarm(self) -> str | None:
        """What is wrong with the array, in a word, or None."""
        if self.nans:
            return "NaN" if self.size == 1 else f"{self.nans} NaN"
        if self.infinities:
            return "inf" if self.size == 1 else f"{self.infinities} inf"
        return None

    @property
    def dead(self) -> bool:
        """Whether every element is zero."""
        return self.size > 0 and self.zeros == 1.0


def to_numpy(value: Any) -> Array:
    """Return an array as NumPy's, wherever it is, in a dtype that NumPy computes with."""
    array: Array = np.asarray(value if isinstance(value, np.ndarray | np.generic) else value.get())
    return array.astype(float32) if array.dtype in foreign else array


def statistics(value: Any) -> Stats:
    """Return the statistics of an array of any dtype."""
    array = to_numpy(value)
    if array.size == 0:
        return Stats(0, 0.0, math.nan, math.nan, 0.0, 0, 0)
    zeros = 1.0 - np.count_nonzero(array) / array.size
    nans = infinities = 0
    finite = array
    if kind_of(array.dtype) == "f":
        nans = int(np.count_nonzero(np.isnan(array)))
        infinities = int(np.count_nonzero(np.isinf(array)))
        if nans or infinities:
            finite = array[np.isfinite(array)]
            if finite.size == 0:
                return Stats(array.size, 0.0, math.nan, math.nan, zeros, nans, infinities)
    low, high = float(finite.min()), float(finite.max())
    peak = max(abs(low), abs(high))
    norm = 0.0
    if peak > 0.0:  # scaled, so that squares neither overflow nor vanish
        scaled = finite.astype(np.float64).ravel() / peak
        norm = peak * math.sqrt(float(scaled @ scaled))
    return Stats(array.size, norm, low, high, zeros, nans, infinities)


def number(x: float, digits: int = 3) -> str:
    """Return a short text of a number: ``0.125``, ``-1.2e-05``, ``32``, with a true minus sign."""
    if isinstance(x, bool | np.bool_):
        return "true" if x else "false"
    x = float(x)
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "inf" if x > 0 else "−inf"
    if x == int(x) and abs(x) < 10 ** (digits + 2):
        return str(int(x)).replace("-", "−")
    text = f"{x:.{digits}g}"
    mantissa, exponent, power = text.partition("e")
    if exponent:
        text = f"{mantissa}e{int(power)}"
    return text.replace("-", "−")


def value_text(value: Any, stats: Stats | None = None) -> str:
    """Return the elements of a small array, the range and the norm of a large one."""
    array = to_numpy(value)
    if array.size == 0:
        return "empty"
    if array.size == 1:
        return number(array.item(), 4)
    if array.size <= _FEW and array.ndim == 1:
        return "[" + ", ".join(number(v) for v in array.tolist()) + "]"
    if kind_of(array.dtype) == "b":
        return f"{100.0 * np.count_nonzero(array) / array.size:.3g} % true"
    s = stats or statistics(array)
    if math.isnan(s.low):
        return "nothing finite"
    span = f"{number(s.low)} … {number(s.high)}"
    return span if kind_of(array.dtype) in "iu" else f"{span}   ‖{number(s.norm)}‖"
