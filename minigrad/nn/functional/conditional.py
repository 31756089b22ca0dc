"""Normalisations whose scale and shift come from a second input."""

from __future__ import annotations

import numpy as np

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.errors import ShapeError
from minigrad.ops.analytic import sqrt
from minigrad.ops.composed import tag
from minigrad.ops.indexing import take
from minigrad.ops.kinds import ArrayLike

from .activation import floating
from .moments import back, moments, standardise, wide
from .scoping import scoped

__all__ = ["adain", "resize_nearest"]


@scoped
def adain(input: ArrayLike, style: ArrayLike, eps: float = 1e-5) -> Tensor:
    """Give the content the mean and deviation that the style has, channel by channel.

    Formula
    -------
    ``y = sigma(s) (x - mu(x)) / sigma(x) + mu(s)`` with ``sigma = sqrt(var + eps)``, mean and
    (biased) variance over the spatial axes of each example and channel

    Shapes
    ------
    ``input`` x (N, C, spatial...), ``style`` s (N, C, spatial...) or (1, C, spatial...), whose
    spatial sizes may be others; the result has the shape of ``input``

    Raises
    ------
    ShapeError
        If the style does not fit, or there is one value to take statistics of.

    Source
    ------
    Huang and Belongie, 2017. Catalogue row D4.
    """
    given, s = floating(input), wide(floating(style))
    fits = s.ndim == given.ndim > 2 and s.shape[1] == given.shape[1]
    if not fits or s.shape[0] not in (1, given.shape[0]):
        raise ShapeError(
            f"adain: a style of shape {s.shape} does not fit an input of shape {given.shape}",
            operands=[given.node.describe(), s.node.describe()],
            rule="input (N, C, spatial...), style (N, C, spatial...) or (1, C, spatial...)",
        )
    axes = tuple(range(2, given.ndim))
    u, _, _ = standardise("adain", wide(given), axes, eps)
    mu, var = moments("adain: style", s, axes)
    gamma, beta = tag(sqrt(var + eps), "gamma"), tag(mu, "beta")
    return back(u * gamma + beta, given)


def resize_nearest(input: ArrayLike, size: tuple[int, ...]) -> Tensor:
    """Return images of another size, each pixel the nearest one of the input.

    Formula
    -------
    ``y[..., i] = x[..., floor(i n / size)]`` for each spatial axis of size n

    Shapes
    ------
    ``input`` (N, C, spatial...); the result is (N, C, *size)
    """
    x = as_tensor(input)
    for axis, (n, wanted) in enumerate(zip(x.shape[2:], size, strict=True), 2):
        if n != wanted:
            x = take(x, np.arange(wanted) * n // wanted, axis=axis)
    return x
