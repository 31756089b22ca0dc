"""Batch normalisation's statistics over a whole training set, for evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minigrad.changes import changes
from minigrad.core.state import Buffer
from minigrad.core.tape import no_grad
from minigrad.errors import DataError

from .batch_norm import BatchNorm
from .module import Module

__all__ = ["population_statistics"]


def population_statistics(model: Module, batches: Iterable[Any]) -> None:
    """Set every BatchNorm's kept statistics to averages over all training minibatches.

    Formula
    -------
    ``mean = (1 / B) sum_b mu_b`` and ``var = (1 / B) sum_b m_b / (m_b - 1) var_b`` over B
    minibatches, of m_b values per channel each

    The model runs on each batch in evaluation mode (dropout is off, as it will be when the
    statistics are used), except that BatchNorm layers normalise by the batch, as they did in
    training. Modes and parameters are afterwards as before.

    Parameters
    ----------
    model
        The trained model. Layers with statistics "population" or "running" are set.
    batches
        Inputs, or tuples that begin with an input, as a data loader gives them.

    Raises
    ------
    DataError
        If there are no batches, or no layer that keeps statistics. The model is unchanged,
        as it is after any other error.

    Source
    ------
    Ioffe and Szegedy, 2015, algorithm 2. Catalogue row C5.
    """
    layers = [m for m in model.modules() if isinstance(m, BatchNorm) and m.statistics != "batch"]
    if not layers:
        raise DataError(
            f"population_statistics: {model._title} has no BatchNorm that keeps statistics",
            fix='use nn.BatchNorm(..., statistics="population")',
        )
    modes = [(m, m._info.training) for m in model.modules()]
    settings = [(layer, layer.statistics, layer.momentum) for layer in layers]
    kept = [(cell, cell.leaf.value) for layer in layers for cell in layer.buffers()]
    try:
        _average(model, layers, batches)
    except BaseException:
        _restore(kept)
        raise
    finally:
        for module, mode in modes:
            module._info.training = mode
            changes.note()
        for layer, statistics, momentum in settings:
            layer.statistics, layer.momentum = statistics, momentum


def _average(model: Module, layers: list[BatchNorm], batches: Iterable[Any]) -> None:
    model.eval()
    for layer in layers:
        layer.reset_statistics()
        layer.statistics, layer.momentum = "running", None  # None: the plain average
        layer.train()
    count = 0
    with no_grad():
        for batch in batches:
            model(batch[0] if isinstance(batch, tuple | list) else batch)
            count += 1
    if not count:
        raise DataError("population_statistics: there are no batches")


def _restore(kept: list[tuple[Buffer, Any]]) -> None:
    for cell, value in kept:
        cell.load(value)
