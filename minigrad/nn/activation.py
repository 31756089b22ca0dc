"""Activations as layers. Each is its function of the same name in ``nn.functional``."""

from __future__ import annotations

from minigrad.core.tensor import Tensor
from minigrad.ops.kinds import ArrayLike

from . import functional
from .module import Module

__all__ = [
    "ELU", "GELU", "Identity", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax",
    "Softplus", "Tanh",
]  # fmt: skip


class Identity(Module):
    """Return the input: a place to put another layer later.

    Formula
    -------
    ``y = x``
    """

    def forward(self, input: ArrayLike) -> ArrayLike:
        """Return the input."""
        return input


class ReLU(Module):
    """Keep what is positive; see ``functional.relu``.

    Formula
    -------
    ``y = max(x, 0)``, with derivative 0 at 0
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x where it is positive, else 0."""
        return functional.relu(input)


class LeakyReLU(Module):
    """Keep what is positive, and a little of the rest; see ``functional.leaky_relu``.

    Formula
    -------
    ``y = x if x > 0 else negative_slope * x``
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x where it is positive, else a multiple of it."""
        return functional.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the slope."""
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """The exponential linear unit; see ``functional.elu``.

    Formula
    -------
    ``y = x if x > 0 else alpha * (exp(x) - 1)``
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the exponential linear unit of x."""
        return functional.elu(input, self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """x times the normal probability of being below x; see ``functional.gelu``.

    Formula
    -------
    ``y = x (1 + erf(x / sqrt(2))) / 2``, or its approximation by tanh
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the Gaussian error linear unit of x."""
        return functional.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return which formula is used."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x times its sigmoid; see ``functional.silu``.

    Formula
    -------
    ``y = x / (1 + exp(-x))``
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x times its sigmoid."""
        return functional.silu(input)


class Sigmoid(Module):
    """The logistic function; see ``functional.sigmoid``.

    Formula
    -------
    ``y = 1 / (1 + exp(-x))``
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the sigmoid of x."""
        return functional.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent; see ``functional.tanh``.

    Formula
    -------
    ``y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))``
    """

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the hyperbolic tangent of x."""
        return functional.tanh(input)


class Softplus(Module):
    """A smooth relu; see ``functional.softplus``.

    Formula
    -------
    ``y = log(1 + exp(beta x)) / beta``
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the softplus of x."""
        return functional.softplus(input, self.beta)

    def extra_repr(self) -> str:
        """Return beta."""
        return f"beta={self.beta}"


class Softmax(Module):
    """Probabilities from logits; see ``functional.softmax``.

    Formula
    -------
    ``y_i = exp(x_i) / sum_j exp(x_j)`` along ``dim``
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the softmax of x."""
        return functional.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Log-probabilities from logits; see ``functional.log_softmax``.

    Formula
    -------
    ``y_i = x_i - log(sum_j exp(x_j))`` along ``dim``
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the logarithm of the softmax of x."""
        return functional.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"
