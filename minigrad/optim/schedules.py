"""Learning-rate schedules: names, keywords and formulas of PyTorch.

A schedule is a formula for the rate after t steps, from the rate that the user set. Call
``step()`` outside the compiled function, after the optimiser's step: the rate is a state
cell, so the compiled step sees the new value without being traced again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from typing import Any

from minigrad.errors import CheckpointError

from .groups import require
from .optimiser import Optimiser
from .state import check_names, outside_trace

__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "Schedule",
    "SequentialLR", "StepLR", "restore",
]  # fmt: skip

_FIX = "call schedule.step() after the compiled step, in plain Python"


def start_rates(optimizer: Optimiser) -> list[float]:
    """Return each group's own rate, which another schedule may have changed since."""
    for group in optimizer.param_groups:
        if group.initial_lr is None:
            group.initial_lr = float(group["lr"])
    return [group.initial_lr or 0.0 for group in optimizer.param_groups]


def restore(schedule: Any, state: Mapping[str, Any]) -> None:
    """Set the attributes that ``state_dict`` names, after checking all of them."""
    what = type(schedule).__name__
    outside_trace(f"{what}.load_state_dict", _FIX)
    present = schedule.state_dict()
    check_names(present, state, what)
    for name, value in present.items():
        new = state[name]
        number = isinstance(value, int | float) and isinstance(new, int | float)
        fits = number or (isinstance(value, list) and isinstance(new, list))
        if not fits or (isinstance(value, list) and len(value) != len(new)):
            raise CheckpointError(
                f"{what}: entry {name!r} is {new!r}, expected something like {value!r}",
                fix="make the schedule as it was made when the state was saved",
            )
    for name in present:
        setattr(schedule, name, state[name])


class Schedule(ABC):
    """Base of the schedules. Write your own by giving ``rate``, or use ``LambdaLR``.

    Make a schedule before a saved state is loaded: it starts from the rate that the
    optimiser has then.

    Attributes
    ----------
    last_epoch
        How often ``step`` was called.
    base_lrs
        The rate of each group that the formula starts from.
    """

    __slots__ = ("base_lrs", "last_epoch", "optimizer")

    def __init__(self, optimizer: Optimiser) -> None:
        outside_trace(type(self).__name__, "make the schedule outside")
        self.optimizer = optimizer
        self.last_epoch = 0
        self.base_lrs = start_rates(optimizer)
        self._apply()

    @abstractmethod
    def rate(self, t: int, group: int, base: float) -> float:
        """Return the rate of a group after t steps."""

    def step(self) -> None:
        """Count one step, and set the learning rate of every group."""
        outside_trace(f"{type(self).__name__}.step", _FIX)
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for i, (group, base) in enumerate(
            zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ):
            group.set_lr(self.rate(self.last_epoch, i, base))

    def get_last_lr(self) -> list[float]:
        """Return the present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on: plain numbers. The rate is the optimiser's."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

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
        return f"{type(self).__name__}(last_epoch={self.last_epoch}, lr={rates})"


class StepLR(Schedule):
    """Multiply the rate by gamma every ``step_size`` steps: ``base * gamma^floor(t / size)``."""

    __slots__ = ("gamma", "step_size")

    def __init__(self, optimizer: Optimiser, step_size: int, gamma: float = 0.1) -> None:
        require(step_size > 0, f"StepLR: step_size = {step_size} is not positive")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:  # noqa: ARG002
        """Return the rate of a group after t steps."""
        return base * float(self.gamma ** (t // self.step_size))


class MultiStepLR(Schedule):
    """Multiply the rate by gamma at each milestone: ``base * gamma^(milestones passed)``."""

    __slots__ = ("gamma", "milestones")

    def __init__(self, optimizer: Optimiser, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:  # noqa: ARG002
        """Return the rate of a group after t steps."""
        return base * float(self.gamma ** bisect_right(self.milestones, t))


class ExponentialLR(Schedule):
    """Multiply the rate by gamma in every step: ``base * gamma^t``."""

    __slots__ = ("gamma",)

    def __init__(self, optimizer: Optimiser, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:  # noqa: ARG002
        """Return the rate of a group after t steps."""
        return base * float(self.gamma**t)


class CosineAnnealingLR(Schedule):
    r"""Go down half a cosine to ``eta_min`` in ``T_max`` steps, and up again after that.

    .. math:: \eta_{min} + \tfrac{1}{2} (base - \eta_{min}) (1 + \cos(\pi t / T_{max}))

    Source: Loshchilov and Hutter, 2017.
    """

    __slots__ = ("T_max", "eta_min")

    def __init__(self, optimizer: Optimiser, T_max: int, eta_min: float = 0.0) -> None:
        require(T_max > 0, f"CosineAnnealingLR: T_max = {T_max} is not positive")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:  # noqa: ARG002
        """Return the rate of a group after t steps."""
        return self.eta_min + (base - self.eta_min) * (1.0 + cos(pi * t / self.T_max)) / 2.0


class LinearLR(Schedule):
    """Go from ``base * start_factor`` to ``base * end_factor`` in ``total_iters`` steps.

    The usual warm-up. Join it to another schedule with ``SequentialLR``.
    """

    __slots__ = ("end_factor", "start_factor", "total_iters")

    def __init__(
        self,
        optimizer: Optimiser,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        require(total_iters > 0, f"LinearLR: total_iters = {total_iters} is not positive")
        require(0 < start_factor <= 1, f"LinearLR: start_factor = {start_factor} is out of (0, 1]")
        require(0 <= end_factor <= 1, f"LinearLR: end_factor = {end_factor} is out of [0, 1]")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:  # noqa: ARG002
        """Return the rate of a group after t steps."""
        done = min(t, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class LambdaLR(Schedule):
    """Multiply the rate by any function of the number of steps: ``base * f(t)``.

    ``lr_lambda`` is one function, or a list with one for each group.
    """

    __slots__ = ("functions",)

    def __init__(
        self,
        optimizer: Optimiser,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        groups = len(optimizer.param_groups)
        functions = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        require(
            len(functions) == groups,
            f"LambdaLR: {len(functions)} functions for {groups} groups",
        )
        self.functions = functions
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:
        """Return the rate of a group after t steps."""
        return base * self.functions[group](t)


class SequentialLR(Schedule):
    """One schedule after another: the i-th until step ``milestones[i]``, counted from there."""

    __slots__ = ("milestones", "schedulers")

    def __init__(
        self, optimizer: Optimiser, schedulers: Sequence[Schedule], milestones: Sequence[int]
    ) -> None:
        require(
            len(schedulers) == len(milestones) + 1 and sorted(milestones) == list(milestones),
            f"SequentialLR: {len(schedulers)} schedules need {len(schedulers) - 1} milestones in "
            f"rising order, got {list(milestones)}",
        )
        require(
            all(s.optimizer is optimizer for s in schedulers),
            "SequentialLR: a schedule belongs to another optimiser",
        )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def rate(self, t: int, group: int, base: float) -> float:
        """Return the rate of a group after t steps."""
        i = bisect_right(self.milestones, t)
        start = self.milestones[i - 1] if i else 0
        return self.schedulers[i].rate(t - start, group, base)
