"""Penalties to add to a loss: on weights, not on biases nor on gamma and beta, unless asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from minigrad.core.state import Parameter
from minigrad.core.tape import scope
from minigrad.core.tensor import Tensor
from minigrad.ops import abs, square, sum

from .groups import chosen, require

__all__ = ["l1_penalty", "l2_penalty"]

Include = Callable[[str, Parameter], bool]


def _total(
    source: Any, alpha: float, include: Include | None, what: str, size: Callable[[Tensor], Tensor]
) -> Tensor:
    require(alpha >= 0, f"{what}: alpha = {alpha} is negative")
    found = chosen(source, what, include)
    penalised = [p for (_, p), wanted in found if wanted]
    require(
        bool(penalised),
        f"{what}: none of the {len(found)} parameters is penalised",
        "pass include=lambda name, p: True to penalise parameters of fewer than 2 axes too",
    )
    with scope(what):
        total = sum(size(penalised[0]))
        for p in penalised[1:]:
            total = total + sum(size(p))
        return total * alpha


def l1_penalty(
    parameters: Iterable[Any], alpha: float, *, include: Include | None = None
) -> Tensor:
    r"""Return the L1 penalty, whose subgradient is 0 at 0.

    .. math:: \alpha \|w\|_1 = \alpha \sum_i |w_i|

    Parameters
    ----------
    parameters
        A module, or parameters, or pairs (name, parameter).
    alpha
        Its strength, not negative.
    include
        ``include(name, parameter)`` says which are penalised; by default those of two axes
        or more, except gamma and beta of a module's normalisations.

    Source: catalogue row G3.
    """
    return _total(parameters, alpha, include, "l1_penalty", abs)


def l2_penalty(
    parameters: Iterable[Any], alpha: float, *, include: Include | None = None
) -> Tensor:
    r"""Return the L2 penalty, whose gradient is alpha w.

    .. math:: \frac{\alpha}{2} \|w\|^2 = \frac{\alpha}{2} \sum_i w_i^2

    Parameters
    ----------
    parameters
        A module, or parameters, or pairs (name, parameter).
    alpha
        Its strength, not negative.
    include
        ``include(name, parameter)`` says which are penalised; by default those of two axes
        or more, except gamma and beta of a module's normalisations.

    Source: catalogue row G1.
    """
    return _total(parameters, alpha / 2.0, include, "l2_penalty", square)
