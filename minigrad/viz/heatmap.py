"""A small picture of a matrix: one coloured cell per element, as a PNG of our own making."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from minigrad.dtypes import Array

from .stats import to_numpy

__all__ = ["heat_map", "png_bytes"]

_SIDE = 192  # pixels of the longer side, about
_CELLS = 96  # cells of the longer side at most; larger matrices are averaged
_FEW = 16  # elements, up to which the numbers say it better

_LOW = np.array([33, 102, 172], np.float64)
_MIDDLE = np.array([247, 247, 247], np.float64)
_HIGH = np.array([178, 24, 43], np.float64)
_NOT_A_NUMBER = np.array([0, 0, 0], np.float64)


def png_bytes(pixels: Array) -> bytes:
    """Return an array of shape (height, width, 3) and dtype uint8 as a PNG file."""
    height, width, _ = pixels.shape
    raw = b"".join(b"\x00" + row.tobytes() for row in np.ascontiguousarray(pixels))

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw, 9))
        + chunk(b"IEND", b"")
    )


def heat_map(value: Any) -> tuple[bytes, str] | None:
    """Return a PNG of a matrix and what its colours mean, or None if it is no such thing.

    Blue is negative, red positive, white zero, black not a number.
    """
    array = to_numpy(value)
    if array.ndim != 2 or array.size <= _FEW or min(array.shape) < 2:
        return None
    factor = -(-max(array.shape) // _CELLS)
    numbers = array.astype(np.float64)
    if factor > 1:
        numbers = _averaged(numbers, factor)
    finite = numbers[np.isfinite(numbers)]
    peak = float(np.max(np.abs(finite), initial=0.0))
    scaled = np.clip(np.nan_to_num(numbers, posinf=peak, neginf=-peak) / (peak or 1.0), -1, 1)
    strength = np.abs(scaled)[..., None]
    end = np.where(scaled[..., None] < 0, _LOW, _HIGH)
    colours = (1 - strength) * _MIDDLE + strength * end
    colours[np.isnan(numbers)] = _NOT_A_NUMBER
    zoom = max(_SIDE // max(numbers.shape), 1)
    pixels = np.repeat(np.repeat(colours.round().astype(np.uint8), zoom, 0), zoom, 1)
    meaning = f"blue −{peak:.3g}, white 0, red {peak:.3g}"
    if factor > 1:
        meaning += f"; a cell is the mean of {factor} × {factor} elements"
    return png_bytes(pixels), meaning


def _averaged(array: Array, factor: int) -> Array:
    """Return the means of square blocks; those at the border may be smaller."""
    for axis in (0, 1):
        starts = np.arange(0, array.shape[axis], factor)
        counts = np.diff([*starts, array.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        array = np.add.reduceat(array, starts, axis=axis) / counts.reshape(shape)
    return array
