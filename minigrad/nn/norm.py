"""Normalisations whose statistics do not leave an example: layer, group, instance, adaptive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from minigrad.core.door import as_tensor
from minigrad.core.state import Buffer, Parameter
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike
from minigrad.errors import DataError, ShapeError
from minigrad.ops.kinds import ArrayLike

from . import functional, init
from .dense import check_sizes
from .module import Module

__all__ = ["AdaIN", "GroupNorm", "InstanceNorm", "LayerNorm"]


class LayerNorm(Module):
    """Normalise each example over its last axes, then scale and shift.

    Formula
    -------
    ``y = gamma (x - mu) / sqrt(var + eps) + beta`` with mean and (biased) variance over the
    axes of ``normalized_shape``; training and evaluation are the same

    Shapes
    ------
    ``input`` (..., *normalized_shape), ``weight`` and ``bias`` of ``normalized_shape``; the
    result has the shape of ``input``

    Parameters
    ----------
    normalized_shape
        The last sizes of the input, or the last one.
    eps
        Added to the variance; in the unit of x squared.
    elementwise_affine
        Whether there are ``weight`` and ``bias``.
    bias
        Whether there is a ``bias``, if there is a ``weight``.
    dtype
        Of the parameters; the default floating dtype if None.

    Raises
    ------
    ShapeError
        If the input does not end in ``normalized_shape``.

    Source
    ------
    Ba, Kiros and Hinton, 2016.
    """

    is_normalisation: ClassVar[bool] = True

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = None,
    ) -> None:
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        check_sizes("LayerNorm", normalized_shape=min(shape, default=0))
        self.normalized_shape = shape
        self.eps = eps
        self.weight = Parameter(init.ones(shape, dtype=dtype)) if elementwise_affine else None
        self.bias = (
            Parameter(init.zeros(shape, dtype=dtype)) if elementwise_affine and bias else None
        )

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x normalised, scaled and shifted."""
        x = as_tensor(input)
        shape = self.normalized_shape
        if x.shape[-len(shape) :] != shape:
            raise ShapeError(
                f"{self._title}: input of shape {x.shape} does not end in {shape}",
                operands=[x.node.describe()],
                rule="input is (..., *normalized_shape)",
            )
        return functional.layer_norm(x, shape, self.weight, self.bias, self.eps)

    def _brief(self) -> str:
        return f"LayerNorm {' x '.join(map(str, self.normalized_shape))}"

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.normalized_shape}, eps={self.eps}, affine={self.weight is not None}"


class GroupNorm(Module):
    """Normalise each example over groups of channels, then scale and shift each channel.

    Formula
    -------
    ``y = gamma (x - mu) / sqrt(var + eps) + beta`` with mean and (biased) variance over the
    channels of a group and all spatial axes; training and evaluation are the same

    Shapes
    ------
    ``input`` (N, C, spatial...), ``weight`` and ``bias`` (C); the result has the shape of
    ``input``

    Parameters
    ----------
    num_groups, num_channels
        The number of groups, and C, which it divides.
    eps
        Added to the variance; in the unit of x squared.
    affine
        Whether there are ``weight`` and ``bias``.
    dtype
        Of the parameters; the default floating dtype if None.

    Raises
    ------
    ShapeError
        If the channels do not fit.
    DataError
        If the groups do not divide the channels.

    Source
    ------
    Wu and He, 2018.
    """

    is_normalisation: ClassVar[bool] = True

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: DTypeLike = None,
    ) -> None:
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise DataError(f"GroupNorm: {num_groups} groups do not divide {num_channels} channels")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight = Parameter(init.ones(num_channels, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_channels, dtype=dtype)) if affine else None

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x normalised, scaled and shifted."""
        x = _with_channels(self, input, self.num_channels)
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def _brief(self) -> str:
        return f"GroupNorm {self.num_channels} in {self.num_groups}"

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.weight is not None}"
        )


class InstanceNorm(Module):
    """Normalise each channel of each example over its spatial axes, then scale and shift.

    Formula
    -------
    ``y = gamma (x - mu) / sqrt(var + eps) + beta`` with mean and (biased) variance over the
    spatial axes; with ``track_running_stats`` evaluation uses running ones

    Shapes
    ------
    ``input`` (N, C, spatial...), ``weight`` and ``bias`` (C); the result has the shape of
    ``input``

    Parameters
    ----------
    num_features
        C, the number of channels.
    eps
        Added to the variance; in the unit of x squared.
    momentum
        The weight of a batch in the running statistics, from 0 to 1.
    affine
        Whether there are ``weight`` and ``bias``.
    track_running_stats
        Whether running statistics are kept in training and used in evaluation.
    dtype
        Of the parameters; the default floating dtype if None.

    Raises
    ------
    ShapeError
        If the channels do not fit, or there is one value to take statistics of.

    Source
    ------
    Ulyanov, Vedaldi and Lempitsky, 2016.
    """

    is_normalisation: ClassVar[bool] = True

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Buffer | None
    running_var: Buffer | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: DTypeLike = None,
    ) -> None:
        check_sizes("InstanceNorm", num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        kept = track_running_stats
        self.weight = Parameter(init.ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_features, dtype=dtype)) if affine else None
        self.running_mean = Buffer(init.zeros(num_features, dtype=dtype)) if kept else None
        self.running_var = Buffer(init.ones(num_features, dtype=dtype)) if kept else None

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x normalised, scaled and shifted."""
        x = _with_channels(self, input, self.num_features)
        own = self.training or self.running_mean is None
        return functional.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, self.momentum,
            self.eps,
        )  # fmt: skip

    def _brief(self) -> str:
        return f"InstanceNorm {self.num_features}"

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"


class AdaIN(Module):
    """Give the content the mean and deviation that the style has, channel by channel.

    Formula
    -------
    ``y = sigma(s) (x - mu(x)) / sigma(x) + mu(s)`` with ``sigma = sqrt(var + eps)``, mean and
    (biased) variance over the spatial axes of each example and channel; training and
    evaluation are the same, and there are no parameters

    Shapes
    ------
    ``input`` x (N, C, spatial...), ``style`` s (N, C, spatial...) or (1, C, spatial...), whose
    spatial sizes may be others; the result has the shape of ``input``

    Parameters
    ----------
    eps
        Added to both variances; in the unit of x squared.

    Raises
    ------
    ShapeError
        If the style does not fit, or there is one value to take statistics of.

    Source
    ------
    Huang and Belongie, 2017. Catalogue row D4.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        self.eps = eps

    def forward(self, input: ArrayLike, style: ArrayLike) -> Tensor:
        """Return the content with the statistics of the style."""
        return functional.adain(input, style, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"eps={self.eps}"


def _with_channels(module: Module, input: ArrayLike, channels: int) -> Tensor:
    x = as_tensor(input)
    if x.ndim < 2 or x.shape[1] != channels:
        raise ShapeError(
            f"{module._title}: input of shape {x.shape} does not have {channels} channels on "
            "axis 1",
            operands=[x.node.describe()],
            rule="input is (N, C, spatial...)",
            fix="check the layer before, and that channels are axis 1 (NCHW)",
        )
    return x
