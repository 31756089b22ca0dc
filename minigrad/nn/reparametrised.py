"""Layers whose weights are functions of other weights: WeightNorm, WeightStandardization."""

from __future__ import annotations

from typing import Any

from minigrad.core.state import Parameter
from minigrad.core.tape import no_grad
from minigrad.core.tensor import Tensor
from minigrad.errors import DataError

from . import functional
from .functional.reparametrised import norm_except
from .module import Module
from .tree import stand_in

__all__ = ["WeightNorm", "WeightStandardization"]


class WeightNorm(Module):
    """A layer whose weight has its length and its direction as parameters of their own.

    Formula
    -------
    ``y = layer(x)`` with ``w = g v / ||v||``; the direction v is the layer's ``weight``, the
    length g is ``weight_g``, which starts as ``||v||``, so that nothing changes at first. With
    delta the gradient by w: that by g is ``(delta . v) / ||v||``, that by v is orthogonal to v.

    Shapes
    ------
    those of the layer; ``weight_g`` (out, 1, ...)

    Parameters
    ----------
    layer
        The layer, such as ``nn.Linear(100, 10)``. Its parameters stay its own.
    name
        Which of its parameters is meant.
    dim
        The axis of the output units, each of which has a length; None for one length of all.

    Raises
    ------
    DataError
        If the layer has no such parameter.

    Source
    ------
    Salimans and Kingma, 2016. Catalogue row D2.
    """

    def __init__(self, layer: Module, name: str = "weight", dim: int | None = 0) -> None:
        v = weight_of(layer, name, "WeightNorm")
        self.layer = layer
        self.name = name
        self.dim = dim
        with no_grad():
            self.weight_g = Parameter(norm_except(v, dim))

    def forward(self, *args: Any) -> Any:
        """Return the layer's result with the weight of this length and direction."""
        v = getattr(self.layer, self.name)
        return with_weight(self.layer, v, functional.weight_norm(v, self.weight_g, self.dim), args)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"name={self.name!r}, dim={self.dim}"


class WeightStandardization(Module):
    """A layer whose weights are standardised in each output unit before they are used.

    Formula
    -------
    ``y = layer(x)`` with ``w' = (w - mu) / sqrt(var + eps)``, mean and (biased) variance over all
    axes of the layer's ``weight`` but the first. The gradient by w has mean 0 in each unit.

    Shapes
    ------
    those of the layer

    Parameters
    ----------
    layer
        The layer, such as ``nn.Conv2d(3, 8, 3)``. Its parameters stay its own.
    name
        Which of its parameters is meant.
    eps
        Added to the variance; in the unit of w squared.

    Raises
    ------
    DataError
        If the layer has no such parameter.
    ShapeError
        If an output unit has fewer than two weights.

    Source
    ------
    Qiao and others, 2019. Catalogue row D7.
    """

    def __init__(self, layer: Module, name: str = "weight", eps: float = 1e-5) -> None:
        weight_of(layer, name, "WeightStandardization")
        self.layer = layer
        self.name = name
        self.eps = eps

    def forward(self, *args: Any) -> Any:
        """Return the layer's result with standardised weights."""
        w = getattr(self.layer, self.name)
        return with_weight(self.layer, w, functional.weight_standardization(w, self.eps), args)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"name={self.name!r}, eps={self.eps}"


def weight_of(layer: Module, name: str, what: str) -> Parameter:
    """Return a parameter of a layer by name; raise DataError if there is none."""
    if not isinstance(layer, Module):
        raise DataError(
            f"{what}: {layer!r} is not a layer",
            fix=f"{what}(nn.Linear(100, 10)) wraps the layer whose weights are meant",
        )
    found = getattr(layer, name, None)
    if not isinstance(found, Parameter):
        raise DataError(f"{what}: {layer._title} has no parameter {name!r}")
    return found


def with_weight(layer: Module, weight: Tensor, instead: Tensor, args: tuple[Any, ...]) -> Any:
    """Return a layer's result with a tensor in the place of one of its parameters."""
    return stand_in(layer, {id(weight): instead})(*args)
