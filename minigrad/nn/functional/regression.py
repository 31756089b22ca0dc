"""Losses of numbers against numbers."""

from __future__ import annotations

from minigrad.core.tensor import Tensor
from minigrad.errors import DataError
from minigrad.ops.arithmetic import abs
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import less, less_equal, where

from .reduction import paired, reduce
from .scoping import scoped

__all__ = ["huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss"]


@scoped
def mse_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Tensor:
    """Return the mean squared error.

    Formula
    -------
    ``(1 / n) sum (x - t)^2``; "sum" without the 1 / n, "none" element by element

    Shapes
    ------
    ``input`` and ``target`` of one shape; the result is a scalar, for "none" of that shape

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    x, t = paired("mse_loss", input, target)
    d = x - t
    return reduce("mse_loss", d * d, reduction)


@scoped
def l1_loss(input: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Tensor:
    """Return the mean absolute error; its derivative at 0 is 0.

    Formula
    -------
    ``(1 / n) sum |x - t|``; "sum" without the 1 / n, "none" element by element

    Shapes
    ------
    ``input`` and ``target`` of one shape; the result is a scalar, for "none" of that shape

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    x, t = paired("l1_loss", input, target)
    return reduce("l1_loss", abs(x - t), reduction)


@scoped
def smooth_l1_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Return an absolute error that is quadratic near 0.

    Formula
    -------
    per element ``d^2 / (2 beta) if |d| < beta else |d| - beta / 2`` with ``d = x - t``

    Shapes
    ------
    ``input`` and ``target`` of one shape; the result is a scalar, for "none" of that shape

    Raises
    ------
    ShapeError
        If the shapes differ.
    DataError
        If beta is negative.
    """
    if beta < 0:
        raise DataError(f"smooth_l1_loss: beta = {beta} is negative")
    x, t = paired("smooth_l1_loss", input, target)
    d = x - t
    size = abs(d)
    if beta > 0:
        size = where(less(size, beta), d * d * (0.5 / beta), size - 0.5 * beta)
    return reduce("smooth_l1_loss", size, reduction)


@scoped
def huber_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Return a squared error that grows linearly far from 0.

    Formula
    -------
    per element ``d^2 / 2 if |d| <= delta else delta (|d| - delta / 2)`` with ``d = x - t``

    Shapes
    ------
    ``input`` and ``target`` of one shape; the result is a scalar, for "none" of that shape

    Raises
    ------
    ShapeError
        If the shapes differ.
    DataError
        If delta is not positive.

    Source
    ------
    Huber, 1964.
    """
    if delta <= 0:
        raise DataError(f"huber_loss: delta = {delta} is not positive")
    x, t = paired("huber_loss", input, target)
    d = x - t
    size = abs(d)
    each = where(less_equal(size, delta), d * d * 0.5, (size - 0.5 * delta) * delta)
    return reduce("huber_loss", each, reduction)
