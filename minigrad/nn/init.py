"""Initial values of parameters. ``mg.random.seed`` governs them all.

Each function takes a parameter, which is assigned and returned, or a shape, for which a
tensor is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, TypeAlias

import numpy as np

from minigrad.core.door import as_tensor, module_of
from minigrad.core.state import Cell
from minigrad.core.tape import no_grad
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DType, DTypeLike, as_dtype, convert, get_default_dtype
from minigrad.errors import DataError, ShapeError
from minigrad.ops import random
from minigrad.ops.composed import to
from minigrad.ops.creation import full
from minigrad.shapes import Shape, as_shape

__all__ = [
    "calculate_gain", "constant", "fans", "glorot_normal", "glorot_uniform", "he_normal",
    "he_uniform", "normal", "ones", "orthogonal", "uniform", "zeros",
]  # fmt: skip

Target: TypeAlias = Any  # a parameter or buffer, or a shape

_MODES = ("fan_in", "fan_out", "average")


def _described(target: Target, dtype: DTypeLike) -> tuple[Shape, DType]:
    """Return shape and dtype of the values to make."""
    if isinstance(target, Cell):
        return target.shape, target.dtype
    return as_shape(target), get_default_dtype() if dtype is None else as_dtype(dtype)


def _given(target: Target, values: Tensor) -> Any:
    """Return the values; if a cell was given, the cell, with these values."""
    if not isinstance(target, Cell):
        return values
    with no_grad():
        target.assign(to(values, module_of(target.leaf.value).__name__))  # on its device
    return target


def constant(target: Target, value: float, *, dtype: DTypeLike = None) -> Any:
    """Set all elements to one value.

    For weights a bad idea: the units of a layer get equal gradients, and stay equal for ever.

    Formula
    -------
    ``W = value``
    """
    shape, kind = _described(target, dtype)
    return _given(target, full(shape, value, dtype=kind))


def zeros(target: Target, *, dtype: DTypeLike = None) -> Any:
    """Set all elements to 0.

    Formula
    -------
    ``W = 0``
    """
    return constant(target, 0, dtype=dtype)


def ones(target: Target, *, dtype: DTypeLike = None) -> Any:
    """Set all elements to 1.

    Formula
    -------
    ``W = 1``
    """
    return constant(target, 1, dtype=dtype)


def normal(target: Target, mean: float = 0.0, std: float = 1.0, *, dtype: DTypeLike = None) -> Any:
    """Draw from a normal distribution.

    Formula
    -------
    ``W ~ N(mean, std^2)``

    Raises
    ------
    DataError
        If ``std`` is negative.
    """
    if std < 0:
        raise DataError(f"init.normal: std = {std} is negative")
    shape, kind = _described(target, dtype)
    with no_grad():
        return _given(target, random.normal(shape, mean, std, dtype=kind))


def uniform(target: Target, a: float = 0.0, b: float = 1.0, *, dtype: DTypeLike = None) -> Any:
    """Draw from a uniform distribution on [a, b).

    Formula
    -------
    ``W ~ U(a, b)``, of variance ``(b - a)^2 / 12``

    Raises
    ------
    DataError
        If b is below a.
    """
    if b < a:
        raise DataError(f"init.uniform: the interval from {a} to {b} is empty")
    shape, kind = _described(target, dtype)
    with no_grad():
        return _given(target, random.uniform(shape, a, b, dtype=kind))


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return the numbers of inputs and of outputs that a weight connects.

    Formula
    -------
    For (out, in) of Linear: in and out. For (out, in, *kernel) of a convolution each times
    the number of the kernel's elements.

    Raises
    ------
    ShapeError
        If there are fewer than two axes: a bias has no fan.
    """
    if len(shape) < 2:
        raise ShapeError(
            f"init: a parameter of shape {tuple(shape)} has no fan-in and fan-out",
            rule="weights are (out, in) or (out, in, *kernel)",
            fix="use init.zeros, init.normal or init.uniform for biases",
        )
    receptive = prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights make up for what a nonlinearity takes away.

    Formula
    -------
    1 for "linear", "conv1d", "conv2d" and "sigmoid"; 5 / 3 for "tanh"; sqrt(2) for "relu";
    sqrt(2 / (1 + param^2)) for "leaky_relu", whose slope is ``param`` (0.01 if None)

    Raises
    ------
    DataError
        If the nonlinearity is not known.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return sqrt(2.0 / (1.0 + slope * slope))
    gains = {
        "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0,
        "relu": sqrt(2.0),
    }  # fmt: skip
    if nonlinearity not in gains:
        raise DataError(
            f"init: nonlinearity = {nonlinearity!r} is not known",
            rule=", ".join([*gains, "leaky_relu"]),
            fix="pass the gain as a number",
        )
    return gains[nonlinearity]


