"""What the normalisations share: statistics, the affine map after them, running averages."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from minigrad.core.door import as_tensor, cast, full
from minigrad.core.state import Cell
from minigrad.core.tape import no_grad
from minigrad.core.tensor import Tensor
from minigrad.dtypes import halves
from minigrad.dtypes import wide as wide_dtype
from minigrad.errors import MinigradError, ShapeError
from minigrad.ops.analytic import rsqrt
from minigrad.ops.collective import Group, all_reduce
from minigrad.ops.composed import mean, tag
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.movement import concat
from minigrad.ops.structural import reshape, sum
from minigrad.shapes import Axes, Shape

__all__ = [
    "affine",
    "back",
    "check_channels",
    "count",
    "moments",
    "standardise",
    "standardise_together",
    "update",
    "wide",
]


def wide(x: Tensor) -> Tensor:
    """Return a half type as float32: its sums overflow, or lose what is small."""
    return cast(x, wide_dtype(x.dtype))


def back(y: Tensor, given: Tensor) -> Tensor:
    """Return a result in the half type that the input had, if it had one."""
    return cast(y, given.dtype) if given.dtype in halves else y


def count(shape: Shape, axes: Axes) -> int:
    """Return m, the number of values in each mean."""
    return prod(shape[a] for a in axes)


def standardise(
    what: str, x: Tensor, axes: Axes, eps: float, least: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """Return u, mean and (biased) variance over ``axes``, which are kept with size 1."""
    _require(what, x, count(x.shape, axes), least)
    mu = tag(mean(x, axes, keepdims=True), "mu")
    centred = x - mu
    var = tag(mean(centred * centred, axes, keepdims=True), "var")
    return tag(centred * rsqrt(var + eps), "u"), mu, var


def moments(what: str, x: Tensor, axes: Axes) -> tuple[Tensor, Tensor]:
    """Return mean and (biased) variance over ``axes``, which are kept with size 1."""
    _require(what, x, count(x.shape, axes), 2)
    mu = mean(x, axes, keepdims=True)
    centred = x - mu
    return mu, mean(centred * centred, axes, keepdims=True)


def _require(what: str, x: Tensor, m: int, least: int) -> None:
    if m < least:
        raise ShapeError(
            f"{what}: {m} value{'' if m == 1 else 's'} for each mean and variance, in shape "
            f"{x.shape}",
            operands=[x.node.describe()],
            rule=f"statistics are taken over at least {least} values",
            fix="use a larger batch, drop a last batch of one example, or call model.eval()",
        )


def standardise_together(
    what: str, x: Tensor, axes: Axes, eps: float, group: Group
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return u, mean, variance and the number of values m, over all processes of a group.

    Two messages: the sums with m, then the sums of squared deviations. m travels with the
    sums, and not alone, so that it is a value of the run and never a constant of the trace:
    the processes may have batches of different sizes.
    """
    here = count(x.shape, axes)
    _require(what, x, here * group.size, 2)
    sums = sum(x, axes, keepdims=True)
    shape, channels = sums.shape, sums.size
    sent = concat([reshape(sums, (channels,)), full(here, (1,), x.dtype)])
    received = all_reduce(sent, group)
    m = received[channels:]
    mu = tag(reshape(received[:channels] / m, shape), "mu")
    centred = x - mu
    squares = all_reduce(sum(centred * centred, axes, keepdims=True), group)
    var = tag(squares / m, "var")
    return tag(centred * rsqrt(var + eps), "u"), mu, var, m


def affine(u: Tensor, weight: ArrayLike | None, bias: ArrayLike | None, shape: Shape) -> Tensor:
    """Return gamma u + beta, with gamma and beta of this shape."""
    y = u if weight is None else u * wide(reshape(as_tensor(weight), shape))
    return y if bias is None else y + wide(reshape(as_tensor(bias), shape))


def update(running: ArrayLike, new: Tensor, momentum: ArrayLike) -> None:
    """Move a running statistic towards a new one; no gradient flows through it."""
    if not isinstance(running, Cell):
        raise MinigradError(
            f"a running statistic must be an mg.Buffer to be updated, got {type(running).__name__}",
            fix="make it with mg.Buffer(array), or pass None",
        )
    with no_grad():
        present: Any = wide(as_tensor(running))
        running.assign(present * (1.0 - momentum) + new * momentum)


def check_channels(
    what: str, x: Tensor, axis: int, per_channel: Sequence[ArrayLike | None]
) -> None:
    """Raise ShapeError unless there is a channel axis, and every vector has its size."""
    if x.ndim < 2:
        raise ShapeError(
            f"{what}: input of shape {x.shape} has no batch or no channel axis",
            operands=[x.node.describe()],
            rule="input is (m, C, ...)",
        )
    for values in per_channel:
        t = None if values is None else as_tensor(values)
        if t is not None and t.shape != (x.shape[axis],):
            raise ShapeError(
                f"{what}: input has {x.shape[axis]} channels on axis {axis}, "
                f"{t.name or 'a vector'} has shape {t.shape}",
                operands=[x.node.describe(), t.node.describe()],
                fix="check the channel axis; channels last need channel_axis=-1",
            )
