"""What a training run measured: numbers of every step and of every epoch.

A history is written row by row and can be read at any moment, by a run that goes on and by
one that Ctrl-C or an error has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array
from minigrad.errors import CheckpointError, DataError

from .curves import bundle_of, figure_of

__all__ = ["Columns", "History", "exponential_average", "moving_average"]


def moving_average(values: Any, window: int) -> Array:
    r"""Return the mean of the last ``window`` values, at every value.

    .. math:: a_t = \frac{1}{n} \sum_{i=t-n+1}^{t} v_i, \quad n = \min(t + 1, \text{window})

    The result is as long as ``values``: its first entries average what there is by then.

    Raises
    ------
    DataError
        If ``window`` is not positive.
    """
    if window < 1:
        raise DataError(f"moving_average: window = {window} is not positive")
    v = np.asarray(values, np.float64)
    first = v[: window - 1].cumsum() / np.arange(1, min(window, len(v) + 1))
    rest = sliding_window_view(v, window).mean(axis=-1) if len(v) >= window else v[:0]
    return np.concatenate([first, rest])


def exponential_average(values: Any, decay: float = 0.9) -> Array:
    r"""Return the average in which a value counts ``decay`` times less with every later one.

    .. math:: a_t = \frac{\sum_{i \le t} d^{\,t-i} v_i}{\sum_{i \le t} d^{\,t-i}}

    The division makes the first entries averages too, instead of values pulled to 0.

    Raises
    ------
    DataError
        If ``decay`` is not in [0, 1).
    """
    if not 0.0 <= decay < 1.0:
        raise DataError(f"exponential_average: decay = {decay}", rule="from 0, and below 1")
    total = weight = 0.0
    found = np.empty(len(values))
    for i, v in enumerate(np.asarray(values, np.float64)):
        total, weight = decay * total + v, decay * weight + 1.0
        found[i] = total / weight
    return found


class Columns(Mapping[str, Array]):
    """Numbers under names, row by row: ``columns["loss"]`` is a float64 array.

    A name that a row does not have is NaN there.
    """

    __slots__ = ("_lists", "rows")

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {}
        #: How many rows there are.
        self.rows = 0

    def append(self, values: Mapping[str, Any]) -> None:
        """Add a row of scalars; an array becomes a number when somebody reads it.

        Raises
        ------
        DataError
            If a value is not a scalar; then nothing is added.
        """
        for name, value in values.items():
            shape = tuple(getattr(value, "shape", ()))
            if shape or isinstance(value, str | list | tuple | dict):
                kind = f"of shape {shape}" if shape else f"a {type(value).__name__}"
                raise DataError(
                    f"history: {name} is {kind}, not a number",
                    fix="record scalars, e.g. loss.mean()",
                )
        for name in values:
            self._lists.setdefault(name, [np.nan] * self.rows)
        values = {k: v.value if isinstance(v, Tensor) else v for k, v in values.items()}
        for name, column in self._lists.items():
            column.append(values.get(name, np.nan))
        self.rows += 1

    def tail(self, name: str, n: int) -> Array:
        """Return the last n numbers of a column."""
        column = self._lists[name]
        start = max(len(column) - n, 0)
        column[start:] = [float(v) for v in column[start:]]
        return np.array(column[start:], np.float64)

    def average(self, name: str, window: int) -> Array:
        """Return a column as a moving average over ``window`` rows."""
        return moving_average(self[name], window)

    def __getitem__(self, name: str) -> Array:
        if name not in self._lists:
            raise KeyError(f"{name!r}; there are {', '.join(self._lists) or 'no columns yet'}")
        return self.tail(name, self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lists)

    def __len__(self) -> int:
        return len(self._lists)

    def lists(self) -> dict[str, list[float]] | None:
        """Return the columns as lists of floats, None if there are no rows: for saving."""
        return {name: self[name].tolist() for name in self} if self.rows else None

    def __repr__(self) -> str:
        return f"{self.rows:,} rows of {', '.join(self._lists) or 'nothing'}"


class History:
    """The record of a training run. ``fit`` writes one; so can a loop of your own.

    Example
    -------
    ::

        history = mg.train.History()
        for epoch in range(10):
            for x, y in batches:
                history.step(loss=step(x, y))
            history.epoch(**test(test_batches))
        history  # in a notebook: its curves

    Attributes
    ----------
    steps
        A row for every step.
    epochs
        A row for every epoch: the means of its steps, what was evaluated at its end, and
        ``step``, the number of steps done by then.
    ended
        How the run ended: "" while it runs, "done", "stopped" (early), "interrupted"
        (Ctrl-C) or "failed" (an error).
    """

    __slots__ = ("ended", "epochs", "steps")

    def __init__(self) -> None:
        self.steps = Columns()
        self.epochs = Columns()
        self.ended = ""

    def step(self, **values: Any) -> None:
        """Record the numbers of one step."""
        self.steps.append(values)

    def epoch(self, **values: Any) -> None:
        """End an epoch, with what was evaluated.

        Raises
        ------
        DataError
            If a name is also one of the steps', whose mean is recorded under it.
        """
        taken = {"step", *self.steps} & values.keys()
        if taken:
            raise DataError(
                f"history: {sorted(taken)[0]!r} of the epoch is also recorded in every step",
                fix="give what is evaluated another name: test_loss, test_accuracy",
            )
        n = self.steps.rows - self.pending_from
        means = {name: self.steps.tail(name, n).mean() for name in self.steps} if n else {}
        self.epochs.append({"step": self.steps.rows, **means, **values})

    @property
    def pending_from(self) -> int:
        """The number of steps at the end of the last epoch: later ones belong to no epoch yet."""
        return int(self.epochs.tail("step", 1)[0]) if self.epochs.rows else 0

    def plot(self, window: int | None = None) -> Any:
        """Return a matplotlib figure of the curves: losses on the left, the rest on the right.

        Parameters
        ----------
        window
            How many steps the moving average takes in; by default a fortieth of them all.
        """
        return figure_of(self, window)

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers, for ``mg.save``."""
        return {"steps": self.steps.lists(), "epochs": self.epochs.lists(), "ended": self.ended}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved numbers, in place of those that are here.

        Raises
        ------
        CheckpointError
            If they are not those of a history; nothing was changed.
        """
        if state.keys() != {"steps", "epochs", "ended"}:
            raise CheckpointError(
                f"History: the saved state has entries {', '.join(state)}",
                rule="expected steps, epochs and ended",
            )
        steps, epochs = _filled(state["steps"]), _filled(state["epochs"])
        if epochs.rows and "step" not in epochs:
            raise CheckpointError("History: the saved epochs do not say at which step they ended")
        self.steps, self.epochs, self.ended = steps, epochs, str(state["ended"])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return bundle_of(self)

    def __repr__(self) -> str:
        ended = f", {self.ended}" if self.ended else ""
        parts = [f"History({self.epochs.rows:,} epochs, {self.steps.rows:,} steps{ended})"]
        if self.epochs.rows:
            last = {name: self.epochs.tail(name, 1)[0] for name in self.epochs if name != "step"}
            parts.append(", ".join(f"{name} {value:.4g}" for name, value in last.items()))
        return ": ".join(filter(None, parts))


def _filled(saved: Mapping[str, Any] | None) -> Columns:
    """Return columns with saved numbers."""
    found = Columns()
    if saved is None:
        return found
    sizes = {len(column) for column in saved.values()}
    if len(sizes) != 1:
        raise CheckpointError("History: the saved columns are not equally long")
    (found.rows,) = sizes
    found._lists = {name: [float(v) for v in column] for name, column in saved.items()}
    return found
