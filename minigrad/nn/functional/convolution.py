"""Convolutions: windows, then one matrix product. Their gradients are derived from these."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from minigrad.core.door import as_tensor, cast
from minigrad.core.tensor import Tensor
from minigrad.dtypes import result_type
from minigrad.errors import DataError, ShapeError
from minigrad.ops.contraction import matmul
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.structural import matrix_transpose, permute_dims, reshape
from minigrad.shapes import pair

from .scoping import scoped
from .sliding import Ints, Sliding, batched, cut_windows, padding_widths

__all__ = ["conv1d", "conv2d"]


@scoped
def conv1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Slide a kernel over one axis.

    Formula
    -------
    ``y[n, o, i] = b[o] + sum over c, k of W[o, c, k] x[n, c, stride i + dilation k]``, x
    padded with zeros; with groups, output channels see the input channels of their group

    Shapes
    ------
    ``input`` (N, C, L) or (C, L), ``weight`` (O, C / groups, K), ``bias`` (O); the result is
    (N, O, M) with ``M = (L + 2 padding - dilation (K - 1) - 1) // stride + 1``

    Raises
    ------
    ShapeError
        If channels do not fit, or the kernel is larger than the padded input.
    DataError
        If groups do not divide the channels, or the padding is not known.
    """
    return _convolve("conv1d", input, weight, bias, stride, padding, dilation, groups, 1)


@scoped
def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Slide a kernel over height and width.

    Formula
    -------
    ``y[n, o, i, j] = b[o] + sum over c, k, l of W[o, c, k, l] x[n, c, s i + d k, s j + d l]``
    with stride s and dilation d, x padded with zeros; with groups, output channels see the
    input channels of their group

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W), ``weight`` (O, C / groups, K, L), ``bias`` (O); the
    result is (N, O, H', W') with ``H' = (H + 2 padding - dilation (K - 1) - 1) // stride + 1``

    Raises
    ------
    ShapeError
        If channels do not fit, or the kernel is larger than the padded input.
    DataError
        If groups do not divide the channels, or the padding is not known.
    """
    return _convolve("conv2d", input, weight, bias, stride, padding, dilation, groups, 2)


def _convolve(
    what: str,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
    n: int,
) -> Tensor:
    x, had_batch = batched(what, as_tensor(input), n)
    w = as_tensor(weight)
    _check_channels(what, x, w, groups, n)
    common = result_type(x.dtype, w.dtype)
    x, w = cast(x, common), cast(w, common)
    size = w.shape[2:]
    strides = pair(stride, f"{what}: stride", n)
    low, high = padding_widths(what, padding, size, strides, dilation)
    sliding = Sliding(size, strides, pair(dilation, f"{what}: dilation", n), low, high)
    found = cut_windows(what, x, sliding, 0.0)
    y = _product(found, w, n) if groups == 1 else _grouped_product(found, w, groups, n)
    if bias is not None:
        y = y + bias
    y = permute_dims(y, (0, n + 1, *range(1, n + 1)))
    return y if had_batch else reshape(y, y.shape[1:])


def _product(found: Tensor, w: Tensor, n: int) -> Tensor:
    """Multiply each window by the kernels: (N, C, *positions, *size) to (N, *positions, O)."""
    positions, kernel = range(2, 2 + n), range(2 + n, 2 + 2 * n)
    rows = permute_dims(found, (0, *positions, 1, *kernel))
    at, k = rows.shape[: n + 1], prod(w.shape[1:])
    columns = permute_dims(reshape(w, (w.shape[0], k)), (1, 0))
    y = matmul(reshape(rows, (prod(at), k)), columns)
    return reshape(y, (*at, w.shape[0]))


def _grouped_product(found: Tensor, w: Tensor, groups: int, n: int) -> Tensor:
    """Multiply group by group, in one batched product."""
    out, inside = w.shape[:2]
    spaced = reshape(found, (found.shape[0], groups, inside, *found.shape[2:]))
    positions, kernel = range(3, 3 + n), range(3 + n, 3 + 2 * n)
    rows = permute_dims(spaced, (1, 0, *positions, 2, *kernel))
    at, k = rows.shape[1 : n + 2], prod(w.shape[1:])
    columns = matrix_transpose(reshape(w, (groups, out // groups, k)))
    y = matmul(reshape(rows, (groups, prod(at), k)), columns)
    y = reshape(y, (groups, *at, out // groups))
    return reshape(permute_dims(y, (*range(1, n + 2), 0, n + 2)), (*at, out))


def _check_channels(what: str, x: Tensor, w: Tensor, groups: int, n: int) -> None:
    operands: Sequence[str] = [x.node.describe(), w.node.describe()]
    if w.ndim != n + 2:
        raise ShapeError(
            f"{what}: weight has shape {w.shape}",
            operands=operands,
            rule="weight is (out, in / groups, *kernel)",
        )
    if groups < 1 or w.shape[0] % groups:
        raise DataError(f"{what}: {groups} groups do not divide {w.shape[0]} output channels")
    if x.shape[1] != w.shape[1] * groups:
        raise ShapeError(
            f"{what}: input has {x.shape[1]} channels, weight takes {w.shape[1] * groups}",
            operands=operands,
            rule="input (N, in, ...), weight (out, in / groups, ...)",
            fix="check the number of channels, and that they are axis 1 (NCHW)",
        )
