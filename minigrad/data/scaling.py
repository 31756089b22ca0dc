"""Scaling of inputs (catalogue, section E): statistics of the training set, applied anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from minigrad.core.door import as_tensor, cast, module_of
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array, float64, get_default_dtype, kind_of
from minigrad.errors import CheckpointError, DataError, ShapeError
from minigrad.shapes import axes_of

__all__ = ["MinMax", "Scaler", "Standardize"]

X = TypeVar("X", Array, Tensor)
S = TypeVar("S", bound="Scaler")


class Scaler(ABC):
    """Base of the scalings ``(x - shift) / scale``, with numbers found by ``fit``.

    Parameters
    ----------
    axis
        The axes over which the statistics are taken; each index of the others is a feature.
        0 for (m, features), (0, 2, 3) for the channels of (m, C, h, w), None for one
        statistic of everything.
    """

    __slots__ = ("axis", "scale", "shift")

    def __init__(self, axis: int | Sequence[int] | None = 0) -> None:
        self.axis = axis
        #: Subtracted, and divided by: float64 arrays that broadcast, or None before ``fit``.
        self.shift: Array | None = None
        self.scale: Array | None = None

    @staticmethod
    @abstractmethod
    def statistics(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """Return shift and scale of float64 data, reduced axes kept."""

    def fit(self: S, x: Any) -> S:
        """Find the numbers for this data: the training set, and nothing else.

        Raises
        ------
        DataError
            If there are no rows, or the data contain NaN or an infinity.
        """
        data = np.asarray(x.numpy() if isinstance(x, Tensor) else x, np.float64)
        axes = axes_of(self.axis, data.ndim, type(self).__name__)
        if not data.size:
            raise DataError(f"{type(self).__name__}.fit: there is no data, shape {data.shape}")
        bad = data.size - np.count_nonzero(np.isfinite(data))
        if bad:
            raise DataError(
                f"{type(self).__name__}.fit: {bad} of {data.size} values are NaN or infinite",
                fix="replace or remove them first",
            )
        shift, scale = self.statistics(data, axes)
        constant = (data.max(axes, keepdims=True) == data.min(axes, keepdims=True)) | (scale == 0)
        scale = np.where(constant, 1.0, scale)
        if self.axis is None:
            shift, scale = shift.reshape(()), scale.reshape(())
        self.shift, self.scale = shift, scale
        return self

    def _fitted(self, x: Any, what: str) -> tuple[Array, Array]:
        if self.shift is None or self.scale is None:
            raise DataError(
                f"{type(self).__name__}.{what}: not fitted yet",
                fix="call fit(x_train) first, or fit_transform(x_train)",
            )
        wanted, got = self.shift.shape, tuple(x.shape)
        same = len(wanted) == len(got) and all(
            w in (1, g) for w, g in zip(wanted, got, strict=True)
        )
        if wanted and not same:
            raise ShapeError(
                f"{type(self).__name__}.{what}: data of shape {got} do not have the features of "
                f"the training set, {wanted}",
                fix="keep the axes as they were in fit; for one sample, x[None]",
            )
        return self.shift, self.scale

    def transform(self, x: X) -> X:
        """Return ``(x - shift) / scale``, computed in float64, in the floating dtype of x.

        Integers become the default dtype. Takes arrays and tensors, and gives the same.
        """
        shift, scale = self._fitted(x, "transform")
        if isinstance(x, Tensor):
            return cast((cast(x, float64) - _like(shift, x)) / _like(scale, x), _kind(x))
        data = np.asarray(x)
        return ((data.astype(np.float64) - shift) / scale).astype(_kind(data))

    def inverse_transform(self, x: X) -> X:
        """Return ``x * scale + shift``: the data as they were, up to rounding."""
        shift, scale = self._fitted(x, "inverse_transform")
        if isinstance(x, Tensor):
            return cast(cast(x, float64) * _like(scale, x) + _like(shift, x), _kind(x))
        data = np.asarray(x)
        return (data.astype(np.float64) * scale + shift).astype(_kind(data))

    def fit_transform(self, x: X) -> X:
        """Fit to the training set, and return it transformed."""
        return self.fit(x).transform(x)

    def state_dict(self) -> dict[str, Array | None]:
        """Return the numbers, for ``mg.save``; None before ``fit``."""
        return {"shift": self.shift, "scale": self.scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved numbers; the object need not have been fitted.

        Raises
        ------
        CheckpointError
            If they are not those of a scaling; nothing was changed.
        """
        if state.keys() != {"shift", "scale"} or (state["shift"] is None) != (
            state["scale"] is None
        ):
            raise CheckpointError(
                f"{type(self).__name__}: the saved state has entries {', '.join(state)}",
                rule="expected shift and scale",
            )
        if state["shift"] is None:
            self.shift = self.scale = None
            return
        shift = np.array(state["shift"], np.float64)
        scale = np.array(state["scale"], np.float64)
        if shift.shape != scale.shape:
            raise CheckpointError(
                f"{type(self).__name__}: shift has shape {shift.shape}, scale {scale.shape}"
            )
        self.shift, self.scale = shift, scale

    def __repr__(self) -> str:
        fitted = "not fitted" if self.shift is None else f"fitted to {self.shift.size} features"
        return f"{type(self).__name__}(axis={self.axis}, {fitted})"


def _like(numbers: Array, x: Tensor) -> Tensor:
    """Return the numbers as a tensor on the device of x."""
    return as_tensor(module_of(x.node.value).asarray(numbers))


def _kind(x: Any) -> Any:
    return x.dtype if kind_of(x.dtype) == "f" else get_default_dtype()


class Standardize(Scaler):
    r"""Scale every feature to mean 0 and standard deviation 1.

    .. math:: x' = (x - \mu) / \sigma, \quad \sigma^2 = \tfrac{1}{m} \sum (x - \mu)^2

    A feature that is constant in the training set becomes 0, not NaN.

    Example
    -------
    ``scaler = mg.data.Standardize().fit(x_train)``, then ``scaler.transform(x_train)`` and
    ``scaler.transform(x_test)``.
    """

    __slots__ = ()

    @staticmethod
    def statistics(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """Return mean and standard deviation."""
        return x.mean(axes, keepdims=True), x.std(axes, keepdims=True)


class MinMax(Scaler):
    r"""Scale every feature to the range from 0 to 1.

    .. math:: x' = (x - \min x) / (\max x - \min x)

    A feature that is constant in the training set becomes 0. Data other than the training
    set may lie outside.
    """

    __slots__ = ()

    @staticmethod
    def statistics(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """Return minimum and range."""
        low = x.min(axes, keepdims=True)
        return low, x.max(axes, keepdims=True) - low
