"""Curves of a run: as a figure, as the display of a history, and live while it trains.

matplotlib is imported when something is drawn. Figures are made without pyplot, so that
nothing is shown twice and no global state is touched.
"""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from minigrad.errors import BackendUnavailable
from minigrad.reporter import in_notebook

if TYPE_CHECKING:
    from .history import History

__all__ = ["COLOURS", "Live", "band", "bundle_of", "figure_of"]

#: Colours that readers with any kind of colour vision tell apart (Okabe and Ito, 2008).
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: Final = ("-", "--", "-.", ":")

_EVERY = 1.0  # seconds between two drawings of a live plot, at least
_SHARE = 0.1  # of the time that drawing may take


def _matplotlib(part: str) -> Any:
    try:
        return import_module(f"matplotlib.{part}")
    except ImportError as error:
        raise BackendUnavailable(
            "plot: matplotlib is not installed",
            fix="pip install 'minigrad[notebook]', or read history.steps and history.epochs",
        ) from error


def band(
    ax: Any, x: Any, runs: Any, *, label: str = "", colour: str = COLOURS[0], marker: str = ""
) -> None:
    """Draw the median of several runs as a line, and their range as a band.

    Parameters
    ----------
    ax
        matplotlib's axes.
    x
        The n places on the horizontal axis.
    runs
        One row of n numbers per run (seed). What is not finite is left out.
    label, colour, marker
        Of the line.
    """
    columns = [column[np.isfinite(column)] for column in np.asarray(runs, np.float64).T]
    low, middle, high = (
        np.array([of(column) if len(column) else np.nan for column in columns])
        for of in (np.min, np.median, np.max)
    )
    ax.plot(x, middle, color=colour, label=label or None, marker=marker or None, markersize=4)
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def figure_of(history: History, window: int | None = None) -> Any:
    """Return the figure of a history; see ``History.plot``."""
    losses = [n for n in (*history.steps, *history.epochs) if "loss" in n]
    others = [n for n in (*history.steps, *history.epochs) if "loss" not in n and n != "step"]
    panels = [list(dict.fromkeys(names)) for names in (losses, others) if names]
    count = max(len(panels), 1)
    figure = _matplotlib("figure").Figure(figsize=(4.2 * count, 2.8), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, names in zip(axes, panels, strict=False):
        for i, name in enumerate(names):
            _draw(ax, history, name, i, window)
        if names[0] in losses and _decades(history, names) > 1.0:
            ax.set_yscale("log")
        ax.set_xlabel("step")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small")
    return figure


def _draw(ax: Any, history: History, name: str, i: int, window: int | None) -> None:
    """Draw one column: of every step as a moving average over a pale line, of epochs as dots."""
    colour, dash = COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)]
    steps, epochs = history.steps, history.epochs
    if name in steps:
        n = window or max(steps.rows // 40, 1)
        at = np.arange(1, steps.rows + 1)
        if n > 1:
            ax.plot(at, steps[name], color=colour, alpha=0.25, linewidth=0.7)
        label = name if n == 1 else f"{name}, mean of {n} steps"
        ax.plot(at, steps.average(name, n), dash, color=colour, label=label)
    else:
        ax.plot(
            epochs["step"], epochs[name], dash, color=colour, marker="o", markersize=3, label=name
        )


def _decades(history: History, names: list[str]) -> float:
    """Return over how many powers of ten the numbers range; 0 if one is not positive."""
    columns = [history.steps[n] if n in history.steps else history.epochs[n] for n in names]
    v = np.concatenate(columns)
    v = v[np.isfinite(v)]
    return float(np.log10(v.max() / v.min())) if len(v) and v.min() > 0 else 0.0


def _png(history: History) -> bytes:
    buffer = BytesIO()
    figure_of(history).savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def bundle_of(history: History) -> dict[str, Any]:
    """Return what a notebook shows of a history: its curves, if matplotlib is there, and text."""
    bundle: dict[str, Any] = {"text/plain": repr(history)}
    if history.steps.rows or history.epochs.rows:
        try:
            bundle["image/png"] = _png(history)
        except BackendUnavailable as error:
            bundle["text/plain"] += f"\n({error.message})"
    return bundle


class Live:
    """The curves of a run while it trains: one display of a notebook, drawn anew now and then.

    Drawing takes at most a tenth of the time. Outside of a notebook there is no place for
    it, and nothing is drawn: look at ``history.plot()`` then.
    """

    __slots__ = ("_due", "_handle", "_history", "_shown")

    def __init__(self, history: History) -> None:
        self._history = history
        self._handle: Any = None
        self._shown = in_notebook()
        self._due = perf_counter() + _EVERY

    def update(self, last: bool = False) -> None:
        """Draw if it is time to, or if this is the last state."""
        began = perf_counter()
        if not self._shown or (began < self._due and not last) or not self._history.steps.rows:
            return
        bundle = bundle_of(self._history)
        if self._handle is None:
            display = import_module("IPython.display").display
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        now = perf_counter()
        self._due = now + max(_EVERY, (now - began) / _SHARE)
