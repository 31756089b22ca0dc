"""Dropout of activations, and of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.core.tensor import Tensor
from minigrad.ops.kinds import ArrayLike

from . import functional
from .functional.dropping import check_dropping
from .module import Module
from .reparametrised import weight_of
from .tree import stand_in

__all__ = ["DropConnect", "Dropout"]


class Dropout(Module):
    """Set each element to zero with probability p, in training.

    Formula
    -------
    "inverted": ``y = x mask / (1 - p)`` in training, ``y = x`` in evaluation.
    "standard": ``y = x mask`` in training, ``y = (1 - p) x`` in evaluation.

    Shapes
    ------
    any; the result has the shape of ``input``

    Parameters
    ----------
    p
        The probability of **dropping** an element, in [0, 1).
    mode
        "inverted" or "standard".

    Raises
    ------
    DataError
        If p is out of range, or the mode is not known.

    Source
    ------
    Srivastava and others, 2014. Catalogue rows B1, B2, B4, B5.
    """

    def __init__(self, p: float = 0.5, mode: str = "inverted") -> None:
        check_dropping(p, mode, "Dropout")
        self.p = p
        self.mode = mode

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x with some elements dropped, or its expected value."""
        check_dropping(self.p, self.mode, self._title)
        return functional.dropout(input, self.p, self.training, self.mode)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"p={self.p}" + ("" if self.mode == "inverted" else f", mode={self.mode!r}")


class DropConnect(Module):
    """A layer whose weights, not its activations, are dropped in training.

    Formula
    -------
    ``y = layer(x)`` with ``W mask / (1 - p)`` for the weights W, one mask for the whole
    batch, drawn anew in each call. In evaluation, and in mode "standard": as for Dropout.

    Parameters
    ----------
    layer
        The layer, such as ``nn.Linear(100, 10)``. Its parameters stay its own.
    p
        The probability of **dropping** a weight, in [0, 1).
    mode
        "inverted" or "standard".
    names
        Which parameters of the layer are dropped.

    Raises
    ------
    DataError
        If p is out of range, or the layer has no such parameter.

    Source
    ------
    Wan and others, 2013. Catalogue row B6.
    """

    def __init__(
        self,
        layer: Module,
        p: float = 0.5,
        mode: str = "inverted",
        names: Sequence[str] = ("weight",),
    ) -> None:
        check_dropping(p, mode, "DropConnect")
        for name in names:
            weight_of(layer, name, "DropConnect")
        self.layer = layer
        self.p = p
        self.mode = mode
        self.names = tuple(names)

    def forward(self, *args: Any) -> Any:
        """Return the layer's result with some weights dropped."""
        check_dropping(self.p, self.mode, self._title)
        instead = {}
        for name in self.names:
            weight = getattr(self.layer, name)
            dropped = functional.dropout(weight, self.p, self.training, self.mode)
            instead[id(weight)] = dropped
        return stand_in(self.layer, instead)(*args)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"p={self.p}" + ("" if self.mode == "inverted" else f", mode={self.mode!r}")
