"""Where a node lies in memory."""

from __future__ import annotations

from dataclasses import dataclass

from minigrad.dtypes import DType, float16, float32

__all__ = ["Place", "wide"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node lies: a buffer, and the offset and strides of its elements in it."""

    buffer: int
    offset: int
    strides: tuple[int, ...]


def wide(dtype: DType) -> DType:
    """Return the dtype in which a dtype is added up."""
    return float32 if dtype == float16 else dtype
