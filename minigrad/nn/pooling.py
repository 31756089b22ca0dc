"""Pooling as layers."""

from __future__ import annotations

from minigrad.core.tensor import Tensor
from minigrad.ops.kinds import ArrayLike

from . import functional
from .functional.sliding import Ints
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "MaxPool1d", "MaxPool2d",
]  # fmt: skip


def _plain(value: Ints) -> int | tuple[int, ...]:
    return value if isinstance(value, int) else tuple(value)


class _MaxPool(Module):
    """The settings of maximum pooling."""

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = _plain(kernel_size)
        self.stride = self.kernel_size if stride is None else _plain(stride)
        self.padding = _plain(padding)
        self.dilation = _plain(dilation)
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window of an axis; see ``functional.max_pool1d``.

    Formula
    -------
    ``y[n, c, i] = max over k of x[n, c, stride i + dilation k]``; tied winners share the
    cotangent

    Shapes
    ------
    ``input`` (N, C, L) or (C, L); the result has
    ``(L + 2 padding - dilation (K - 1) - 1) // stride + 1`` positions

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        One integer each; the stride is the kernel size if None.
    ceil_mode
        Whether the number of positions is rounded up.

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the maxima of x."""
        return functional.max_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.dilation,
            ceil_mode=self.ceil_mode,
        )  # fmt: skip


class MaxPool2d(_MaxPool):
    """The maximum of each window of an image; see ``functional.max_pool2d``.

    Formula
    -------
    ``y[n, c, i, j] = max over k, l of x[n, c, s i + d k, s j + d l]``; tied winners share the
    cotangent

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W); the result has
    ``(H + 2 padding - dilation (K - 1) - 1) // stride + 1`` rows

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        One integer for both axes, or one for each; the stride is the kernel size if None.
    ceil_mode
        Whether the numbers of rows and columns are rounded up.

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the maxima of x."""
        return functional.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation,
            ceil_mode=self.ceil_mode,
        )  # fmt: skip


class _AvgPool(Module):
    """The settings of average pooling."""

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = _plain(kernel_size)
        self.stride = self.kernel_size if stride is None else _plain(stride)
        self.padding = _plain(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of an axis; see ``functional.avg_pool1d``.

    Formula
    -------
    ``y[n, c, i] = (1 / K) sum over k of x[n, c, stride i + k]``

    Shapes
    ------
    ``input`` (N, C, L) or (C, L); the result has ``(L + 2 padding - K) // stride + 1``
    positions

    Parameters
    ----------
    kernel_size, stride, padding
        One integer each; the stride is the kernel size if None.
    ceil_mode
        Whether the number of positions is rounded up.
    count_include_pad
        Whether the padding counts in the mean.

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the means of x."""
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip


class AvgPool2d(_AvgPool):
    """The mean of each window of an image; see ``functional.avg_pool2d``.

    Formula
    -------
    ``y[n, c, i, j] = (1 / (K L)) sum over k, l of x[n, c, s i + k, s j + l]``

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W); the result has ``(H + 2 padding - K) // stride + 1``
    rows

    Parameters
    ----------
    kernel_size, stride, padding
        One integer for both axes, or one for each; the stride is the kernel size if None.
    ceil_mode
        Whether the numbers of rows and columns are rounded up.
    count_include_pad
        Whether the padding counts in the mean.
    divisor_override
        Divide the sums by this instead.

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the means of x."""
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class AdaptiveAvgPool1d(Module):
    """Means over nearly equal parts of an axis; see ``functional.adaptive_avg_pool1d``.

    Shapes
    ------
    ``input`` (N, C, L) or (C, L); the result has ``output_size`` positions
    """

    def __init__(self, output_size: int) -> None:
        self.output_size = output_size

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the means of x."""
        return functional.adaptive_avg_pool1d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the size."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(Module):
    """Means over nearly equal parts of an image; 1 is global average pooling.

    See ``functional.adaptive_avg_pool2d``.

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W); the result has ``output_size`` in place of (H, W)
    """

    def __init__(self, output_size: Ints) -> None:
        self.output_size = _plain(output_size)

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the means of x."""
        return functional.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the size."""
        return f"output_size={self.output_size}"
