"""Dropout: units, or weights, set to zero at random."""

from __future__ import annotations

from minigrad.core.tensor import Tensor
from minigrad.errors import DataError
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import where
from minigrad.ops.random import keep_mask

from .activation import floating
from .scoping import scoped

__all__ = ["check_dropping", "dropout"]

MODES = ("inverted", "standard")


def check_dropping(p: float, mode: str, what: str) -> None:
    """Raise DataError unless p is a probability of dropping, below 1, and the mode is known."""
    if not 0.0 <= p < 1.0:
        raise DataError(
            f"{what}: p = {p} is out of range",
            rule="p is the probability of dropping a unit: 0 <= p < 1",
            fix="to keep 80 % of the units, pass p=0.2",
        )
    if mode not in MODES:
        raise DataError(f"{what}: mode = {mode!r} is not known", rule=" or ".join(map(repr, MODES)))


@scoped
def dropout(
    input: ArrayLike, p: float = 0.5, training: bool = True, mode: str = "inverted"
) -> Tensor:
    """Set each element to zero with probability p.

    Formula
    -------
    "inverted": ``y = x mask / (1 - p)`` in training, ``y = x`` in evaluation.
    "standard": ``y = x mask`` in training, ``y = (1 - p) x`` in evaluation.
    The mask is 1 with probability 1 - p for each element. It is one node of the graph, so
    forward and backward pass use the same.

    Shapes
    ------
    any; the result has the shape of ``input``

    Parameters
    ----------
    input
        What to drop from.
    p
        The probability of dropping an element, in [0, 1).
    training
        Whether to drop, or to return the expected value.
    mode
        "inverted" or "standard".

    Raises
    ------
    DataError
        If p is out of range, or the mode is not known.

    Source
    ------
    Srivastava and others, 2014. Catalogue rows B1, B2, B4; ``mg.random.seed`` governs
    the masks.
    """
    check_dropping(p, mode, "dropout")
    x = floating(input)
    if not training:
        return x if mode == "inverted" or p == 0.0 else x * (1.0 - p)
    if p == 0.0:
        return x
    scaled = x * (1.0 / (1.0 - p)) if mode == "inverted" else x
    return where(keep_mask(p, x.shape), scaled, 0.0)
