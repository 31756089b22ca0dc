"""Convolutions as layers."""

from __future__ import annotations

from math import prod, sqrt

from minigrad.core.door import as_tensor
from minigrad.core.state import Parameter
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike
from minigrad.errors import DataError, ShapeError
from minigrad.ops.kinds import ArrayLike
from minigrad.shapes import pair

from . import functional, init
from .dense import check_sizes
from .functional.sliding import Ints, padding_widths
from .module import Module

__all__ = ["Conv1d", "Conv2d"]


class _Convolution(Module):
    """What convolutions over one and over two axes share: settings, parameters, checks."""

    spatial: int
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints | str = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike = None,
    ) -> None:
        kind, n = type(self).__name__, self.spatial
        check_sizes(kind, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise DataError(
                f"{kind}: {groups} groups do not divide {in_channels} input and "
                f"{out_channels} output channels"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair(kernel_size, f"{kind}: kernel_size", n)
        self.stride = pair(stride, f"{kind}: stride", n)
        self.dilation = pair(dilation, f"{kind}: dilation", n)
        check_sizes(
            kind,
            kernel_size=min(self.kernel_size),
            stride=min(self.stride),
            dilation=min(self.dilation),
        )
        padding_widths(kind, padding, self.kernel_size, self.stride, self.dilation)
        words = isinstance(padding, str)
        self.padding = padding if words else pair(padding, f"{kind}: padding", n)  # type: ignore[arg-type]
        self.groups = groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        bound = 1.0 / sqrt(prod(shape[1:]))
        self.weight = Parameter(init.uniform(shape, -bound, bound, dtype=dtype))
        self.bias = (
            Parameter(init.uniform((out_channels,), -bound, bound, dtype=dtype)) if bias else None
        )

    def _checked(self, input: ArrayLike) -> Tensor:
        x = as_tensor(input)
        n = self.spatial
        axes = "C, L" if n == 1 else "C, H, W"
        if x.ndim not in (n + 1, n + 2):
            raise ShapeError(
                f"{self._title}: input has {x.ndim} axes, shape {x.shape}",
                operands=[x.node.describe()],
                rule=f"input is (N, {axes}) or ({axes})",
                fix="add an axis for the channels: x.reshape(n, 1, height, width)",
            )
        channels = x.shape[-n - 1]
        if channels != self.in_channels:
            raise ShapeError(
                f"{self._title}: input has {channels} channels, shape {x.shape}",
                operands=[x.node.describe()],
                rule=f"input is (N, {self.in_channels}, {axes[3:]})",
                fix="check the layer before, and that channels are axis 1 (NCHW)",
            )
        return x

    def _brief(self) -> str:
        kernel = " x ".join(map(str, self.kernel_size))
        return f"{type(self).__name__} {self.in_channels} -> {self.out_channels}, kernel {kernel}"

    def extra_repr(self) -> str:
        """Return the settings that are not the defaults."""
        n = self.spatial
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding != (0,) * n:
            parts.append(f"padding={self.padding!r}")
        if self.dilation != (1,) * n:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class Conv1d(_Convolution):
    """A convolution over one axis; see ``functional.conv1d``.

    Formula
    -------
    ``y[n, o, i] = b[o] + sum over c, k of W[o, c, k] x[n, c, stride i + dilation k]``

    Shapes
    ------
    ``input`` (N, C, L) or (C, L), ``weight`` (O, C / groups, K), ``bias`` (O); the result is
    (N, O, M) with ``M = (L + 2 padding - dilation (K - 1) - 1) // stride + 1``

    Parameters
    ----------
    in_channels, out_channels
        C and O.
    kernel_size, stride, dilation
        One integer each.
    padding
        Zeros on both sides; or "same" (the length stays) or "valid" (none).
    groups
        Output channels see only the input channels of their group.
    bias
        Whether there is a bias.
    dtype
        Of the parameters; the default floating dtype if None.

    Weight and bias start uniform on ``(-1, 1) / sqrt(C K / groups)``.

    Raises
    ------
    ShapeError
        If the input has other channels, or is too small for the kernel.
    DataError
        If groups do not divide the channels, or the padding is not known.
    """

    spatial = 1

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the convolution of x."""
        return functional.conv1d(
            self._checked(input), self.weight, self.bias, self.stride, self.padding,
            self.dilation, self.groups,
        )  # fmt: skip


class Conv2d(_Convolution):
    """A convolution over height and width; see ``functional.conv2d``.

    Formula
    -------
    ``y[n, o, i, j] = b[o] + sum over c, k, l of W[o, c, k, l] x[n, c, s i + d k, s j + d l]``
    with stride s and dilation d

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W), ``weight`` (O, C / groups, K, L), ``bias`` (O); the
    result is (N, O, H', W') with ``H' = (H + 2 padding - dilation (K - 1) - 1) // stride + 1``

    Parameters
    ----------
    in_channels, out_channels
        C and O.
    kernel_size, stride, dilation
        One integer for both axes, or one for each.
    padding
        Zeros around the image; or "same" (the size stays) or "valid" (none).
    groups
        Output channels see only the input channels of their group.
    bias
        Whether there is a bias.
    dtype
        Of the parameters; the default floating dtype if None.

    Weight and bias start uniform on ``(-1, 1) / sqrt(C K L / groups)``.

    Raises
    ------
    ShapeError
        If the input has other channels, or is too small for the kernel.
    DataError
        If groups do not divide the channels, or the padding is not known.
    """

    spatial = 2

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the convolution of x."""
        return functional.conv2d(
            self._checked(input), self.weight, self.bias, self.stride, self.padding,
            self.dilation, self.groups,
        )  # fmt: skip