def _deviation(shape: Shape, mode: str, nonlinearity: str, gain: float | None) -> float:
    """Return gain / sqrt(fan)."""
    if mode not in _MODES:
        raise DataError(f"init: mode = {mode!r} is not known", rule=" or ".join(map(repr, _MODES)))
    fan_in, fan_out = fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[mode]
    return (calculate_gain(nonlinearity) if gain is None else gain) / sqrt(max(fan, 1))


def _half_width(deviation: float) -> float:
    return sqrt(3.0) * deviation  # a uniform distribution on (-w, w) has variance w^2 / 3


def he_normal(
    target: Target,
    mode: str = "fan_in",
    nonlinearity: str = "relu",
    *,
    gain: float | None = None,
    dtype: DTypeLike = None,
) -> Any:
    """Draw normal weights that keep the scale of signals through layers with ReLU.

    Formula
    -------
    variance ``2 / fan_in`` keeps the forward scale, ``2 / fan_out`` the backward scale
    (mode "fan_out"), ``4 / (fan_in + fan_out)`` is between (mode "average"); in general
    ``gain^2 / fan``

    Parameters
    ----------
    target
        A weight (out, in) or (out, in, *kernel), or such a shape.
    mode
        "fan_in", "fan_out" or "average".
    nonlinearity
        What follows; its gain is ``calculate_gain(nonlinearity)``.
    gain
        The gain itself.
    dtype
        If a shape is given: of the result.

    Raises
    ------
    ShapeError
        If the weight has fewer than two axes.
    DataError
        If the mode or the nonlinearity is not known.

    Source
    ------
    He, Zhang, Ren and Sun, 2015. Catalogue section F.
    """
    shape, _ = _described(target, dtype)
    return normal(target, 0.0, _deviation(shape, mode, nonlinearity, gain), dtype=dtype)


def he_uniform(
    target: Target,
    mode: str = "fan_in",
    nonlinearity: str = "relu",
    *,
    gain: float | None = None,
    dtype: DTypeLike = None,
) -> Any:
    """Draw uniform weights with the variance of ``he_normal``.

    Formula
    -------
    ``W ~ U(-w, w)`` with ``w = sqrt(3) gain / sqrt(fan)``

    Raises
    ------
    ShapeError
        If the weight has fewer than two axes.
    DataError
        If the mode or the nonlinearity is not known.

    Source
    ------
    He, Zhang, Ren and Sun, 2015. Catalogue section F.
    """
    shape, _ = _described(target, dtype)
    width = _half_width(_deviation(shape, mode, nonlinearity, gain))
    return uniform(target, -width, width, dtype=dtype)


def glorot_normal(
    target: Target,
    mode: str = "average",
    nonlinearity: str = "linear",
    *,
    gain: float | None = None,
    dtype: DTypeLike = None,
) -> Any:
    """Draw normal weights that keep the scale of signals through linear or tanh layers.

    Formula
    -------
    variance ``gain^2 2 / (fan_in + fan_out)``, with gain 1 for "linear" and 5 / 3 for "tanh"

    Raises
    ------
    ShapeError
        If the weight has fewer than two axes.
    DataError
        If the mode or the nonlinearity is not known.

    Source
    ------
    Glorot and Bengio, 2010. Catalogue section F.
    """
    shape, _ = _described(target, dtype)
    return normal(target, 0.0, _deviation(shape, mode, nonlinearity, gain), dtype=dtype)


def glorot_uniform(
    target: Target,
    mode: str = "average",
    nonlinearity: str = "linear",
    *,
    gain: float | None = None,
    dtype: DTypeLike = None,
) -> Any:
    """Draw uniform weights with the variance of ``glorot_normal``.

    Formula
    -------
    ``W ~ U(-w, w)`` with ``w = gain sqrt(6 / (fan_in + fan_out))``

    Raises
    ------
    ShapeError
        If the weight has fewer than two axes.
    DataError
        If the mode or the nonlinearity is not known.

    Source
    ------
    Glorot and Bengio, 2010. Catalogue section F.
    """
    shape, _ = _described(target, dtype)
    width = _half_width(_deviation(shape, mode, nonlinearity, gain))
    return uniform(target, -width, width, dtype=dtype)


def orthogonal(target: Target, gain: float = 1.0, *, dtype: DTypeLike = None) -> Any:
    """Draw a random matrix with orthonormal rows, or columns if there are more rows.

    Formula
    -------
    ``W = gain Q`` with ``Q^T Q = 1`` or ``Q Q^T = 1``; axes after the first are taken as one

    Raises
    ------
    ShapeError
        If the weight has fewer than two axes.

    Source
    ------
    Saxe, McClelland and Ganguli, 2013.
    """
    shape, kind = _described(target, dtype)
    fans(shape)
    rows, columns = shape[0], prod(shape[1:])
    drawn = normal((max(rows, columns), min(rows, columns)), dtype=kind).numpy()
    q, r = np.linalg.qr(drawn.astype(np.float64))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the distribution uniform
    matrix = q if rows >= columns else q.T
    values = convert(np.ascontiguousarray(matrix.reshape(shape) * gain), kind)
    return _given(target, as_tensor(values))
