"""Weights as functions of other weights: length and direction, standardised rows."""

from __future__ import annotations

from minigrad.core.tensor import Tensor
from minigrad.errors import ShapeError
from minigrad.ops.analytic import sqrt
from minigrad.ops.composed import tag
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.structural import sum
from minigrad.shapes import Axes, axis_of

from .activation import floating
from .moments import back, standardise, wide
from .scoping import scoped

__all__ = ["norm_except", "weight_norm", "weight_standardization"]


def norm_except(v: Tensor, dim: int | None) -> Tensor:
    """Return the length of v over all axes but ``dim``, which are kept with size 1.

    Formula: ``||v|| = sqrt(sum v^2)``; with ``dim`` None over all axes.
    """
    kept = None if dim is None else axis_of(dim, v.ndim, "weight_norm: dim")
    axes = tuple(a for a in range(v.ndim) if a != kept)
    return sqrt(sum(v * v, axes, keepdims=True))


@scoped
def weight_norm(v: ArrayLike, g: ArrayLike, dim: int | None = 0) -> Tensor:
    """Return a weight of length g in the direction of v.

    Formula
    -------
    ``w = g v / ||v||``, with the length taken over all axes but ``dim``: for each output unit
    apart with the default

    Shapes
    ------
    ``v`` (out, ...), ``g`` (out, 1, ...) as ``||v||`` has; the result has the shape of ``v``

    Raises
    ------
    ShapeError
        If ``g`` does not fit.

    Source
    ------
    Salimans and Kingma, 2016. Catalogue row D2.
    """
    given, scale = floating(v), floating(g)
    wide_v = wide(given)
    length = tag(norm_except(wide_v, dim), "length")
    if scale.shape != length.shape:
        raise ShapeError(
            f"weight_norm: g has shape {scale.shape}, for v of shape {given.shape}",
            operands=[given.node.describe(), scale.node.describe()],
            rule=f"one length for each index of axis {dim}: shape {length.shape}",
        )
    return back(wide_v * (wide(scale) / length), given)


@scoped
def weight_standardization(weight: ArrayLike, eps: float = 1e-5) -> Tensor:
    """Return weights with mean 0 and deviation 1 in each output unit.

    Formula
    -------
    ``w' = (w - mu) / sqrt(var + eps)``, mean and (biased) variance over all axes but the first

    Shapes
    ------
    ``weight`` (out, in, ...); the result has its shape

    Raises
    ------
    ShapeError
        If an output unit has fewer than two weights.

    Source
    ------
    Qiao and others, 2019. Catalogue row D7.
    """
    given = floating(weight)
    axes: Axes = tuple(range(1, given.ndim))
    u, _, _ = standardise("weight_standardization", wide(given), axes, eps)
    return back(u, given)
