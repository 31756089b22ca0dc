"""Normalisations: statistics, u = (x - mu) / sqrt(var + eps), then scale and shift.

Compositions: the paths from mean and variance back to x are derived, none is left out by
hand. The intermediates are tagged "mu", "var" and "u".
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.errors import MinigradError, ShapeError
from minigrad.ops.analytic import rsqrt
from minigrad.ops.collective import Group
from minigrad.ops.composed import mean, tag
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.structural import reshape
from minigrad.shapes import axis_of

from .activation import floating
from .moments import (
    affine,
    back,
    check_channels,
    count,
    standardise,
    standardise_together,
    update,
    wide,
)
from .scoping import scoped

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm"]


@scoped
def batch_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: ArrayLike = 0.1,
    eps: float = 1e-5,
    channel_axis: int = 1,
    group: Group | None = None,
) -> Tensor:
    """Normalise each channel over the batch and all other axes, then scale and shift.

    Formula
    -------
    ``u = (x - mu) / sqrt(var + eps)``, ``y = gamma u + beta``, with
    ``mu = mean(x)`` and ``var = mean((x - mu)^2)`` over the batch, or the running ones in
    evaluation. In training the running statistics r become ``(1 - momentum) r + momentum s``,
    with s the mean, and the variance times ``m / (m - 1)`` for m values per channel.

    Shapes
    ------
    ``input`` (m, C), (m, C, spatial...) or, with ``channel_axis=-1``, (m, spatial..., C);
    ``weight`` (gamma), ``bias`` (beta) and the running statistics (C); the result has the
    shape of ``input``

    Parameters
    ----------
    input
        What to normalise. A half type is normalised in float32.
    running_mean, running_var
        Buffers; in training they are updated, in evaluation used. None: not kept, and the
        batch's statistics are used in evaluation too.
    weight, bias
        gamma and beta; None stands for 1 and 0.
    training
        Whether the batch's statistics are used.
    momentum
        The weight of the new statistics, from 0 to 1.
    eps
        Added to the variance; in the unit of x squared.
    channel_axis
        The axis of the channels.
    group
        Processes over whose batches together the statistics are taken, as from
        ``mg.collective.world()``; None for this process alone.

    Raises
    ------
    ShapeError
        If the channels do not fit, or there is only one value per channel to take
        statistics of.

    Source
    ------
    Ioffe and Szegedy, 2015. Catalogue rows C1, C3, C4.
    """
    given = floating(input)
    axis = axis_of(channel_axis, given.ndim, "batch_norm: channel_axis")
    check_channels("batch_norm", given, axis, (running_mean, running_var, weight, bias))
    x = wide(given)
    shape = tuple(n if a == axis else 1 for a, n in enumerate(x.shape))
    if training or running_mean is None or running_var is None:
        axes = tuple(a for a in range(x.ndim) if a != axis)
        m: float | Tensor = count(x.shape, axes)
        if group is None:
            u, mu, var = standardise("batch_norm", x, axes, eps)
        else:
            u, mu, var, m = standardise_together("batch_norm", x, axes, eps, group)
        if running_mean is not None and running_var is not None:
            update(running_mean, reshape(mu, -1), momentum)
            update(running_var, reshape(var, -1) * (m / (m - 1)), momentum)
    else:
        mu, var = (reshape(wide(as_tensor(r)), shape) for r in (running_mean, running_var))
        u = tag((x - mu) * rsqrt(var + eps), "u")
    return back(affine(u, weight, bias, shape), given)


@scoped
def layer_norm(
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each example over its last axes, then scale and shift.

    Formula
    -------
    ``y = gamma (x - mu) / sqrt(var + eps) + beta`` with mean and variance over the axes of
    ``normalized_shape``

    Shapes
    ------
    ``input`` (..., *normalized_shape), ``weight`` and ``bias`` of ``normalized_shape``; the
    result has the shape of ``input``

    Raises
    ------
    ShapeError
        If ``input`` does not end in ``normalized_shape``.

    Source
    ------
    Ba, Kiros and Hinton, 2016.
    """
    given = floating(input)
    last = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not last or given.shape[-len(last) :] != last:
        raise ShapeError(
            f"layer_norm: input of shape {given.shape} does not end in {last}",
            operands=[given.node.describe()],
            rule="input is (..., *normalized_shape)",
        )
    x = wide(given)
    u, _, _ = standardise("layer_norm", x, tuple(range(x.ndim - len(last), x.ndim)), eps, least=1)
    return back(affine(u, weight, bias, last), given)


@scoped
def group_norm(
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each example over groups of channels, then scale and shift each channel.

    Formula
    -------
    ``y = gamma (x - mu) / sqrt(var + eps) + beta`` with mean and variance over the channels
    of a group and all spatial axes

    Shapes
    ------
    ``input`` (N, C, spatial...), ``weight`` and ``bias`` (C); the result has the shape of
    ``input``

    Raises
    ------
    ShapeError
        If the groups do not divide the channels.

    Source
    ------
    Wu and He, 2018.
    """
    given = floating(input)
    if given.ndim < 2 or num_groups < 1 or given.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: input of shape {given.shape} in {num_groups} groups of channels",
            operands=[given.node.describe()],
            rule="input is (N, C, ...), and num_groups divides C",
        )
    check_channels("group_norm", given, 1, (weight, bias))
    n, channels, *rest = given.shape
    x = reshape(wide(given), (n, num_groups, channels // num_groups, *rest))
    u, _, _ = standardise("group_norm", x, tuple(range(2, x.ndim)), eps)
    shape = (channels, *(1,) * len(rest))
    return back(affine(reshape(u, given.shape), weight, bias, shape), given)


@scoped
def instance_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    momentum: ArrayLike = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each example over its spatial axes, then scale and shift.

    Formula
    -------
    ``y = gamma (x - mu) / sqrt(var + eps) + beta`` with mean and variance over the spatial
    axes, or the running ones without ``use_input_stats``. The running statistics are moved
    towards the batch's mean of the examples' (unbiased) statistics.

    Shapes
    ------
    ``input`` (N, C, spatial...), ``weight``, ``bias`` and the running statistics (C); the
    result has the shape of ``input``

    Raises
    ------
    ShapeError
        If the channels do not fit, or there is only one value to take statistics of.

    Source
    ------
    Ulyanov, Vedaldi and Lempitsky, 2016.
    """
    given = floating(input)
    if given.ndim < 3 and use_input_stats:
        raise ShapeError(
            f"instance_norm: input of shape {given.shape} has no spatial axes",
            operands=[given.node.describe()],
            rule="input is (N, C, spatial...)",
        )
    check_channels("instance_norm", given, 1, (running_mean, running_var, weight, bias))
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise MinigradError(
                "instance_norm: neither the input's statistics nor running ones are to be used",
                fix="pass running_mean and running_var, or use_input_stats=True",
            )
        return batch_norm(given, running_mean, running_var, weight, bias, eps=eps)
    x = wide(given)
    axes = tuple(range(2, x.ndim))
    u, mu, var = standardise("instance_norm", x, axes, eps)
    if running_mean is not None and running_var is not None:
        m = count(x.shape, axes)
        both = (0, *axes)
        update(running_mean, mean(mu, both), momentum)
        update(running_var, mean(var, both) * (m / (m - 1)), momentum)
    shape = (x.shape[1], *(1,) * len(axes))
    return back(affine(u, weight, bias, shape), given)
