"""Batch normalisation, in one process and over several."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from minigrad.core.door import as_tensor
from minigrad.core.state import Buffer, Parameter
from minigrad.core.tape import guarded, no_grad
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike
from minigrad.errors import DataError, MinigradError, ShapeError
from minigrad.ops.arithmetic import astype
from minigrad.ops.collective import ALONE, Group
from minigrad.ops.kinds import ArrayLike
from minigrad.shapes import axis_of

from . import functional, init
from .dense import check_sizes
from .module import Module

__all__ = ["BatchNorm", "SyncBatchNorm"]

_STATISTICS = ("running", "population", "batch")


class BatchNorm(Module):
    r"""Normalise each channel over the batch and all other axes, then scale and shift.

    Formula
    -------
    ``u = (x - mu) / sqrt(var + eps)``, ``y = gamma u + beta``, with ``mu = mean(x)`` and
    ``var = mean((x - mu)^2)`` over the batch in training. ``gamma`` is the parameter
    ``weight``, which starts as 1, ``beta`` is ``bias``, which starts as 0. The intermediates
    are tagged "mu", "var" and "u".

    Shapes
    ------
    ``input`` (m, C), (m, C, spatial...), or with ``channel_axis=-1`` (m, spatial..., C);
    ``weight``, ``bias``, ``running_mean``, ``running_var`` (C); the result has the shape of
    ``input``

    Parameters
    ----------
    num_features
        C, the number of channels.
    eps
        Added to the variance; in the unit of x squared.
    momentum
        The weight of a batch in the running statistics, from 0 to 1; None for the plain
        average over all batches since the start.
    affine
        Whether there are ``weight`` and ``bias``.
    statistics
        What evaluation uses. "running": exponential averages kept in training, mean 0 and
        variance 1 before. "population": the averages over all training minibatches that
        ``nn.population_statistics(model, batches)`` sets. "batch": the batch's own.
        Training always uses the batch's own. Kept variances are unbiased: m / (m - 1) times
        the formula's, for m values per channel.
    channel_axis
        The axis of the channels.
    dtype
        Of the parameters; the default floating dtype if None.

    Raises
    ------
    ShapeError
        If the channels do not fit, or there is one value per channel to take statistics of.
    DataError
        If ``statistics`` or ``momentum`` is not what it may be.
    MinigradError
        If evaluation needs population statistics that were not set.

    Source
    ------
    Ioffe and Szegedy, 2015. Catalogue rows C1 to C7.
    """

    is_normalisation: ClassVar[bool] = True

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Buffer | None
    running_var: Buffer | None
    num_batches_tracked: Buffer | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        statistics: str = "running",
        channel_axis: int = 1,
        dtype: DTypeLike = None,
    ) -> None:
        check_sizes("BatchNorm", num_features=num_features)
        if statistics not in _STATISTICS:
            raise DataError(
                f"BatchNorm: statistics = {statistics!r} is not known",
                rule=" or ".join(map(repr, _STATISTICS)),
            )
        if momentum is not None and not 0.0 <= momentum <= 1.0:
            raise DataError(
                f"BatchNorm: momentum = {momentum}",
                rule="the weight of the new batch, from 0 to 1; None for a plain average",
            )
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.statistics = statistics
        self.channel_axis = channel_axis
        self.weight = Parameter(init.ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_features, dtype=dtype)) if affine else None
        kept = statistics != "batch"
        self.running_mean = Buffer(init.zeros(num_features, dtype=dtype)) if kept else None
        self.running_var = Buffer(init.ones(num_features, dtype=dtype)) if kept else None
        self.num_batches_tracked = Buffer(np.int64(0)) if kept else None

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x normalised, scaled and shifted."""
        x = self._checked(input)
        training = self.training
        if self.statistics == "batch":
            return self._normalised(x, None, None, training)
        if self.statistics == "population":
            if training:
                return self._normalised(x, None, None, training)
            self._require_statistics()
        elif training and self.num_batches_tracked is not None:
            return self._tracked(x, self.num_batches_tracked)
        return self._normalised(x, self.running_mean, self.running_var, training)

    def _tracked(self, x: Tensor, tracked: Buffer) -> Tensor:
        """Return x normalised by the batch, and let the running statistics follow."""
        with no_grad():
            count = tracked + 1
            momentum: ArrayLike = self.momentum
            if momentum is None and self.running_mean is not None:
                momentum = 1.0 / astype(count, self.running_mean.dtype)
        y = self._normalised(x, self.running_mean, self.running_var, True, momentum)
        tracked.assign(count)
        return y

    def _normalised(
        self,
        x: Tensor,
        mean: Buffer | None,
        var: Buffer | None,
        training: bool,
        momentum: ArrayLike = 0.0,
    ) -> Tensor:
        return functional.batch_norm(
            x, mean, var, self.weight, self.bias, training, momentum, self.eps, self.channel_axis,
            self._processes(),
        )  # fmt: skip

    def _processes(self) -> Group | None:
        """Return the group over whose batches the statistics are taken."""
        return None

    def _require_statistics(self) -> None:
        found = self.has_statistics
        if not guarded(self._info.original or self, "has_statistics", found):
            raise MinigradError(
                f"{self._title}: there are no population statistics to evaluate with",
                rule='statistics="population": averages over all training minibatches',
                fix="call nn.population_statistics(model, batches) after training",
            )

    @property
    def has_statistics(self) -> bool:
        """Whether statistics of at least one batch are kept."""
        tracked = self.num_batches_tracked
        return tracked is not None and int(tracked.leaf.value) > 0

    def reset_statistics(self) -> None:
        """Forget the kept statistics: mean 0, variance 1, no batches seen."""
        if self.running_mean is not None:
            init.zeros(self.running_mean)
            init.ones(self.running_var)
            init.zeros(self.num_batches_tracked)

    def _checked(self, input: ArrayLike) -> Tensor:
        x = as_tensor(input)
        at = axis_of(self.channel_axis, x.ndim, self._title) if x.ndim > 1 else 0
        if x.ndim < 2 or x.shape[at] != self.num_features:
            raise ShapeError(
                f"{self._title}: input of shape {x.shape} does not have {self.num_features} "
                f"channels on axis {self.channel_axis}",
                operands=[x.node.describe()],
                rule="input is (m, C, ...), or (m, ..., C) with channel_axis=-1",
                fix="check the layer before, and channel_axis",
            )
        return x

    def _brief(self) -> str:
        return f"{type(self).__name__} {self.num_features}"

    def extra_repr(self) -> str:
        """Return the settings."""
        parts = [f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"]
        parts.append(f"affine={self.weight is not None}")
        if self.statistics != "running":
            parts.append(f"statistics={self.statistics!r}")
        if self.channel_axis != 1:
            parts.append(f"channel_axis={self.channel_axis}")
        return ", ".join(parts)


class SyncBatchNorm(BatchNorm):
    r"""BatchNorm with statistics over the batches of all workers together.

    Formula
    -------
    ``u = (x - mu) / sqrt(var + eps)``, ``y = gamma u + beta``, with ``mu = (1 / m) sum x``,
    ``var = (1 / m) sum (x - mu)^2`` and ``m = sum 1`` over the batches of all workers. The
    sums go through the primitive ``all_reduce``, whose one-process form is the identity: with
    one worker this is BatchNorm.

    The gradient is that of the sum of all workers' losses. A worker's gradients of
    ``weight`` and ``bias`` are its own part: add them up with ``mg.collective.all_reduce``, as
    those of every other parameter.

    Shapes
    ------
    As ``BatchNorm``; the workers' batches may have different sizes m, not different C

    Parameters
    ----------
    num_features, eps, momentum, affine, statistics, channel_axis, dtype
        As for ``BatchNorm``.
    group
        The workers, as from ``mg.collective.world()``; None for this process alone. All of
        them must call the layer in every step.

    Raises
    ------
    ShapeError
        If the channels do not fit, or there is one value per channel to take statistics of.
    DataError
        If ``statistics`` or ``momentum`` is not what it may be.

    Source
    ------
    Zhang and others, 2018 (EncNet); Peng and others, 2018 (MegDet). Catalogue row D6.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        statistics: str = "running",
        channel_axis: int = 1,
        dtype: DTypeLike = None,
        group: Group | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, statistics, channel_axis, dtype)
        self.group = group or ALONE

    def _processes(self) -> Group:
        return self.group

    def extra_repr(self) -> str:
        """Return the settings."""
        workers = f", {self.group}" if self.group.size > 1 else ""
        return super().extra_repr() + workers
