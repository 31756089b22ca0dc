"""Early stopping: catalogue row G6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import CheckpointError, DataError
from minigrad.train import EarlyStopping, History


def by_hand(values: list[float], patience: int, min_delta: float) -> int | None:
    """Return the index of the value after which to stop: the rule of row G6, said plainly."""
    for t in range(len(values)):
        window = values[: t + 1]
        reference, at = np.inf, -1
        for i, v in enumerate(window):
            if v < reference - min_delta:
                reference, at = v, i
        if t - at >= patience:
            return t
    return None


@pytest.mark.parametrize("min_delta", [0.0, 0.1])
@pytest.mark.parametrize("patience", [1, 2, 4])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_it_stops_when_the_rule_says_so(mode: str, patience: int, min_delta: float) -> None:
    for seed in range(30):
        values = (np.random.default_rng(seed).normal(size=12) + np.linspace(2, 0, 12)).tolist()
        stopping = EarlyStopping(mg.nn.Linear(1, 1), "x", patience, min_delta, mode)
        sign = 1.0 if mode == "min" else -1.0
        stopped = next((t for t, v in enumerate(values) if stopping.update(sign * v)), None)
        assert stopped == by_hand(values, patience, min_delta)


def test_a_value_that_is_equal_is_no_improvement() -> None:
    stopping = EarlyStopping(nn.Linear(1, 1), patience=2)
    assert [stopping.update(v) for v in (1.0, 1.0, 1.0)] == [False, False, True]


def test_nan_is_never_an_improvement() -> None:
    stopping = EarlyStopping(nn.Linear(1, 1), patience=2)
    assert [stopping.update(v) for v in (np.nan, 3.0, np.nan, np.nan)] == [
        False, False, False, True,
    ]  # fmt: skip
    assert stopping.best == 3.0


def test_restores_parameters_and_buffers_of_the_best_value() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2))
    stopping = EarlyStopping(model, patience=3)
    states = []
    for t, value in enumerate([3.0, 1.0, 2.0, 2.0, 2.0]):
        for cell in model.state_dict().values():
            cell.assign(np.full(cell.shape, t))
        states.append({name: c.numpy() for name, c in model.state_dict().items()})
        stopped = stopping.update(value)
    assert stopped
    stopping.restore()
    for name, cell in model.state_dict().items():
        np.testing.assert_array_equal(cell.numpy(), states[1][name])
    assert stopping.best == 1.0


def test_restores_the_lowest_value_even_if_it_did_not_improve_by_min_delta() -> None:
    model = nn.Linear(1, 1)
    stopping = EarlyStopping(model, patience=3, min_delta=0.5)
    for value in (2.0, 1.8, 1.6, 1.7):
        init = nn.init.constant(model.weight, value)
        stopped = stopping.update(value)
    assert init is model.weight
    assert stopped  # 1.8, 1.6 and 1.7 are no improvements on 2 by 0.5
    stopping.restore()
    assert model.weight.item() == pytest.approx(1.6)


def test_restore_before_any_value_does_nothing() -> None:
    model = nn.Linear(1, 1)
    before = model.weight.numpy()
    EarlyStopping(model).restore()
    np.testing.assert_array_equal(model.weight.numpy(), before)


@pytest.mark.host
def test_what_is_kept_is_not_changed_by_training_on() -> None:
    model = nn.Linear(1, 1)
    nn.init.ones(model.weight)
    stopping = EarlyStopping(model)
    stopping.update(1.0)
    model.weight.leaf.value[...] = 5.0  # as a backend that updates in place would
    stopping.restore()
    assert model.weight.item() == 1.0
    model.weight.leaf.value[...] = 5.0
    stopping.restore()
    assert model.weight.item() == 1.0


def test_it_is_saved_and_goes_on(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    stopping = EarlyStopping(model, patience=3)
    for value in (1.0, 2.0):
        stopping.update(value)
        nn.init.zeros(model.weight)
    mg.save(tmp_path / "run", model=model, stopping=stopping)
    other = nn.Linear(2, 1)
    again = EarlyStopping(other, patience=3)
    mg.load(tmp_path / "run", model=other, stopping=again)
    assert (again.best, again.since) == (1.0, 1)
    assert [again.update(2.0), again.update(2.0)] == [False, True]
    again.restore()
    stopping.restore()
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.numpy())
    assert other.weight.numpy().any()
    fresh = EarlyStopping(nn.Linear(3, 1))
    with pytest.raises(CheckpointError, match="not that of such a model"):
        fresh.load_state_dict(stopping.state_dict())
    assert fresh.since == 0


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_delta": -1.0}, {"mode": "least"}])
def test_options_out_of_range_are_refused(options: Any) -> None:
    with pytest.raises(DataError, match="patience is at least 1"):
        EarlyStopping(nn.Linear(1, 1), **options)


def test_a_history_without_the_number_is_refused_with_the_names_that_it_has() -> None:
    history = History()
    history.step(loss=1.0)
    history.epoch(val_loss=2.0)
    with pytest.raises(DataError, match=r"no 'test_loss'(.|\n)*loss, val_loss"):
        EarlyStopping(nn.Linear(1, 1)).after(history)


def test_its_text_has_the_best_value() -> None:
    stopping = EarlyStopping(nn.Linear(1, 1), patience=4)
    stopping.update(0.25)
    stopping.update(0.5)
    assert repr(stopping) == "EarlyStopping(test_loss, best 0.25, 1 of 4 without improvement)"
