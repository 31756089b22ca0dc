"""A small training loop, and what it is made of. Each part can be left out or replaced.

``training_step`` and ``evaluation`` make compiled functions; ``fit`` calls them in order and
keeps a history. A loop of your own is as good: a history takes rows from anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import nullcontext
from typing import Any

from minigrad.api import compile
from minigrad.core.door import as_tensor
from minigrad.core.tape import no_grad
from minigrad.core.tensor import Tensor
from minigrad.dtypes import get_default_dtype
from minigrad.errors import DataError
from minigrad.nn.module import Module
from minigrad.ops import argmax, astype, equal, mean
from minigrad.reporter import Progress

from .curves import Live
from .history import Columns, History
from .interrupt import interruptible
from .keep import modes_kept
from .stopping import EarlyStopping

__all__ = ["accuracy", "evaluation", "fit", "training_step"]

_RECENT = 25  # steps that the number beside the progress bar averages


def accuracy(logits: Any, labels: Any) -> Tensor:
    """Return the share of rows whose largest logit is at their label, from 0 to 1.

    Shapes
    ------
    ``logits`` (m, classes), ``labels`` (m) of integers
    """
    return mean(astype(equal(argmax(logits, axis=1), labels), get_default_dtype()))


def training_step(
    model: Module, loss: Callable[[Any, Any], Tensor], optimiser: Any
) -> Callable[[Any, Any], Tensor]:
    """Return a compiled function of a batch: forward, backward, update; it returns the loss.

    Parameters
    ----------
    model
        Called with the inputs.
    loss
        ``loss(model(x), y)``, a scalar. Penalties are added here:
        ``lambda out, y: F.cross_entropy(out, y) + mg.optim.l2_penalty(model, 1e-4)``.
    optimiser
        Of the model's parameters.

    The gradients are cleared after each step. For clipping, max-norm or several losses
    write the function yourself; it is these lines::

        @mg.compile
        def step(x, y):
            value = loss(model(x), y)
            value.backward()
            optimiser.step()
            optimiser.zero_grad()
            return value
    """

    def step(x: Any, y: Any) -> Tensor:
        value = loss(model(x), y)
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
        return value

    compiled: Callable[[Any, Any], Tensor] = compile(step)
    return compiled


def evaluation(
    model: Module, **metrics: Callable[[Any, Any], Any]
) -> Callable[[Iterable[Any]], dict[str, float]]:
    """Return a function of batches ``(x, y)``: the mean of each metric over all rows.

    The model runs in evaluation mode, compiled, and is afterwards in the mode it was in.

    Parameters
    ----------
    model
        Called with the inputs.
    metrics
        ``metric(model(x), y)`` is the mean over the rows of a batch, as losses are; batches
        count by their rows, so that a smaller last one has its share and no more.

    Example
    -------
    ``test = mg.train.evaluation(model, test_loss=F.cross_entropy, test_accuracy=accuracy)``,
    then ``test(test_batches)`` is ``{"test_loss": 0.07, "test_accuracy": 0.98}``.
    """

    @compile
    def measure(x: Any, y: Any) -> dict[str, Any]:
        out = model(x)
        return {name: metric(out, y) for name, metric in metrics.items()}

    def evaluate(batches: Iterable[Any]) -> dict[str, float]:
        totals, rows = dict.fromkeys(metrics, 0.0), 0
        with modes_kept(model), no_grad():
            model.eval()
            for x, y in batches:
                m = int(as_tensor(y).shape[0])
                for name, value in measure(x, y).items():
                    totals[name] += m * float(value)
                rows += m
        if not rows:
            raise DataError("evaluation: there are no batches", fix="is the test set empty?")
        return {name: total / rows for name, total in totals.items()}

    return evaluate


def fit(
    step: Callable[..., Any],
    batches: Iterable[Any],
    epochs: int = 1,
    *,
    evaluate: Callable[[], Mapping[str, Any]] | None = None,
    schedule: Any = None,
    stop: EarlyStopping | None = None,
    history: History | None = None,
    progress: bool | str = True,
    live: bool = False,
) -> History:
    """Call ``step`` with every batch of every epoch, and return what it measured.

    Ctrl-C ends the training after the step that is under way; the history is returned, and
    the same call with ``history=`` goes on where it stopped: with ``mg.data.Batches`` at the
    very next batch. Pressed twice, Ctrl-C is raised at once.

    Parameters
    ----------
    step
        ``step(x, y)`` for a batch ``(x, y)``, ``step(**batch)`` for a dict. Returns the loss,
        or a dict of scalars.
    batches
        Looped over once an epoch.
    epochs
        How many there are to be in all, with those that ``history`` has.
    evaluate
        Called after each epoch; returns a dict of numbers, as ``evaluation`` makes them.
    schedule
        Its ``step()`` is called after each epoch. One that moves with every step is called
        in ``step``, after the compiled function.
    stop
        Looks at every epoch and may end the training. When the training ends, by itself or
        at the last epoch, the best values are restored.
    history
        Written to; a new one by default. One that the caller holds survives an error, too.
    progress
        Whether there is a progress bar; a string is its label.
    live
        Whether a notebook shows the curves while they grow.

    Example
    -------
    ::

        step = mg.train.training_step(model, F.cross_entropy, optimiser)
        test = mg.train.evaluation(model, test_loss=F.cross_entropy)
        history = mg.train.fit(step, batches, 20, evaluate=lambda: test(test_batches))
    """
    history = History() if history is None else history
    if history.steps.rows > history.pending_from:
        _go_on(batches)
    history.ended = ""
    curves = Live(history) if live else None
    total = epochs * len(batches) if isinstance(batches, Sized) else None
    bar: Progress[Any] = Progress(label=progress if isinstance(progress, str) else "training")
    bar.total = total
    try:
        with interruptible() as interrupt, bar if progress else nullcontext():
            bar.done = history.steps.rows
            while not history.ended and history.epochs.rows < epochs:
                for batch in batches:
                    history.step(**_values(_called(step, batch)))
                    _show(bar, history)
                    if curves is not None:
                        curves.update()
                    if interrupt:
                        history.ended = "interrupted"
                        break
                else:
                    history.epoch(**({} if evaluate is None else evaluate()))
                    if schedule is not None:
                        schedule.step()
                    if stop is not None and stop.after(history):
                        history.ended = "stopped"
            history.ended = history.ended or "done"
            bar.close(history.ended == "done")
        if stop is not None and history.ended != "interrupted":
            stop.restore()
    except BaseException as error:
        history.ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        if curves is not None:
            curves.update(last=True)
    return history


def _go_on(batches: Any) -> None:
    """Let batches that know their position give those that are left of the epoch."""
    if hasattr(batches, "state_dict"):
        batches.load_state_dict(batches.state_dict())


def _called(step: Callable[..., Any], batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return step(**batch)
    return step(*batch) if isinstance(batch, tuple | list) else step(batch)


def _values(result: Any) -> Mapping[str, Any]:
    """Return what a step returned as numbers with names."""
    if result is None:
        return {}
    return result if isinstance(result, Mapping) else {"loss": result}


class _Recent:
    """The mean of a column's last steps, worked out when the bar is drawn."""

    __slots__ = ("columns", "name")

    def __init__(self, columns: Columns, name: str) -> None:
        self.columns, self.name = columns, name

    def __float__(self) -> float:
        return float(self.columns.tail(self.name, _RECENT).mean())


def _show(bar: Progress[Any], history: History) -> None:
    """Count a step, and show the epoch and recent means beside the bar."""
    recent = {name: _Recent(history.steps, name) for name in history.steps}
    bar.set(epoch=history.epochs.rows + 1, **recent)
    bar.advance()
