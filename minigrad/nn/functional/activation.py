"""Activations: elementwise functions, and softmax. Exact in both tails, to second order."""

from __future__ import annotations

from math import pi, sqrt

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.errors import DataError
from minigrad.ops import composed
from minigrad.ops.analytic import erf, exp, expm1, log1p
from minigrad.ops.analytic import tanh as hyperbolic_tangent
from minigrad.ops.arithmetic import as_float
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import greater, less_equal, where

from .scoping import scoped

__all__ = [
    "elu", "gelu", "leaky_relu", "log_softmax", "relu", "sigmoid", "silu", "softmax", "softplus",
    "softplus_pair", "tanh",
]  # fmt: skip


def floating(x: ArrayLike) -> Tensor:
    """Return an operand as a tensor of floats."""
    return as_tensor(as_float(x))


@scoped
def relu(input: ArrayLike) -> Tensor:
    """Return x where it is positive, else 0.

    Formula
    -------
    ``y = max(x, 0)``, with derivative 0 at 0. NaN passes.

    Shapes
    ------
    any; the result has the shape of ``input``
    """
    x = as_tensor(input)
    return where(less_equal(x, 0), 0, x)


@scoped
def leaky_relu(input: ArrayLike, negative_slope: float = 0.01) -> Tensor:
    """Return x where it is positive, else a small multiple of it.

    Formula
    -------
    ``y = x if x > 0 else negative_slope * x``, with derivative ``negative_slope`` at 0

    Shapes
    ------
    any; the result has the shape of ``input``
    """
    x = floating(input)
    return where(greater(x, 0), x, x * negative_slope)


@scoped
def elu(input: ArrayLike, alpha: float = 1.0) -> Tensor:
    """Return the exponential linear unit.

    Formula
    -------
    ``y = x if x > 0 else alpha * (exp(x) - 1)``, with derivative ``alpha`` at 0

    Shapes
    ------
    any; the result has the shape of ``input``

    Source
    ------
    Clevert, Unterthiner and Hochreiter, 2015.
    """
    x = floating(input)
    positive = greater(x, 0)
    return where(positive, x, expm1(where(positive, 0, x)) * alpha)


@scoped
def gelu(input: ArrayLike, approximate: str = "none") -> Tensor:
    """Return x times the probability that a standard normal number is below x.

    Formula
    -------
    ``y = x (1 + erf(x / sqrt(2))) / 2``; with ``approximate="tanh"``
    ``y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2``

    Shapes
    ------
    any; the result has the shape of ``input``

    Raises
    ------
    DataError
        If ``approximate`` is neither "none" nor "tanh".

    Source
    ------
    Hendrycks and Gimpel, 2016.
    """
    x = floating(input)
    if approximate == "none":
        return x * 0.5 * (erf(x * sqrt(0.5)) + 1.0)
    if approximate == "tanh":
        inner = (x + x * x * x * 0.044715) * sqrt(2.0 / pi)
        return x * 0.5 * (hyperbolic_tangent(inner) + 1.0)
    raise DataError(f"gelu: approximate = {approximate!r} is not known", rule='"none" or "tanh"')


@scoped
def silu(input: ArrayLike) -> Tensor:
    """Return x times its sigmoid, also called swish.

    Formula
    -------
    ``y = x / (1 + exp(-x))``

    Shapes
    ------
    any; the result has the shape of ``input``

    Source
    ------
    Elfwing, Uchibe and Doya, 2017.
    """
    x = floating(input)
    return x * composed.sigmoid(x)


def sigmoid(input: ArrayLike) -> Tensor:
    """Return the logistic function, exact in both tails.

    Formula
    -------
    ``y = 1 / (1 + exp(-x))``

    Shapes
    ------
    any; the result has the shape of ``input``
    """
    return composed.sigmoid(input)


def tanh(input: ArrayLike) -> Tensor:
    """Return the hyperbolic tangent.

    Formula
    -------
    ``y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))``

    Shapes
    ------
    any; the result has the shape of ``input``
    """
    return hyperbolic_tangent(floating(input))


def softplus_pair(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return softplus(x) and softplus(-x), each with full relative accuracy.

    Only exponentials of numbers up to 0 are taken, so nothing overflows, forward or back.
    """
    positive = greater(x, 0)
    rest = log1p(exp(where(positive, -x, x)))
    return where(positive, x, 0) + rest, where(positive, 0, -x) + rest


@scoped
def softplus(input: ArrayLike, beta: float = 1.0) -> Tensor:
    """Return a smooth version of relu, exact in both tails.

    Formula
    -------
    ``y = log(1 + exp(beta x)) / beta``; its derivative is ``sigmoid(beta x)``

    Shapes
    ------
    any; the result has the shape of ``input``
    """
    x = floating(input)
    if beta == 1.0:
        return softplus_pair(x)[0]
    return softplus_pair(x * beta)[0] / beta


def softmax(input: ArrayLike, dim: int = -1) -> Tensor:
    """Return exponentials that add up to 1 along ``dim``, without overflow.

    Formula
    -------
    ``y_i = exp(x_i) / sum_j exp(x_j)``

    Shapes
    ------
    any with at least one axis; the result has the shape of ``input``

    Raises
    ------
    ShapeError
        If there is no axis ``dim``.
    """
    return composed.softmax(input, axis=dim)


def log_softmax(input: ArrayLike, dim: int = -1) -> Tensor:
    """Return the logarithm of softmax along ``dim``, exact for small probabilities.

    Formula
    -------
    ``y_i = x_i - log(sum_j exp(x_j))``

    Shapes
    ------
    any with at least one axis; the result has the shape of ``input``

    Raises
    ------
    ShapeError
        If there is no axis ``dim``.
    """
    return composed.log_softmax(input, axis=dim)
