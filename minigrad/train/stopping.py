"""Early stopping that gives the best parameters back (catalogue row G6)."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Protocol

import numpy as np

from minigrad.core.door import module_of
from minigrad.core.late import call
from minigrad.core.state import Cell
from minigrad.dtypes import Array
from minigrad.errors import CheckpointError, DataError

from .history import History

__all__ = ["EarlyStopping"]

_SIGNS = {"min": 1.0, "max": -1.0}


class Stateful(Protocol):
    """What has cells by name: a module, an optimiser."""

    def state_dict(self) -> Mapping[str, Cell]:
        """Return the cells by name."""
        ...


class EarlyStopping:
    """Stop when a number has not improved for a while, and restore what was best.

    Formula
    -------
    An evaluation improves if ``value < reference - min_delta``, and is the next reference.
    After ``patience`` evaluations in a row that do not, ``update`` says to stop. What is
    restored is the state at the lowest value of all, even one that did not improve by
    ``min_delta``. NaN is never an improvement.

    Parameters
    ----------
    model
        What to restore: a module (parameters and buffers), or anything else with a
        ``state_dict()`` of cells.
    monitor
        The column of ``history.epochs`` that ``fit`` looks at.
    patience
        How many evaluations without improvement are one too many, at least 1.
    min_delta
        What counts as improvement, not negative; in the unit of the number.
    mode
        "min" if lower is better, "max" if higher is.

    Example
    -------
    ``fit(..., stop=EarlyStopping(model, "test_loss", patience=5))``; in a loop of your own
    ``if stopping.update(loss): break``, and at the end ``stopping.restore()``.

    Source
    ------
    Catalogue row G6.
    """

    __slots__ = (
        "_kept", "best", "min_delta", "mode", "model", "monitor", "patience", "reference",
        "since",
    )  # fmt: skip

    def __init__(
        self,
        model: Stateful,
        monitor: str = "test_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "min",
    ) -> None:
        if patience < 1 or min_delta < 0 or mode not in _SIGNS:
            raise DataError(
                f"EarlyStopping: patience = {patience}, min_delta = {min_delta}, mode = {mode!r}",
                rule="patience is at least 1, min_delta not negative, mode min or max",
            )
        self.model, self.monitor = model, monitor
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        #: The best value so far, infinite before the first.
        self.best = self.reference = _SIGNS[mode] * inf
        #: How many evaluations there were since the last improvement.
        self.since = 0
        self._kept: dict[str, Any] | None = None

    def update(self, value: Any) -> bool:
        """Take in one evaluation; return whether to stop."""
        sign, number = _SIGNS[self.mode], float(value)
        if sign * number < sign * self.best:
            self.best = number
            self._kept = {name: c.leaf.value.copy() for name, c in self.model.state_dict().items()}
        if sign * number < sign * self.reference - self.min_delta:
            self.reference, self.since = number, 0
        else:
            self.since += 1
        return self.since >= self.patience

    def after(self, history: History) -> bool:
        """Take in the last epoch of a history; return whether to stop.

        Raises
        ------
        DataError
            If the epochs have no column ``monitor``.
        """
        if self.monitor not in history.epochs:
            raise DataError(
                f"EarlyStopping: there is no {self.monitor!r} to look at",
                rule=f"columns of an epoch: {', '.join(history.epochs)}",
                fix="pass evaluate= to fit, and monitor= the name of one of its numbers",
            )
        return self.update(history.epochs.tail(self.monitor, 1)[0])

    def restore(self) -> None:
        """Put the model back to where the number was best; before the first, do nothing."""
        if self._kept is not None:
            for name, cell in self.model.state_dict().items():
                library = module_of(cell.leaf.value).__name__  # a saved state is NumPy's
                cell.load(call("move", self._kept[name], library).copy())

    def state_dict(self) -> dict[str, Any]:
        """Return best values and counts, for ``mg.save``."""
        kept: dict[str, Array] | None = self._kept and dict(self._kept)
        return {
            "best": self.best, "reference": self.reference, "since": self.since, "kept": kept,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved values.

        Raises
        ------
        CheckpointError
            If they are not those of early stopping with such a model; nothing was changed.
        """
        kept = state.get("kept")
        cells = self.model.state_dict()
        if state.keys() != self.state_dict().keys() or (
            kept is not None
            and {name: np.shape(v) for name, v in kept.items()}
            != {name: c.shape for name, c in cells.items()}
        ):
            raise CheckpointError(
                "EarlyStopping: the saved state is not that of such a model",
                fix="make the object as it was made when the state was saved",
            )
        self.best, self.reference = float(state["best"]), float(state["reference"])
        self.since, self._kept = int(state["since"]), kept and dict(kept)

    def __repr__(self) -> str:
        return (
            f"EarlyStopping({self.monitor}, best {self.best:.4g}, "
            f"{self.since} of {self.patience} without improvement)"
        )
