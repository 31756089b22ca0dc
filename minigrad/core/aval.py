"""The type of a value: its shape and dtype."""

from __future__ import annotations

from minigrad.dtypes import DType, kind_of, short
from minigrad.shapes import Shape

__all__ = ["Aval", "aval"]


class Aval:
    """Shape and dtype of an array whose values need not be known.

    Interned: two avals are equal exactly when they are the same object, so the
    commonest test while recording, "same type?", is one pointer comparison. Make
    them with ``aval(shape, dtype)``.
    """

    __slots__ = ("dtype", "kind", "shape")

    def __init__(self, shape: Shape, dtype: DType) -> None:
        self.shape = shape
        self.dtype = dtype
        self.kind = kind_of(dtype)  # b bool, i and u integers, f floating

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        total = 1
        for n in self.shape:
            total *= n
        return total

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{short(self.dtype)}[{', '.join(map(str, self.shape))}]"

    def __reduce__(self) -> tuple[object, ...]:
        return aval, (self.shape, self.dtype)


_interned: dict[tuple[Shape, DType], Aval] = {}


def aval(shape: Shape, dtype: DType) -> Aval:
    """Return the one Aval of this shape and dtype."""
    key = (shape, dtype)
    found = _interned.get(key)
    if found is None:
        found = _interned.setdefault(key, Aval(shape, dtype))
    return found
