"""The same experiment at many settings and seeds: measured, with its spread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from minigrad.dtypes import Array
from minigrad.errors import DataError
from minigrad.reporter import Progress

from .interrupt import interruptible

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The numbers of a sweep.

    Attributes
    ----------
    axes
        The settings by name, in the order of the axes.
    values
        (*settings, seeds), and further axes if a run returns an array. NaN where a run did
        not take place because Ctrl-C ended the sweep.
    """

    axes: dict[str, tuple[Any, ...]]
    values: Array

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return int(self.values.shape[len(self.axes)])

    def at(self, **point: Any) -> Array:
        """Return the numbers at some settings; the axes of the other settings stay.

        Raises
        ------
        DataError
            If a setting or its value was not measured.
        """
        for name, value in point.items():
            if name not in self.axes or value not in self.axes[name]:
                raise DataError(
                    f"Sweep.at: {name} = {value!r} was not measured",
                    rule="; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in self.axes.items()),
                )
        index = tuple(
            self.axes[name].index(point[name]) if name in point else slice(None)
            for name in self.axes
        )
        return self.values[index]

    def runs(self, **point: Any) -> Array:
        """Return the numbers over the one setting that is left, a row for each seed: for ``band``.

        Raises
        ------
        DataError
            If more than one setting is left, or none.
        """
        left = [name for name in self.axes if name not in point]
        if len(left) != 1:
            raise DataError(f"Sweep.runs: {len(left)} settings are left ({', '.join(left)})",
                            rule="one is left")  # fmt: skip
        return np.moveaxis(self.at(**point), 1, 0)

    def __repr__(self) -> str:
        sizes = " x ".join(f"{len(v)} {k}" for k, v in self.axes.items())
        return f"Sweep({sizes}, {self.seeds} seeds)"


def sweep(
    run: Callable[..., Any], seeds: int, *, progress: bool | str = True, **axes: Iterable[Any]
) -> Sweep:
    """Call ``run(seed=..., **settings)`` for every seed at every combination of settings.

    Parameters
    ----------
    run
        Returns a number, or an array of the same shape every time. It is to depend on its
        arguments alone: begin with ``mg.random.seed(seed)``.
    seeds
        How many: 0 to seeds - 1, the same at every setting, so that settings are compared
        on the same data and the same initial draws.
    progress
        Whether there is a progress bar; a string is its label.
    axes
        The values of each setting.

    Example
    -------
    ::

        found = mg.train.sweep(run, seeds=5, lr=[0.01, 0.1, 1.0], norm=[False, True])
        mg.train.band(ax, found.axes["lr"], found.runs(norm=True))
    """
    settings = {name: tuple(values) for name, values in axes.items()}
    if seeds < 1 or not all(settings.values()):
        raise DataError(f"sweep: {seeds} seeds, settings {settings}", rule="at least one of each")
    shape = (*map(len, settings.values()), seeds)
    table: Array | None = None
    label = progress if isinstance(progress, str) else "sweep"
    bar: Progress[Any] = Progress(label=label, total=int(np.prod(shape)))
    with interruptible() as interrupt:
        bar = bar.__enter__() if progress else bar
        for place in product(*map(range, shape)):
            point = {name: v[i] for (name, v), i in zip(settings.items(), place, strict=False)}
            found = np.asarray(run(seed=place[-1], **point), np.float64)
            table = np.full((*shape, *found.shape), np.nan) if table is None else table
            if interrupt:
                break
            table[place] = found
            bar.set(**{k: str(v) for k, v in point.items()})
            bar.advance()
        bar.close(not interrupt)
    assert table is not None
    return Sweep(settings, table)
