"""Schedules against closed formulas, and PyTorch's recursions written by hand."""

from __future__ import annotations

from math import cos, inf, nan, pi
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import CheckpointError, DataError

optim = mg.optim


def optimiser(lr: float = 0.1, **options: Any) -> Any:
    return optim.SGD([mg.Parameter([1.0])], lr=lr, **options)


def course(schedule: Any, steps: int) -> list[float]:
    rates = schedule.get_last_lr()
    for _ in range(steps):
        schedule.step()
        rates += schedule.get_last_lr()
    return rates


FORMULAS = {
    "StepLR": (lambda o: optim.StepLR(o, 3, gamma=0.5), lambda t: 0.1 * 0.5 ** (t // 3)),
    "MultiStepLR": (
        lambda o: optim.MultiStepLR(o, [2, 5, 5], gamma=0.5),
        lambda t: 0.1 * 0.5 ** sum(t >= m for m in (2, 5, 5)),
    ),
    "ExponentialLR": (lambda o: optim.ExponentialLR(o, 0.9), lambda t: 0.1 * 0.9**t),
    "CosineAnnealingLR": (
        lambda o: optim.CosineAnnealingLR(o, T_max=10, eta_min=0.01),
        lambda t: 0.01 + 0.09 * (1 + cos(pi * t / 10)) / 2,
    ),
    "LinearLR": (
        lambda o: optim.LinearLR(o, start_factor=0.25, total_iters=4),
        lambda t: 0.1 * (0.25 + 0.75 * min(t, 4) / 4),
    ),
    "LambdaLR": (lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 0.1 / (1 + t)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_rate_follows_the_closed_formula(name: str) -> None:
    make, formula = FORMULAS[name]
    np.testing.assert_allclose(
        course(make(optimiser()), 14), [formula(t) for t in range(15)], rtol=1e-12
    )


def test_the_recursion_of_pytorch_gives_the_same_cosine() -> None:
    rates, lr = course(optim.CosineAnnealingLR(optimiser(), T_max=8), 8), 0.1
    for t in range(1, 9):  # torch.optim.lr_scheduler.CosineAnnealingLR.get_lr
        lr *= (1 + cos(pi * t / 8)) / (1 + cos(pi * (t - 1) / 8))
        assert rates[t] == pytest.approx(lr, rel=1e-12, abs=1e-15)


def test_warm_up_then_cosine() -> None:
    o = optimiser()
    warm = optim.LinearLR(o, start_factor=0.1, total_iters=5)
    down = optim.CosineAnnealingLR(o, T_max=10)
    rates = course(optim.SequentialLR(o, [warm, down], milestones=[5]), 15)
    expected = [0.1 * (0.1 + 0.9 * t / 5) for t in range(5)]
    expected += [0.05 * (1 + cos(pi * t / 10)) for t in range(11)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=1e-15)


def test_one_cycle_passes_through_its_corners() -> None:
    o = optimiser(momentum=0.9)
    schedule = optim.OneCycleLR(o, max_lr=1.0, total_steps=11, pct_start=4 / 11)
    rates, momenta = [schedule.get_last_lr()[0]], [o.param_groups[0]["momentum"]]
    for _ in range(10):
        schedule.step()
        rates += schedule.get_last_lr()
        momenta.append(o.param_groups[0]["momentum"])
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[3] == pytest.approx(1.0)
    assert rates[10] == pytest.approx(1 / 25 / 1e4)
    middle = 1 + (1 / 25 - 1) / 2 * (1 + cos(pi / 3))  # one third of the way up
    assert rates[1] == pytest.approx(middle)
    assert momenta[0] == pytest.approx(0.95)
    assert momenta[3] == pytest.approx(0.85)
    assert momenta[10] == pytest.approx(0.95)
    schedule.step()  # PyTorch allows one step more than it needs
    with pytest.raises(DataError, match="step 12 of 11"):
        schedule.step()


def test_one_cycle_in_three_linear_phases() -> None:
    o = optim.Adam([{"params": [mg.Parameter([1.0])], "betas": [0.9, 0.999]}])
    schedule = optim.OneCycleLR(
        o, 1.0, epochs=2, steps_per_epoch=10, pct_start=0.3, anneal_strategy="linear",
        three_phase=True, div_factor=10.0, final_div_factor=10.0,
    )  # fmt: skip
    rates = course(schedule, 19)
    corners = np.interp(np.arange(20), [0, 5, 10, 19], [0.1, 1.0, 0.1, 0.01])
    np.testing.assert_allclose(rates, corners, rtol=1e-9)
    assert o.param_groups[0]["betas"] == pytest.approx((0.95, 0.999))


def test_one_cycle_may_leave_the_momentum_alone() -> None:
    o = optimiser(momentum=0.9)
    schedule = optim.OneCycleLR(o, 1.0, total_steps=2, pct_start=0.0, cycle_momentum=False)
    assert course(schedule, 1) == pytest.approx([0.5 + 0.5 / 25 / 1e4, 1 / 25 / 1e4])
    assert o.param_groups[0]["momentum"] == 0.9
    assert "groups.0.momentum" not in o.state_dict()


def test_one_cycle_names_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"momentum(.|\n)*cycle_momentum=False"):
        optim.OneCycleLR(optimiser(), 1.0, total_steps=5)
    for options in ({}, {"total_steps": 5, "pct_start": 2}, {"epochs": 2}):
        with pytest.raises(DataError):
            optim.OneCycleLR(optimiser(), 1.0, cycle_momentum=False, **options)
    with pytest.raises(DataError, match="'exp'"):
        optim.OneCycleLR(optimiser(momentum=0.9), 1.0, total_steps=5, anneal_strategy="exp")
    with pytest.raises(DataError, match="2 values for 1 groups"):
        optim.OneCycleLR(optimiser(momentum=0.9), [1.0, 2.0], total_steps=5)


def test_groups_keep_their_proportions() -> None:
    o = optim.SGD([{"params": [mg.Parameter([1.0])], "lr": lr} for lr in (1.0, 0.1)])
    schedule = optim.ExponentialLR(o, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.5, 0.05])
    two = optim.LambdaLR(o, [lambda t: 1.0, lambda t: 2.0])
    assert two.get_last_lr() == pytest.approx([1.0, 0.2])
    with pytest.raises(DataError, match="1 functions for 2 groups"):
        optim.LambdaLR(o, [lambda t: 1.0])


def test_a_second_schedule_starts_from_the_rate_that_the_user_set() -> None:
    o = optimiser(0.1)
    course(optim.ExponentialLR(o, 0.5), 5)
    assert optim.ExponentialLR(o, 0.5).base_lrs == [0.1]
    o.lr = 0.03
    assert optim.ExponentialLR(o, 0.5).base_lrs == [0.03]


def hand_plateau(metrics: list[float], better: Any, patience: int, cooldown: int) -> list[float]:
    best, bad, cool, lr, rates = None, 0, 0, 0.1, []
    for metric in metrics:
        if best is None or better(metric, best):
            best, bad = metric, 0
        else:
            bad += 1
        if cool:
            cool, bad = cool - 1, 0
        if bad > patience:
            lr, bad, cool = max(lr * 0.1, 1e-4), 0, cooldown
        rates.append(lr)
    return rates


@pytest.mark.parametrize(
    ("options", "better"),
    [
        ({}, lambda m, b: m < b * (1 - 1e-4)),
        ({"threshold": 0.3, "threshold_mode": "abs"}, lambda m, b: m < b - 0.3),
        ({"mode": "max"}, lambda m, b: m > b * (1 + 1e-4)),
        ({"mode": "max", "threshold": 0.3, "threshold_mode": "abs"}, lambda m, b: m > b + 0.3),
    ],
)
def test_a_plateau_lowers_the_rate(options: Any, better: Any) -> None:
    o = optimiser()
    schedule = optim.ReduceLROnPlateau(o, patience=2, cooldown=1, min_lr=1e-4, **options)
    metrics = [3.0, 2.5, 2.4, 2.6, 2.45, 2.2, 2.2, 2.2, 2.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0] * 2
    rates = []
    for metric in metrics:
        schedule.step(mg.tensor(metric))
        rates += schedule.get_last_lr()
    # the metrics pass through float32 above
    exact = [float(np.float32(m)) for m in metrics]
    np.testing.assert_allclose(rates, hand_plateau(exact, better, 2, 1), rtol=1e-12)
    assert rates[-1] < 0.1


def test_a_metric_that_is_not_a_number_is_no_improvement() -> None:
    schedule = optim.ReduceLROnPlateau(optimiser(), patience=0)
    schedule.step(1.0)
    schedule.step(nan)
    assert schedule.get_last_lr() == pytest.approx([0.01])
    assert schedule.best == 1.0


@pytest.mark.parametrize(
    "options",
    [{"mode": "least"}, {"factor": 1.0}, {"threshold_mode": "share"}, {"min_lr": [0.1, 0.1]}],
)
def test_a_plateau_with_options_out_of_range_is_refused(options: Any) -> None:
    with pytest.raises(DataError):
        optim.ReduceLROnPlateau(optimiser(), **options)


def test_a_schedule_goes_on_from_its_saved_state() -> None:
    straight = course(optim.StepLR(optimiser(), 3), 8)
    first = optim.StepLR(optimiser(), 3)
    course(first, 4)
    resumed = optim.StepLR(optimiser(0.7), 3)
    resumed.load_state_dict(first.state_dict())
    assert course(resumed, 4)[1:] == straight[5:]


def test_a_plateau_goes_on_from_its_saved_state() -> None:
    first = optim.ReduceLROnPlateau(optimiser(), patience=1)
    assert first.state_dict()["best"] == inf
    first.step(1.0)
    first.step(2.0)
    second = optim.ReduceLROnPlateau(optimiser(), patience=1)
    second.load_state_dict(first.state_dict())
    second.step(2.0)
    assert second.get_last_lr() == pytest.approx([0.01])


@pytest.mark.parametrize(
    "state", [{}, {"last_epoch": 1, "base_lrs": [1.0, 2.0]}, {"last_epoch": "1", "base_lrs": [1.0]}]
)
def test_a_state_that_does_not_fit_is_refused(state: Any) -> None:
    schedule = optim.StepLR(optimiser(), 3)
    with pytest.raises(CheckpointError, match="StepLR"):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == {"last_epoch": 0, "base_lrs": [0.1]}


@pytest.mark.parametrize(
    "make",
    [
        lambda o: optim.StepLR(o, 0),
        lambda o: optim.CosineAnnealingLR(o, 0),
        lambda o: optim.LinearLR(o, start_factor=0.0),
        lambda o: optim.LinearLR(o, total_iters=0),
        lambda o: optim.LinearLR(o, end_factor=2.0),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [1]),
        lambda o: optim.SequentialLR(optimiser(), [optim.StepLR(o, 1)], []),
    ],
)
def test_numbers_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(DataError):
        make(optimiser())


def test_the_text_of_a_schedule_names_its_step_and_rate() -> None:
    schedule = optim.StepLR(optimiser(), 1)
    schedule.step()
    assert repr(schedule) == "StepLR(last_epoch=1, lr=0.01)"
    assert "lr=0.1" in repr(optim.ReduceLROnPlateau(optimiser()))
