"""Many predictions for one: all sub-networks of dropout, a sample of them, bagging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import NamedTuple

import numpy as np

from minigrad.changes import changes
from minigrad.core.door import as_tensor
from minigrad.core.tape import no_grad
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array
from minigrad.errors import DataError, ShapeError
from minigrad.ops.analytic import exp, log
from minigrad.ops.composed import mean, std
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.movement import concat, stack
from minigrad.ops.structural import broadcast_to, reshape, sum

from .containers import ModuleList
from .dropout import DropConnect, Dropout
from .module import Module
from .tree import stand_in

__all__ = [
    "Bagging", "MonteCarlo", "SubNetworks", "geometric_mean", "monte_carlo", "subnetworks",
]  # fmt: skip

_MOST_UNITS = 16  # 2^16 sub-networks
_ROWS = 1 << 15  # that are computed at once


class SubNetworks(NamedTuple):
    """All sub-networks of dropout, of which there are S = 2^H."""

    outputs: Tensor  #: (S, m, ...), the result of each on the whole input
    masks: Array  #: (S, H), True for the units that are kept
    probabilities: Array  #: (S), with which each is drawn in training; they add up to 1


class MonteCarlo(NamedTuple):
    """Repeated predictions with dropout on, and what they say together."""

    mean: Tensor  #: of the samples
    std: Tensor  #: their standard deviation, with correction 1
    samples: Tensor  #: (samples, m, ...)


class _Masked(Module):
    """Stands for a Dropout: notes what comes in, then multiplies by a mask that is given."""

    def __init__(self, original: Dropout) -> None:
        self.title = original._title
        self.scale = 1.0 / (1.0 - original.p) if original.mode == "inverted" else 1.0
        self.p = original.p
        self.units: tuple[int, ...] | None = None
        self.mask: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        if self.mask is not None:
            return input * self.mask
        if self.units is not None:
            raise DataError(f"subnetworks: {self.title} is used twice: its masks would differ")
        self.units = input.shape[1:]
        return input


def subnetworks(model: Module, input: ArrayLike) -> SubNetworks:
    """Return the predictions of every sub-network that dropout can leave over.

    Formula
    -------
    H units under dropout have 2^H masks; sub-network s multiplies them by mask s (and by
    1 / (1 - p) in mode "inverted"), and is drawn in training with probability
    ``(1 - p)^kept p^dropped``. All other layers are in evaluation mode.

    Shapes
    ------
    ``input`` (m, ...); ``outputs`` (2^H, m, ...), ``masks`` (2^H, H), ``probabilities`` (2^H)

    Parameters
    ----------
    model
        A model in which Dropout layers have at most 16 units together. It is not changed.
    input
        The examples.

    Raises
    ------
    DataError
        If there is no Dropout, there are more than 16 units, or a Dropout is used twice.

    Source
    ------
    Hinton and others, 2012; Srivastava and others, 2014. Catalogue row B7.
    """
    x = as_tensor(input)
    twin, masked = _with_masks(model)
    with no_grad(), _modes(twin, ()):
        twin(x)
        sizes = [prod(layer.units or ()) for layer in masked]
        units = int(np.sum(sizes))
        if not 0 < units <= _MOST_UNITS:
            raise DataError(
                f"subnetworks: {units} units under dropout have 2^{units} sub-networks",
                rule=f"from 1 to {_MOST_UNITS} units can be enumerated",
                fix="use nn.monte_carlo, which draws some of them",
            )
        count = 2**units
        masks = (np.arange(count)[:, None] >> np.arange(units) & 1).astype(np.bool_)
        each = max(1, _ROWS // max(1, x.shape[0]))
        outputs = [_masked(twin, masked, sizes, some, x) for some in _parts(masks, each)]
    dropped = np.repeat([layer.p for layer in masked], sizes)
    probabilities = np.where(masks, 1.0 - dropped, dropped).prod(axis=1)
    return SubNetworks(concat(outputs) if len(outputs) > 1 else outputs[0], masks, probabilities)


def _parts(masks: Array, each: int) -> list[Array]:
    return [masks[i : i + each] for i in range(0, len(masks), each)]


def _masked(
    twin: Module, masked: list[_Masked], sizes: list[int], masks: Array, x: Tensor
) -> Tensor:
    """Return the results of some sub-networks, (S, m, ...), in one pass over S m rows."""
    count, m = len(masks), x.shape[0]
    for layer, part in zip(masked, np.split(masks, np.cumsum(sizes)[:-1], axis=1), strict=True):
        rows = np.repeat(part, m, axis=0).reshape(-1, *(layer.units or ()))
        layer.mask = as_tensor((rows * layer.scale).astype(x.dtype))
    many = reshape(broadcast_to(x, (count, *x.shape)), (count * m, *x.shape[1:]))
    out: Tensor = twin(many)
    return reshape(out, (count, m, *out.shape[1:]))


def _with_masks(model: Module) -> tuple[Module, list[_Masked]]:
    """Return a copy that shares the parameters, with the Dropout layers replaced."""
    twin = stand_in(model, {})
    if isinstance(twin, Dropout):
        alone = _Masked(twin)
        return alone, [alone]
    stands: dict[int, _Masked] = {}
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Dropout):
                setattr(module, name, stands.setdefault(id(child), _Masked(child)))
    if not stands:
        raise _no_dropout("subnetworks", model)
    return twin, list(stands.values())


def _no_dropout(what: str, model: Module) -> DataError:
    return DataError(
        f"{what}: {model._title} has no Dropout layer", fix="add nn.Dropout(p) between its layers"
    )


@contextmanager
def _modes(model: Module, training: tuple[type[Module], ...]) -> Iterator[None]:
    """Put modules of some kinds into training mode and all others into evaluation, for a while."""
    before = [(module, module._info.training) for module in model.modules()]
    try:
        for module, _ in before:
            module._info.training = isinstance(module, training)
            changes.note()
        yield
    finally:
        for module, mode in before:
            module._info.training = mode
            changes.note()


def geometric_mean(
    probabilities: ArrayLike, weights: ArrayLike | None = None, axis: int = 0
) -> Tensor:
    """Return the geometric mean of distributions over classes, which are on the last axis.

    Formula
    -------
    ``P_k = prod_s (p_sk)^(w_s) / sum_k prod_s (p_sk)^(w_s)``, with weights that add up to 1,
    1 / S each by default

    Shapes
    ------
    ``probabilities`` (S, ..., K) with S at ``axis``, ``weights`` (S); the result is (..., K)

    For one hidden layer under dropout, then softmax, this mean over all sub-networks is the
    prediction of the network in evaluation, exactly.

    Raises
    ------
    ShapeError
        If there is not one weight for each distribution.

    Source
    ------
    Hinton and others, 2012. Catalogue row B7.
    """
    p = as_tensor(probabilities)
    count = p.shape[axis]
    w = as_tensor(np.full(count, 1.0 / count) if weights is None else weights)
    if w.shape != (count,):
        raise ShapeError(
            f"geometric_mean: weights of shape {w.shape} for {count} distributions",
            operands=[p.node.describe(), w.node.describe()],
        )
    at = axis % p.ndim
    column = reshape(w.astype(p.dtype), tuple(count if a == at else 1 for a in range(p.ndim)))
    product = exp(sum(column * log(p), at))
    return product / sum(product, -1, keepdims=True)


def monte_carlo(model: Module, *args: ArrayLike, samples: int = 100) -> MonteCarlo:
    """Return the mean and the spread of repeated predictions with dropout on.

    Formula
    -------
    ``mean = (1 / S) sum_s f_s(x)``, ``std = sqrt(sum_s (f_s(x) - mean)^2 / (S - 1))``, with a
    new mask for each f_s. All other layers are in evaluation mode.

    Shapes
    ------
    ``mean`` and ``std`` of the shape of the model's result, ``samples`` with one axis more

    Parameters
    ----------
    model
        A model with Dropout or DropConnect layers. For probabilities end it in
        ``nn.Softmax(1)``: the mean of probabilities is not the softmax of a mean.
    args
        Its arguments.
    samples
        S, at least 2. The error of the mean falls as ``std / sqrt(S)``.

    Raises
    ------
    DataError
        If there is nothing to drop, or fewer than 2 samples are asked for.

    Source
    ------
    Gal and Ghahramani, 2016. Catalogue row B8; ``mg.random.seed`` governs the masks.
    """
    if samples < 2:
        raise DataError(f"monte_carlo: samples = {samples}", rule="a spread needs at least 2")
    if not any(isinstance(module, Dropout | DropConnect) for module in model.modules()):
        raise _no_dropout("monte_carlo", model)
    with no_grad(), _modes(model, (Dropout, DropConnect)):
        drawn = stack([model(*args) for _ in range(samples)])
        return MonteCarlo(mean(drawn, 0), std(drawn, 0, correction=1.0), drawn)


class Bagging(Module):
    """The mean of several models, each trained on a bootstrap sample of the data.

    Formula
    -------
    ``F(x) = (1 / M) sum_m f_m(x)``

    Shapes
    ------
    those of the models

    Parameters
    ----------
    models
        The models. ``mg.data.bootstrap(x, y, seed=m)`` draws the rows that model m is trained
        on; ``F.predictions(x)`` has the result of each, (M, ...).

    Raises
    ------
    DataError
        If there are no models.

    Source
    ------
    Breiman, 1996. Catalogue row B9.
    """

    def __init__(self, models: Iterable[Module]) -> None:
        self.models = ModuleList(models)
        if not len(self.models):
            raise DataError("Bagging: there are no models")

    def predictions(self, *args: ArrayLike) -> Tensor:
        """Return the results of all models, along a new first axis."""
        return stack([model(*args) for model in self.models])

    def forward(self, *args: ArrayLike) -> Tensor:
        """Return the mean of the models' results."""
        return mean(self.predictions(*args), 0)

    def extra_repr(self) -> str:
        """Return how many models there are."""
        return f"{len(self.models)} models"
