"""Pooling: windows, then a maximum or a mean over each."""

from __future__ import annotations

import numpy as np

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array
from minigrad.errors import DataError
from minigrad.ops.composed import mean
from minigrad.ops.contraction import matmul
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.reductions import max
from minigrad.ops.structural import moveaxis, reshape, sum
from minigrad.shapes import pair

from .activation import floating
from .scoping import scoped
from .sliding import Ints, Sliding, batched, constant_beside, cut_windows

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d",
    "max_pool2d",
]  # fmt: skip


@scoped
def max_pool1d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the maximum of each window of an axis; tied winners share the cotangent.

    Formula
    -------
    ``y[n, c, i] = max over k of x[n, c, stride i + dilation k]``, x padded with -inf

    Shapes
    ------
    ``input`` (N, C, L) or (C, L); the result has
    ``(L + 2 padding - dilation (K - 1) - 1) // stride + 1`` positions, with ``ceil_mode``
    the quotient rounded up

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """
    return _max_pool("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, 1)


@scoped
def max_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the maximum of each window of an image; tied winners share the cotangent.

    Formula
    -------
    ``y[n, c, i, j] = max over k, l of x[n, c, s i + d k, s j + d l]`` with stride s and
    dilation d, x padded with -inf

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W); the result has
    ``(H + 2 padding - dilation (K - 1) - 1) // stride + 1`` rows, with ``ceil_mode`` the
    quotient rounded up

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """
    return _max_pool("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, 2)


@scoped
def avg_pool1d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of each window of an axis.

    Formula
    -------
    ``y[n, c, i] = (1 / K) sum over k of x[n, c, stride i + k]``, x padded with zeros;
    without ``count_include_pad`` divided by the number of elements that are not padding

    Shapes
    ------
    ``input`` (N, C, L) or (C, L); the result has ``(L + 2 padding - K) // stride + 1``
    positions, with ``ceil_mode`` the quotient rounded up

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """
    return _avg_pool(
        "avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1
    )


@scoped
def avg_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of each window of an image.

    Formula
    -------
    ``y[n, c, i, j] = (1 / (K L)) sum over k, l of x[n, c, s i + k, s j + l]`` with stride s,
    x padded with zeros; without ``count_include_pad`` divided by the number of elements that
    are not padding; with ``divisor_override`` by that

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W); the result has ``(H + 2 padding - K) // stride + 1``
    rows, with ``ceil_mode`` the quotient rounded up

    Raises
    ------
    ShapeError
        If a window is larger than the padded input.
    DataError
        If the padding is more than half of the window.
    """
    return _avg_pool(
        "avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override, 2,
    )  # fmt: skip


@scoped
def adaptive_avg_pool1d(input: ArrayLike, output_size: int) -> Tensor:
    """Return means over ``output_size`` nearly equal parts of the last axis.

    Formula
    -------
    Position i is the mean from ``floor(i L / M)`` to before ``ceil((i + 1) L / M)``.

    Shapes
    ------
    ``input`` (N, C, L) or (C, L); the result has ``M = output_size`` positions
    """
    x, _ = batched("adaptive_avg_pool1d", floating(input), 1)
    return reshape(_adaptive(x, 2, output_size), (*as_tensor(input).shape[:-1], output_size))


@scoped
def adaptive_avg_pool2d(input: ArrayLike, output_size: Ints) -> Tensor:
    """Return means over nearly equal parts of height and width; 1 is global pooling.

    Formula
    -------
    Position i is the mean from ``floor(i H / M)`` to before ``ceil((i + 1) H / M)``, and
    likewise for the width.

    Shapes
    ------
    ``input`` (N, C, H, W) or (C, H, W); the result has ``output_size`` (M, M') in their place
    """
    x, _ = batched("adaptive_avg_pool2d", floating(input), 2)
    rows, columns = pair(output_size, "adaptive_avg_pool2d: output_size")
    y = _adaptive(_adaptive(x, 2, rows), 3, columns)
    return reshape(y, (*as_tensor(input).shape[:-2], rows, columns))


def _adaptive(x: Tensor, axis: int, parts: int) -> Tensor:
    """Average an axis in parts: a product with a matrix of weights, or one mean for one part."""
    n = x.shape[axis]
    if parts < 1 or n < 1:
        raise DataError(f"adaptive pooling: an axis of {n} elements has no {parts} parts")
    if parts == 1:
        return mean(x, axis, keepdims=True)
    weights = np.zeros((n, parts))
    for i in range(parts):
        start, stop = i * n // parts, -(-(i + 1) * n // parts)
        weights[start:stop, i] = 1.0 / (stop - start)
    product = matmul(moveaxis(x, axis, -1), constant_beside(weights, x))
    return moveaxis(product, -1, axis)


def _max_pool(
    what: str,
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    n: int,
) -> Tensor:
    x, had_batch = batched(what, as_tensor(input), n)
    sliding = _sliding(what, x, kernel_size, stride, padding, dilation, ceil_mode, n)
    found = cut_windows(what, x, sliding, float("-inf"))
    y = max(found, tuple(range(2 + n, 2 + 2 * n)))
    return y if had_batch else reshape(y, y.shape[1:])


def _avg_pool(
    what: str,
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    n: int,
) -> Tensor:
    x, had_batch = batched(what, floating(input), n)
    sliding = _sliding(what, x, kernel_size, stride, padding, 1, ceil_mode, n)
    found = cut_windows(what, x, sliding, 0.0)
    total = sum(found, tuple(range(2 + n, 2 + 2 * n)))
    if divisor_override is not None:
        y = total / float(divisor_override)
    else:
        margin = pair(padding, "padding", n)
        counts = _counts(x.shape[2:], total.shape[2:], sliding, margin, count_include_pad)
        uniform = counts.size and (counts == counts.flat[0]).all()
        y = total / (float(counts.flat[0]) if uniform else constant_beside(counts, x))
    return y if had_batch else reshape(y, y.shape[1:])


def _counts(
    sizes: tuple[int, ...],
    positions: tuple[int, ...],
    sliding: Sliding,
    margin: tuple[int, ...],
    count_include_pad: bool,
) -> Array:
    """Return by what each window is divided: its elements, less those beyond the padding."""
    counts = np.ones((), np.int64)
    for n, m, k, s, p in zip(sizes, positions, sliding.size, sliding.stride, margin, strict=True):
        start = np.arange(m) * s - p
        stop = np.minimum(start + k, n + p)
        if not count_include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, n)
        counts = np.multiply.outer(counts, stop - start)
    return counts


def _sliding(
    what: str,
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    n: int,
) -> Sliding:
    size = pair(kernel_size, f"{what}: kernel_size", n)
    strides = size if stride is None else pair(stride, f"{what}: stride", n)
    margin = pair(padding, f"{what}: padding", n)
    steps = pair(dilation, f"{what}: dilation", n)
    if any(p < 0 or 2 * p > k for p, k in zip(margin, size, strict=True)):
        raise DataError(
            f"{what}: padding {margin} with a window of {size}",
            rule="from 0 to half of the window: else some windows see padding alone",
        )
    if not ceil_mode:
        return Sliding(size, strides, steps, margin, margin)
    high = []
    spans = zip(x.shape[2:], size, strides, margin, steps, strict=True)
    for length, k, s, p, d in spans:
        extent = d * (k - 1) + 1
        positions = -((extent - length - 2 * p) // s) + 1
        if (positions - 1) * s >= length + p:  # the last window would start beyond the input
            positions -= 1
        needed = (positions - 1) * s + extent - length - p
        high.append(needed if needed > p else p)
    return Sliding(size, strides, steps, margin, tuple(high))
