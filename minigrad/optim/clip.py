"""Limits on gradients and weights: clipping before a step, max-norm projection after it.

No decision is taken in Python on a value, so all of it can be part of a compiled step.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from math import inf

from minigrad.core.door import as_tensor, cast
from minigrad.core.state import Parameter
from minigrad.core.tape import no_grad, scope
from minigrad.core.tensor import Tensor
from minigrad.dtypes import float64
from minigrad.ops import abs, add, clip, max, maximum, minimum, pow, sqrt, square, sum
from minigrad.shapes import axes_of

from .groups import named_parameters, require

__all__ = ["clip_grad_norm", "clip_grad_value", "max_norm"]

_TINY = 1e-6  # PyTorch's: keeps the factor finite for a gradient of 0


def _parameters(parameters: Iterable[Parameter] | Parameter, what: str) -> list[Parameter]:
    listed = [parameters] if isinstance(parameters, Parameter) else parameters
    return [p for _, p in named_parameters(listed, what)]


def _norm(gradients: list[Tensor], norm_type: float) -> Tensor:
    """Return the norm of all entries of all gradients, in float64: squares do not overflow."""
    sizes = [abs(cast(g, float64)) for g in gradients if g.size]
    if not sizes:
        return as_tensor(0.0, float64)
    if norm_type == inf:
        return reduce(maximum, map(max, sizes))
    if norm_type == 2:
        return sqrt(reduce(add, [sum(square(size)) for size in sizes]))
    return pow(reduce(add, [sum(pow(size, norm_type)) for size in sizes]), 1.0 / norm_type)


def clip_grad_norm(
    parameters: Iterable[Parameter] | Parameter, max_norm: float, norm_type: float = 2.0
) -> Tensor:
    r"""Scale all gradients together so that their norm is at most ``max_norm``.

    .. math:: g \leftarrow g \cdot \min(1, \text{max\_norm} / (\|g\| + 10^{-6}))

    Call it between ``backward()`` and ``step()``. Gradients below the limit keep every bit.

    Parameters
    ----------
    parameters
        Parameters; those without a gradient are passed over.
    max_norm
        The largest norm, positive.
    norm_type
        The p of the p-norm, positive; ``math.inf`` for the largest entry.

    Returns
    -------
    The norm before clipping, over all gradients as one vector: a float64 scalar.

    Source: Pascanu and others, 2013.
    """
    require(max_norm > 0, f"clip_grad_norm: max_norm = {max_norm} is not positive")
    require(norm_type > 0, f"clip_grad_norm: norm_type = {norm_type} is not positive")
    with no_grad(), scope("clip_grad_norm"):
        found = [(p, p.grad) for p in _parameters(parameters, "clip_grad_norm")]
        pairs = [(p, g) for p, g in found if g is not None]
        total = _norm([g for _, g in pairs], norm_type)
        factor = minimum(max_norm / (total + _TINY), 1.0)
        for p, g in pairs:
            p.grad = g * cast(factor, g.dtype)
    return total


def clip_grad_value(parameters: Iterable[Parameter] | Parameter, clip_value: float) -> None:
    """Limit every entry of every gradient to ``[-clip_value, clip_value]``."""
    require(clip_value >= 0, f"clip_grad_value: clip_value = {clip_value} is negative")
    with no_grad(), scope("clip_grad_value"):
        for p in _parameters(parameters, "clip_grad_value"):
            g = p.grad
            if g is not None:
                p.grad = clip(g, -clip_value, clip_value)


def max_norm(
    parameters: Iterable[Parameter] | Parameter, c: float, axis: int | tuple[int, ...] | None = None
) -> None:
    r"""Project each unit's incoming weights back to a norm of at most c, after a step.

    .. math:: w \leftarrow w \cdot \min(1, c / \|w\|)

    Parameters
    ----------
    parameters
        Parameters of any shape.
    c
        The largest norm, positive. Weights below it keep every bit.
    axis
        The axes that make up one unit's weights. The default is all but the first, as in
        ``Linear`` (out, in) and ``Conv2d`` (out, in, kh, kw); parameters of fewer than two
        axes, which are biases, are then left alone.

    Source: Srivastava and others, 2014; catalogue row G5.
    """
    require(c > 0, f"max_norm: c = {c} is not positive")
    with no_grad(), scope("max_norm"):
        for p in _parameters(parameters, "max_norm"):
            if axis is None and p.ndim < 2:
                continue
            axes = tuple(range(1, p.ndim)) if axis is None else axes_of(axis, p.ndim, "max_norm")
            norm = sqrt(sum(square(cast(Tensor(p.node), float64)), axes, keepdims=True))
            p.assign(p * cast(minimum(c / norm, 1.0), p.dtype))
