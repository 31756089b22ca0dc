"""The arithmetic of sliding windows: padding, positions, and inputs without a batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigrad.core.door import as_tensor, module_of
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array, convert, kind_of
from minigrad.errors import DataError, DtypeError, ShapeError
from minigrad.ops.movement import pad
from minigrad.ops.structural import reshape
from minigrad.ops.windows import windows
from minigrad.shapes import pair

__all__ = ["Ints", "Sliding", "batched", "constant_beside", "cut_windows", "padding_widths"]

Ints = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Sliding:
    """How a window slides: one entry per spatial axis."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]  # padding before
    high: tuple[int, ...]  # and after

    @property
    def extent(self) -> tuple[int, ...]:
        """How many elements a window spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))


def constant_beside(values: Array, x: Tensor) -> Tensor:
    """Return an array of the same dtype and on the same device as ``x``."""
    return as_tensor(module_of(x.node.value).asarray(convert(values, x.dtype)))


def padding_widths(
    what: str, padding: Ints | str, size: Sequence[int], stride: Sequence[int], dilation: Ints
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding before and after each axis; "same" keeps the size at stride 1.

    Raises
    ------
    DataError
        If the word is not known, the padding negative, or "same" meets a stride.
    """
    n = len(size)
    if padding == "valid":
        return (0,) * n, (0,) * n
    if padding == "same":
        if any(s != 1 for s in stride):
            raise DataError(
                f'{what}: padding="same" with stride {tuple(stride)}',
                rule='"same" keeps the size, which only stride 1 can',
                fix="give the padding as a number",
            )
        total = [d * (k - 1) for k, d in zip(size, pair(dilation, "dilation", n), strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    if isinstance(padding, str):
        raise DataError(f"{what}: padding = {padding!r} is not known", rule='"same" or "valid"')
    widths = pair(padding, f"{what}: padding", n)
    if min(widths) < 0:
        raise DataError(f"{what}: padding = {widths} is negative")
    return widths, widths


def batched(what: str, x: Tensor, n: int) -> tuple[Tensor, bool]:
    """Return an input with a batch axis, and whether it had one."""
    if x.ndim not in (n + 1, n + 2):
        axes = "(N, C, L) or (C, L)" if n == 1 else "(N, C, H, W) or (C, H, W)"
        raise ShapeError(
            f"{what}: input has shape {x.shape}, with {x.ndim} axes",
            operands=[x.node.describe()],
            rule=f"input is {axes}",
            fix="add an axis of channels: x.reshape(n, 1, height, width)" if n == 2 else None,
        )
    if x.ndim == n + 2:
        return x, True
    return reshape(x, (1, *x.shape)), False


def cut_windows(what: str, x: Tensor, sliding: Sliding, fill: float) -> Tensor:
    """Return the windows of a padded input: (N, C, *positions, *size).

    Raises
    ------
    ShapeError
        If a window does not fit.
    """
    n = len(sliding.size)
    spatial = x.shape[2:]
    around = list(zip(sliding.low, sliding.high, strict=True))
    for size, (low, high), extent in zip(spatial, around, sliding.extent, strict=True):
        if extent > size + low + high:
            raise ShapeError(
                f"{what}: a window of {sliding.extent} does not fit an input of {spatial}, "
                f"padded by {sliding.low} and {sliding.high}",
                operands=[x.node.describe()],
                rule="dilation * (kernel_size - 1) + 1 elements, at most the padded input",
                fix="pad more, or use a smaller kernel",
            )
    if fill and kind_of(x.dtype) != "f" and any(map(any, around)):
        raise DtypeError(f"{what}: {x.dtype} cannot be padded", fix="x.astype(mg.float32)")
    padded = pad(x, ((0, 0), (0, 0), *around), constant_values=fill)
    return windows(padded, tuple(range(2, 2 + n)), sliding.size, sliding.stride, sliding.dilation)
