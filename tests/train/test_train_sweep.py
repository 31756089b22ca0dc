"""Sweeps over settings and seeds."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError
from minigrad.train import fit, sweep


def number(seed: int, lr: float, norm: bool) -> float:
    return 100 * lr + 10 * norm + seed


def test_every_setting_is_run_with_every_seed() -> None:
    found = sweep(number, 3, lr=[1.0, 2.0], norm=[False, True], progress=False)
    assert found.values.shape == (2, 2, 3)
    assert found.seeds == 3
    np.testing.assert_array_equal(found.at(lr=2.0, norm=True), [210, 211, 212])
    np.testing.assert_array_equal(found.at(norm=False), [[100, 101, 102], [200, 201, 202]])
    np.testing.assert_array_equal(found.runs(norm=True), [[110, 210], [111, 211], [112, 212]])
    assert repr(found) == "Sweep(2 lr x 2 norm, 3 seeds)"


def test_a_run_may_return_a_curve() -> None:
    found = sweep(lambda seed, n: [seed, n, seed + n], 2, n=(5, 7), progress=False)
    assert found.values.shape == (2, 2, 3)
    np.testing.assert_array_equal(found.at(n=7), [[0, 7, 7], [1, 7, 8]])


def test_what_was_not_measured_is_refused() -> None:
    found = sweep(number, 1, lr=[1.0], norm=[True], progress=False)
    for point in ({"lr": 3.0}, {"rate": 1.0}):
        with pytest.raises(DataError, match=r"was not measured(.|\n)*lr: 1.0; norm: True"):
            found.at(**point)
    with pytest.raises(DataError, match="2 settings are left"):
        found.runs()
    for seeds, rates in ((0, [1.0]), (1, [])):
        with pytest.raises(DataError, match="at least one of each"):
            sweep(number, seeds, lr=rates, progress=False)


def test_ctrl_c_keeps_what_was_measured_even_within_a_fit() -> None:
    def run(seed: int, lr: float) -> Any:
        def step(x: int) -> float:
            if (seed, lr) == (1, 2.0):
                os.kill(os.getpid(), signal.SIGINT)
            return lr

        return fit(step, [0, 1], progress=False).steps.rows

    found = sweep(run, 2, lr=[1.0, 2.0, 3.0], progress=False)
    np.testing.assert_array_equal(found.values, [[2, 2], [2, np.nan], [np.nan, np.nan]])


def test_progress_counts_runs(capsys: pytest.CaptureFixture[str]) -> None:
    sweep(number, 2, lr=[1.0, 2.0], norm=[True], progress="rates")
    line = capsys.readouterr().err
    assert "rates" in line
    assert "4/4" in line
    assert "lr 2.0" in line


def test_the_same_seed_gives_the_same_numbers_at_every_setting() -> None:
    def run(seed: int, scale: float) -> float:
        mg.random.seed(seed)
        return mg.random.normal((3,)).sum().item()

    found = sweep(run, 3, scale=[1.0, 2.0], progress=False).values
    np.testing.assert_array_equal(found[0], found[1])
    assert len(np.unique(found)) == 3
