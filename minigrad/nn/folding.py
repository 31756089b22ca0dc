"""Dropout folded into the next layer's weights, for evaluation without it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from minigrad.core.state import Parameter
from minigrad.core.tape import no_grad
from minigrad.errors import DataError

from .activation import Identity, LeakyReLU, ReLU
from .containers import Sequential
from .convolution import Conv1d, Conv2d
from .dense import Flatten, Linear, Unflatten
from .dropout import Dropout
from .module import Module
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)

__all__ = ["fold_dropout"]

#: Layers that let a positive factor through: f(c x) = c f(x).
_HOMOGENEOUS = (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, Flatten, Identity, LeakyReLU,
    MaxPool1d, MaxPool2d, ReLU, Unflatten,
)  # fmt: skip


def fold_dropout(model: Sequential) -> Sequential:
    """Return a copy for evaluation, with standard dropout folded into the next weights.

    Formula
    -------
    ``((1 - p) x) W^T + b = x ((1 - p) W)^T + b``: each Dropout of mode "standard" is replaced
    by the identity, and the weights of the next layer are multiplied by 1 - p. Between them
    may be layers f with ``f(c x) = c f(x)``: ReLU, pooling, flattening.

    The result in evaluation is that of the model. Inverted dropout needs no folding: it is
    the identity in evaluation already.

    Parameters
    ----------
    model
        A trained ``nn.Sequential``, whose order of layers is known; it may hold others.

    Raises
    ------
    DataError
        If a layer that is not linear in this sense, or the end, comes before the next weights,
        or if these are shared with another layer.

    Source
    ------
    Srivastava and others, 2014. Catalogue row B3.
    """
    if not isinstance(model, Sequential):
        raise DataError(
            f"fold_dropout: {type(model).__name__} is not an nn.Sequential",
            rule="only there is it known which layer comes next",
        )
    folded = copy.deepcopy(model)
    users = [id(layer.weight) for *_, layer in _layers(folded) if isinstance(layer, _WEIGHTED)]
    keep, dropped = 1.0, None
    for home, name, layer in list(_layers(folded)):
        if isinstance(layer, Dropout):
            if layer.mode == "standard":
                keep *= 1.0 - layer.p
                dropped = layer._title
                setattr(home, name, Identity())
        elif dropped is None or isinstance(layer, _HOMOGENEOUS):
            continue
        elif isinstance(layer, _WEIGHTED):
            _scale(layer, layer.weight, keep, shared=users.count(id(layer.weight)) > 1)
            keep, dropped = 1.0, None
        else:
            raise DataError(
                f"fold_dropout: {layer._title} stands between {dropped} and the next weights",
                rule="f(c x) = c f(x) for what lies between, such as ReLU, pooling, Flatten",
                fix='use nn.Dropout(p) in mode "inverted", which needs no folding',
            )
    if dropped is not None:
        raise DataError(f"fold_dropout: no weights follow {dropped}")
    return folded


_WEIGHTED = (Linear, Conv1d, Conv2d)


def _scale(layer: Module, weight: Parameter, keep: float, shared: bool) -> None:
    if shared:
        raise DataError(
            f"fold_dropout: the weights of {layer._title} are shared with another layer",
            fix="give the layers weights of their own",
        )
    with no_grad():
        weight.assign(weight * keep)


def _layers(model: Sequential) -> Iterator[tuple[Sequential, str, Module]]:
    """Iterate over the layers in the order in which they are applied, each with its home."""
    for name, layer in list(model.named_children()):
        if isinstance(layer, Sequential):
            yield from _layers(layer)
        else:
            yield model, name, layer
