"""Losses as layers. Each is its function in ``nn.functional``, with its settings."""

from __future__ import annotations

from minigrad.core.state import Buffer
from minigrad.core.tensor import Tensor
from minigrad.ops.kinds import ArrayLike

from . import functional
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss",
    "MSELoss", "NLLLoss", "SmoothL1Loss",
]  # fmt: skip


def _buffer(values: ArrayLike | None) -> Buffer | None:
    return None if values is None else Buffer(values)


class CrossEntropyLoss(Module):
    """Cross-entropy of a classification, from logits; see ``functional.cross_entropy``.

    Formula
    -------
    ``-sum_c q_c w_c log softmax(x)_c`` with ``q_c = (1 - s) [c = t] + s / C``

    Shapes
    ------
    ``input`` (N, C) or (N, C, d1, ...), ``target`` labels (N) or (N, d1, ...), or
    probabilities of the shape of ``input``
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight = _buffer(weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(Module):
    """Negative log-likelihood, from log-probabilities; see ``functional.nll_loss``.

    Formula
    -------
    ``-w_t x_t``

    Shapes
    ------
    ``input`` (N, C) or (N, C, d1, ...), ``target`` labels (N) or (N, d1, ...)
    """

    def __init__(
        self, weight: ArrayLike | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        self.weight = _buffer(weight)
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(Module):
    """Mean squared error; see ``functional.mse_loss``.

    Formula
    -------
    ``(1 / n) sum (x - t)^2``

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.mse_loss(input, target, self.reduction)


class L1Loss(Module):
    """Mean absolute error; see ``functional.l1_loss``.

    Formula
    -------
    ``(1 / n) sum |x - t|``

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Module):
    """Absolute error, quadratic near 0; see ``functional.smooth_l1_loss``.

    Formula
    -------
    ``d^2 / (2 beta) if |d| < beta else |d| - beta / 2`` with ``d = x - t``

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        self.reduction = reduction
        self.beta = beta

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Module):
    """Squared error, linear far from 0; see ``functional.huber_loss``.

    Formula
    -------
    ``d^2 / 2 if |d| <= delta else delta (|d| - delta / 2)`` with ``d = x - t``

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        self.reduction = reduction
        self.delta = delta

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(Module):
    """Binary cross-entropy, from probabilities; see ``functional.binary_cross_entropy``.

    Formula
    -------
    ``-w (t log x + (1 - t) log(1 - x))``, logarithms at least -100

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(self, weight: ArrayLike | None = None, reduction: str = "mean") -> None:
        self.weight = _buffer(weight)
        self.reduction = reduction

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy, from logits; see ``functional.binary_cross_entropy_with_logits``.

    Formula
    -------
    ``w (v t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)))``

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        reduction: str = "mean",
        pos_weight: ArrayLike | None = None,
    ) -> None:
        self.weight = _buffer(weight)
        self.reduction = reduction
        self.pos_weight = _buffer(pos_weight)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class KLDivLoss(Module):
    """Kullback-Leibler divergence, from log-probabilities; see ``functional.kl_div``.

    Formula
    -------
    ``t (log t - x)``; with ``log_target`` ``exp(t) (t - x)``

    Shapes
    ------
    ``input`` and ``target`` of one shape
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self.reduction = reduction
        self.log_target = log_target

    def forward(self, input: ArrayLike, target: ArrayLike) -> Tensor:
        """Return the loss."""
        return functional.kl_div(input, target, self.reduction, self.log_target)
