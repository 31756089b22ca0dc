"""What losses share: how they are reduced, and that input and target fit."""

from __future__ import annotations

from minigrad.core.door import as_tensor, beside, is_number
from minigrad.core.tensor import Tensor
from minigrad.errors import DataError, ShapeError
from minigrad.ops.composed import mean
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.structural import sum

from .activation import floating

__all__ = ["paired", "reduce", "unknown_reduction"]


def unknown_reduction(what: str, reduction: str, allowed: str = "") -> DataError:
    """Return the error for a reduction that there is not."""
    return DataError(
        f"{what}: reduction = {reduction!r} is not known", rule=f'"mean", "sum"{allowed} or "none"'
    )


def reduce(what: str, loss: Tensor, reduction: str) -> Tensor:
    """Return the mean or the sum of the elements' losses, or these themselves."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise unknown_reduction(what, reduction)


def paired(what: str, input: ArrayLike, target: ArrayLike) -> tuple[Tensor, Tensor]:
    """Return input and target as floats of one shape; a target may be a number.

    Raises
    ------
    ShapeError
        If the shapes differ: (n, 1) against (n) would silently compare all pairs.
    """
    x = floating(input)
    t = beside(float(target), x) if is_number(target) else as_tensor(target)
    if t.shape != x.shape:
        raise ShapeError(
            f"{what}: input has shape {x.shape}, target {t.shape}",
            operands=[x.node.describe(), t.node.describe()],
            rule="the shapes are equal",
            fix="reshape one of them, e.g. target.reshape(input.shape)",
        )
    return x, t
