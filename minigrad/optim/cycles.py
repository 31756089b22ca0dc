"""Schedules with more to them than a formula: one cycle (with momentum), and plateaus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from math import cos, inf, pi
from typing import Any

from .groups import require
from .optimiser import Optimiser
from .schedules import _FIX, Schedule, restore
from .state import outside_trace

__all__ = ["OneCycleLR", "ReduceLROnPlateau"]

Phase = tuple[float, str, str]


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + cos(pi * done))


def _linear(start: float, end: float, done: float) -> float:
    return (end - start) * done + start


def _per_group(value: float | Sequence[float], groups: int, name: str) -> list[float]:
    listed = [float(value)] * groups if isinstance(value, int | float) else list(value)
    require(len(listed) == groups, f"{name}: {len(listed)} values for {groups} groups")
    return listed


class OneCycleLR(Schedule):
    """Rise from ``max_lr / div_factor`` to ``max_lr``, then fall far below the start.

    Call ``step()`` after every batch. The momentum (or the first beta) moves the other way,
    from ``max_momentum`` to ``base_momentum`` and back; it becomes a state cell, so that a
    compiled step follows it without being traced again.

    Parameters
    ----------
    optimizer
        The optimiser.
    max_lr
        The highest rate, one number or one for each group.
    total_steps, epochs, steps_per_epoch
        The length: ``total_steps``, or ``epochs * steps_per_epoch``.
    pct_start
        The share of the steps in which the rate rises.
    anneal_strategy
        ``"cos"`` or ``"linear"``.
    cycle_momentum, base_momentum, max_momentum
        Whether the momentum moves, and between which values.
    div_factor, final_div_factor
        The first rate is ``max_lr / div_factor``, the last ``max_lr / div_factor /
        final_div_factor``.
    three_phase
        Fall to the first rate as fast as it rose, and then on to the last.

    Raises
    ------
    DataError
        For a length that is not positive, a step beyond it, or an optimiser without momentum.

    Source: Smith and Topin, 2019.
    """

    __slots__ = ("_anneal", "_momentum", "_rates", "phases", "total_steps")

    def __init__(
        self,
        optimizer: Optimiser,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None:
            total_steps = (epochs or 0) * (steps_per_epoch or 0)
        require(
            total_steps > 0,
            f"OneCycleLR: {total_steps} steps in all",
            "give total_steps, or epochs and steps_per_epoch",
        )
        require(0 <= pct_start <= 1, f"OneCycleLR: pct_start = {pct_start} is out of [0, 1]")
        strategies: dict[str, Callable[[float, float, float], float]] = {
            "cos": _cosine, "linear": _linear,
        }  # fmt: skip
        require(
            anneal_strategy in strategies,
            f"OneCycleLR: anneal_strategy = {anneal_strategy!r}",
            "cos or linear",
        )
        self.total_steps = total_steps
        self._anneal = strategies[anneal_strategy]
        self.phases = _phases(total_steps, pct_start, three_phase)
        groups = len(optimizer.param_groups)
        self._rates = [
            {"high": high, "start": high / div_factor, "low": high / div_factor / final_div_factor}
            for high in _per_group(max_lr, groups, "max_lr")
        ]
        self._momentum: list[dict[str, float]] = []
        if cycle_momentum:
            bottom = _per_group(base_momentum, groups, "base_momentum")
            top = _per_group(max_momentum, groups, "max_momentum")
            self._momentum = [
                {"high": b, "start": t, "low": t} for b, t in zip(bottom, top, strict=True)
            ]
            for group in optimizer.param_groups:
                options = group.options
                require(
                    "betas" in options or bool(options.get("momentum")),
                    "OneCycleLR: cycle_momentum=True needs an optimiser with momentum",
                    "pass cycle_momentum=False, or give the optimiser momentum=0.9",
                )
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:  # noqa: ARG002
        """Return the rate of a group after t steps."""
        return self._at(t, self._rates[group])

    def momentum(self, t: int, group: int) -> float:
        """Return the momentum, or the first beta, of a group after t steps."""
        return self._at(t, self._momentum[group])

    def _at(self, t: int, levels: Mapping[str, float]) -> float:
        require(
            t <= self.total_steps,
            f"OneCycleLR: step {t} of {self.total_steps}",
            "make the schedule with the number of steps that are taken",
        )
        ends = [end for end, _, _ in self.phases]
        i = min(bisect_left(ends, t), len(ends) - 1)
        begin, (end, first, second) = ends[i - 1] if i else 0.0, self.phases[i]
        done = (t - begin) / (end - begin) if end != begin else 1.0
        return self._anneal(levels[first], levels[second], done)

    def _apply(self) -> None:
        super()._apply()
        for i, _ in enumerate(self._momentum):
            group = self.optimizer.param_groups[i]
            option = "betas" if "betas" in group.options else "momentum"
            group.cycle(option, self.momentum(self.last_epoch, i))


def _phases(total: int, share: float, three: bool) -> list[Phase]:
    """Return for each phase its last step, and between which levels it goes."""
    rise = float(share * total) - 1.0
    if not three:
        return [(rise, "start", "high"), (total - 1.0, "high", "low")]
    return [
        (rise, "start", "high"),
        (2.0 * share * total - 2.0, "high", "start"),
        (total - 1.0, "start", "low"),
    ]


class ReduceLROnPlateau:
    """Multiply the rate by ``factor`` when a metric has not improved for ``patience`` steps.

    Call ``step(metric)`` after each evaluation.

    Parameters
    ----------
    optimizer
        The optimiser.
    mode
        ``"min"`` or ``"max"``: which way is better.
    factor, patience, cooldown
        By how much, after how many evaluations that are no better, and how many evaluations
        are then passed over.
    threshold, threshold_mode
        What counts as better: by a share of the best (``"rel"``) or by a difference
        (``"abs"``).
    min_lr
        The lowest rate, one number or one for each group.
    eps
        A change smaller than this is not made.
    """

    __slots__ = (
        "best", "cooldown", "cooldown_counter", "eps", "factor", "last_epoch", "min_lrs", "mode",
        "num_bad_epochs", "optimizer", "patience", "threshold", "threshold_mode",
    )  # fmt: skip

    def __init__(
        self,
        optimizer: Optimiser,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        require(mode in ("min", "max"), f"ReduceLROnPlateau: mode = {mode!r}", "min or max")
        require(0 <= factor < 1, f"ReduceLROnPlateau: factor = {factor} is out of [0, 1)")
        require(
            threshold_mode in ("rel", "abs"),
            f"ReduceLROnPlateau: threshold_mode = {threshold_mode!r}",
            "rel or abs",
        )
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = _per_group(min_lr, len(optimizer.param_groups), "min_lr")
        self.best = inf if mode == "min" else -inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def step(self, metrics: Any) -> None:
        """Take the metric of one evaluation into account."""
        outside_trace("ReduceLROnPlateau.step", _FIX)
        metric = float(metrics)
        self.last_epoch += 1
        if self.is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def is_better(self, metric: float) -> bool:
        """Whether a metric improves on the best so far; NaN never does."""
        if self.threshold_mode == "rel":
            share = 1.0 - self.threshold if self.mode == "min" else 1.0 + self.threshold
            limit = self.best * share
        else:
            limit = self.best + (-self.threshold if self.mode == "min" else self.threshold)
        return metric < limit if self.mode == "min" else metric > limit

    def _reduce(self) -> None:
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            present = float(group["lr"])
            new = max(present * self.factor, lowest)
            if present - new > self.eps:
                group.set_lr(new)

    def get_last_lr(self) -> list[float]:
        """Return the present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on: plain numbers."""
        names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state.

        Raises
        ------
        CheckpointError
            If an entry is missing or of another kind; then nothing was changed.
        """
        restore(self, state)

    def __repr__(self) -> str:
        rates = ", ".join(f"{rate:.6g}" for rate in self.get_last_lr())
        return f"ReduceLROnPlateau(best={self.best:.6g}, bad={self.num_bad_epochs}, lr={rates})"
