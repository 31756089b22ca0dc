"""Losses of probabilities: binary cross-entropy, and divergence of distributions."""

from __future__ import annotations

from math import exp as e_to

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.ops.analytic import exp, log
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import greater, greater_equal, less_equal, where
from minigrad.ops.structural import sum

from .activation import softplus_pair
from .reduction import paired, reduce, unknown_reduction
from .scoping import scoped

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"]

#: Logarithms of probabilities stop here, so that a certain mistake costs 100 and not infinity.
_LOWEST_LOG = -100.0


@scoped
def binary_cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the cross-entropy of yes-or-no answers, from probabilities.

    Formula
    -------
    per element ``-w (t log x + (1 - t) log(1 - x))``; a logarithm below -100 counts as -100,
    with derivative 0

    Shapes
    ------
    ``input`` and ``target`` of one shape; ``weight`` broadcasts to it. The result is a
    scalar, for "none" of that shape

    Parameters
    ----------
    input
        Probabilities, in [0, 1]. From logits, ``binary_cross_entropy_with_logits`` is exact.
    target
        Probabilities, in [0, 1].
    weight
        A factor for each element.
    reduction
        "mean", "sum" or "none".

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    x, t = paired("binary_cross_entropy", input, target)
    loss = -(t * _bounded_log(x) + (1.0 - t) * _bounded_log(1.0 - x))
    if weight is not None:
        loss = loss * as_tensor(weight)
    return reduce("binary_cross_entropy", loss, reduction)


def _bounded_log(x: Tensor) -> Tensor:
    """Return log x, at least -100; NaN for negative numbers, which are no probabilities."""
    low = less_equal(x, e_to(_LOWEST_LOG)) & greater_equal(x, 0)
    return where(low, _LOWEST_LOG, log(where(low, 1.0, x)))


@scoped
def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Tensor:
    """Return the cross-entropy of yes-or-no answers, from logits; exact in both tails.

    Formula
    -------
    per element ``w (v t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)))``

    Shapes
    ------
    ``input`` and ``target`` of one shape; ``weight`` and ``pos_weight`` broadcast to it. The
    result is a scalar, for "none" of that shape

    Parameters
    ----------
    input
        Logits: any numbers, no sigmoid before.
    target
        Probabilities, in [0, 1].
    weight
        A factor w for each element.
    reduction
        "mean", "sum" or "none".
    pos_weight
        A factor v for positive answers: above 1 it favours recall.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    x, t = paired("binary_cross_entropy_with_logits", input, target)
    no, yes = softplus_pair(x)  # what "no" and "yes" cost
    if pos_weight is not None:
        yes = yes * as_tensor(pos_weight)
    loss = t * yes + (1.0 - t) * no
    if weight is not None:
        loss = loss * as_tensor(weight)
    return reduce("binary_cross_entropy_with_logits", loss, reduction)


@scoped
def kl_div(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Return the Kullback-Leibler divergence of distributions, from log-probabilities.

    Formula
    -------
    per element ``t (log t - x)``, 0 where t is 0; with ``log_target`` ``exp(t) (t - x)``

    Shapes
    ------
    ``input`` and ``target`` of one shape; the result is a scalar, for "none" of that shape

    Parameters
    ----------
    input
        Log-probabilities.
    target
        Probabilities, or their logarithms.
    reduction
        "batchmean" (the sum over everything divided by the number of rows: the divergence),
        "mean" (over all elements), "sum" or "none".
    log_target
        Whether ``target`` holds logarithms.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    x, t = paired("kl_div", input, target)
    if log_target:
        loss = exp(t) * (t - x)
    else:
        positive = greater(t, 0)
        loss = where(positive, t * (log(where(positive, t, 1.0)) - x), 0.0)
    if reduction == "batchmean":
        return sum(loss) / float(x.shape[0] if x.ndim else 1)
    if reduction not in ("mean", "sum", "none"):
        raise unknown_reduction("kl_div", reduction, ', "batchmean"')
    return reduce("kl_div", loss, reduction)
