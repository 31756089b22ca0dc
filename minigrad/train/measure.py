"""What happens inside a network while it trains: catalogue row C8.

Each function tries something out and leaves the model as it was, parameters, statistics and
modes. Those that take gradients are made once, for a model and its loss, and called often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.api import compile, value_and_grad
from minigrad.core.door import as_tensor, module_of
from minigrad.core.late import call
from minigrad.core.node import Node
from minigrad.core.state import Parameter
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array
from minigrad.errors import DataError
from minigrad.nn.module import Module
from minigrad.trees import flatten
from minigrad.viz.scopes import layers_of, path_text

from .keep import kept

__all__ = ["AlongStep", "LayerShift", "along_step", "covariate_shift", "layer_inputs"]

Loss = Callable[[Any, Any], Tensor]
Gradients = Callable[[Any, Any], tuple[float, list[Array]]]


def _gradients(model: Module, loss: Loss) -> Gradients:
    """Return a compiled function: the loss of a batch and its gradient by each parameter."""

    @compile
    def both(x: Any, y: Any) -> tuple[Tensor, list[Tensor]]:
        value, gradient = value_and_grad(lambda m: loss(m(x), y))(model)
        return value, list(gradient.parameters())

    def evaluate(x: Any, y: Any) -> tuple[float, list[Array]]:
        value, gradient = both(x, y)
        return float(value), [g.numpy().astype(np.float64) for g in gradient]

    return evaluate


def _norm(arrays: Sequence[Array]) -> float:
    return float(np.sqrt(sum(np.vdot(a, a) for a in arrays)))


def _move(parameters: Sequence[Parameter], start: Sequence[Array], by: Sequence[Array]) -> None:
    for p, w, step in zip(parameters, start, by, strict=True):
        p.load(call("move", (w + step).astype(p.dtype), module_of(p.leaf.value).__name__))


@dataclass(frozen=True, slots=True)
class AlongStep:
    """The loss and its gradient g along the line w - rate g(w), from a point w of training.

    Attributes
    ----------
    rates
        Learning rates, n of them.
    loss
        The loss of the batch at each.
    gradient_change
        ||g(w - rate g) - g(w)|| at each.
    gradient_norm
        ||g(w)||.
    start
        The loss at w.
    """

    rates: Array
    loss: Array
    gradient_change: Array
    gradient_norm: float
    start: float

    @property
    def relative_change(self) -> Array:
        """By how much the gradient changes, as a share of itself: 0 if the loss is linear."""
        return self.gradient_change / self.gradient_norm

    @property
    def smoothness(self) -> Array:
        """||g(w - rate g) - g(w)|| / ||rate g||: a lower bound of the Lipschitz constant of g."""
        return self.gradient_change / (self.rates * self.gradient_norm)


def along_step(model: Module, loss: Loss) -> Callable[[Any, Any, Any], AlongStep]:
    """Return a function of a batch and rates that looks where plain gradient steps would lead.

    Parameters
    ----------
    model
        In the mode in which it trains.
    loss
        ``loss(model(x), y)``, a scalar.

    Example
    -------
    ``look = along_step(model, F.cross_entropy)``, then ``look(x, y, [0.1, 0.2, 0.4]).loss``.

    Source
    ------
    Santurkar, Tsipras, Ilyas and Madry, 2018, section 3.1. Catalogue row C8.
    """
    gradients = _gradients(model, loss)

    def look(x: Any, y: Any, rates: Any) -> AlongStep:
        etas = np.atleast_1d(np.asarray(rates, np.float64))
        if not (etas > 0).all():
            raise DataError("along_step: rates must be positive", operands=[f"rates  {rates}"])
        parameters = list(model.parameters())
        losses, changes = np.empty(len(etas)), np.empty(len(etas))
        with kept(model):
            start, g = gradients(x, y)
            w = [p.numpy() for p in parameters]
            for i, eta in enumerate(etas):
                _move(parameters, w, [-eta * part for part in g])
                losses[i], there = gradients(x, y)
                changes[i] = _norm([a - b for a, b in zip(there, g, strict=True)])
        return AlongStep(etas, losses, changes, _norm(g), start)

    return look


@dataclass(frozen=True, slots=True)
class LayerShift:
    """What the steps of the layers below did to a layer's gradient.

    Attributes
    ----------
    path
        The layer, by its path in the model.
    relative
        ||G' - G|| / ||G||, G the gradient of the layer's parameters before the layers below
        it made their steps, G' after.
    cosine
        Of the angle between G and G'.
    """

    path: str
    relative: float
    cosine: float


def covariate_shift(
    model: Module, loss: Loss
) -> Callable[[Any, Any, float], tuple[LayerShift, ...]]:
    """Return a function of a batch and a rate: how far the lower layers' steps mislead each layer.

    This is internal covariate shift as one can measure it: if the layers below change the
    distribution of a layer's inputs, the step that the layer is about to make was worked out
    for inputs that are no longer there. Layers are in the order of ``named_parameters``.

    Parameters
    ----------
    model
        In the mode in which it trains.
    loss
        ``loss(model(x), y)``, a scalar.

    Source
    ------
    Santurkar, Tsipras, Ilyas and Madry, 2018, definition 2.1. Catalogue row C8.
    """
    gradients = _gradients(model, loss)

    def look(x: Any, y: Any, rate: float) -> tuple[LayerShift, ...]:
        parameters = list(model.parameters())
        layers: dict[str, list[int]] = {}
        for i, (name, _) in enumerate(model.named_parameters()):
            layers.setdefault(name.rpartition(".")[0], []).append(i)
        found = []
        with kept(model):
            _, before = gradients(x, y)
            for path, own in layers.items():
                _, after = gradients(x, y)  # the layers before this one have made their steps
                g, h = ([part[i] for i in own] for part in (before, after))
                change = _norm([b - a for a, b in zip(g, h, strict=True)])
                both = sum(float(np.vdot(a, b)) for a, b in zip(g, h, strict=True))
                size = _norm(g)
                lengths = size * _norm(h)
                found.append(
                    LayerShift(
                        path,
                        change / size if size else np.nan,
                        both / lengths if lengths else np.nan,
                    )
                )
                mine = [parameters[i] for i in own]
                _move(mine, [p.numpy() for p in mine], [-rate * part for part in g])
        return tuple(found)

    return look


def layer_inputs(model: Module, *args: Any) -> dict[str, Array]:
    """Return the values that enter each layer when the model is called, by the layer's path.

    They are read off the graph of the call: what a layer's operations take from outside of
    it and that depends on ``args``. A layer that is called twice, or takes several such
    values, is there with the first. What ``forward`` does itself, outside of any layer, has
    the path "".

    Parameters
    ----------
    model
        Called in the mode that it is in; its statistics stay as they are.
    args
        Its arguments.

    Example
    -------
    ``layer_inputs(model, x)["fc2"].mean()``
    """
    leaves, tree = flatten(args)
    given = [as_tensor(leaf) if hasattr(leaf, "shape") else leaf for leaf in leaves]
    with kept(model):
        out = model(*tree.build(given))
    results = [t for t in flatten(out)[0] if isinstance(t, Tensor)]
    reached = {t.node for t in given if isinstance(t, Tensor)}
    home: dict[Node, str] = {}
    found: dict[str, Array] = {}
    for result in results:
        for node in result.graph().nodes:
            entering = [i for i in node.inputs if i in reached]
            if not entering:
                continue
            reached.add(node)
            path = home[node] = path_text(layers_of(node.scope))
            for i in entering:
                if home.get(i) != path:
                    found.setdefault(path, Tensor(i).numpy())
    return found
