"""The record of a run: columns, averages, saving, curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import CheckpointError, DataError
from minigrad.train import History, exponential_average, moving_average

NUMBERS = st.lists(st.floats(-1e3, 1e3), max_size=30)


@given(values=NUMBERS, window=st.integers(1, 12))
def test_a_moving_average_is_the_mean_of_the_last_values(values: Any, window: int) -> None:
    expected = [np.mean(values[max(t + 1 - window, 0) : t + 1]) for t in range(len(values))]
    np.testing.assert_allclose(moving_average(values, window), expected, rtol=1e-12, atol=1e-9)


def test_a_moving_average_forgets_a_huge_value_and_nan_once_they_have_left_the_window() -> None:
    found = moving_average([1.0, 1e30, 2.0, np.nan, 4.0, 6.0], 2)
    np.testing.assert_array_equal(found[[0, 5]], [1.0, 5.0])
    assert np.isnan(found[[3, 4]]).all()
    assert moving_average([1e30, 3.0, 5.0], 2)[2] == 4.0


@given(values=NUMBERS, decay=st.floats(0.0, 0.99))
def test_an_exponential_average_has_weights_that_sum_to_one(values: Any, decay: float) -> None:
    expected = [
        np.average(values[: t + 1], weights=decay ** np.arange(t, -1, -1.0))
        for t in range(len(values))
    ]
    np.testing.assert_allclose(exponential_average(values, decay), expected, rtol=1e-9, atol=1e-9)


def test_averages_refuse_what_is_out_of_range() -> None:
    with pytest.raises(DataError, match="window = 0"):
        moving_average([1.0], 0)
    for decay in (-0.1, 1.0):
        with pytest.raises(DataError, match="decay"):
            exponential_average([1.0], decay)


def history_of_two_epochs() -> History:
    history = History()
    for loss in (4.0, 2.0):
        history.step(loss=mg.tensor(loss), norm=1)
    history.epoch(test_loss=3.0)
    for loss in (1.0, 0.5, 0.0):
        history.step(loss=loss)
    history.epoch(test_loss=1.0, test_accuracy=np.float32(0.5))
    return history


def test_epochs_average_their_own_steps() -> None:
    history = history_of_two_epochs()
    np.testing.assert_array_equal(history.steps["loss"], [4.0, 2.0, 1.0, 0.5, 0.0])
    np.testing.assert_array_equal(history.epochs["loss"], [3.0, 0.5])
    np.testing.assert_array_equal(history.epochs["test_loss"], [3.0, 1.0])
    np.testing.assert_array_equal(history.epochs["step"], [2, 5])
    np.testing.assert_array_equal(history.steps.average("loss", 2), [4.0, 3.0, 1.5, 0.75, 0.25])


def test_a_name_that_a_row_lacks_is_nan_there() -> None:
    history = history_of_two_epochs()
    np.testing.assert_array_equal(history.steps["norm"], [1, 1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(history.epochs["test_accuracy"], [np.nan, 0.5])
    with pytest.raises(KeyError, match="'lost'; there are loss, norm"):
        history.steps["lost"]


def test_a_step_may_be_recorded_as_a_tensor_without_keeping_its_history() -> None:
    history, p = History(), mg.Parameter([1.0, 2.0])
    loss = (p * p).sum()
    history.step(loss=loss)
    assert not isinstance(history.steps._lists["loss"][0], mg.Tensor)
    assert history.steps["loss"].tolist() == [5.0]


@pytest.mark.parametrize("value", [np.ones(2), mg.ones((1,)), "low", [1.0]])
def test_what_is_not_a_number_is_refused_and_nothing_is_added(value: Any) -> None:
    history = history_of_two_epochs()
    with pytest.raises(DataError, match=r"loss is .*not a number"):
        history.step(norm=1.0, loss=value)
    assert history.steps.rows == 5
    assert all(len(history.steps[name]) == 5 for name in history.steps)


@pytest.mark.parametrize("name", ["loss", "step"])
def test_an_epoch_may_not_take_the_name_of_its_steps(name: str) -> None:
    history = history_of_two_epochs()
    with pytest.raises(DataError, match=f"{name!r} of the epoch(.|\n)*test_loss"):
        history.epoch(**{name: 1.0})
    assert history.epochs.rows == 2


def test_a_history_is_saved_and_goes_on(tmp_path: Path) -> None:
    history = history_of_two_epochs()
    history.step(loss=float("nan"))
    history.ended = "interrupted"
    mg.save(tmp_path / "run", history=history)
    again = History()
    mg.load(tmp_path / "run", history=again)
    assert again.ended == "interrupted"
    for mine, saved in ((again.steps, history.steps), (again.epochs, history.epochs)):
        assert list(mine) == list(saved)
        for name in mine:
            np.testing.assert_array_equal(mine[name], saved[name])
    again.step(loss=7.0, norm=0.0)
    again.epoch(test_loss=2.0)
    assert again.epochs["step"].tolist() == [2, 5, 7]
    mg.load(tmp_path / "run", history=again)  # longer by now: replaced
    assert again.steps.rows == 6


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"steps": None, "epochs": None},
        {"steps": {"a": [1.0], "b": []}, "epochs": None, "ended": ""},
        {"steps": None, "epochs": {"loss": [1.0]}, "ended": ""},
    ],
)
def test_a_state_of_something_else_is_refused_and_nothing_changes(state: Any) -> None:
    history = history_of_two_epochs()
    with pytest.raises(CheckpointError):
        history.load_state_dict(state)
    assert history.steps.rows == 5


def test_the_text_of_a_history_has_the_last_epoch() -> None:
    assert repr(History()) == "History(0 epochs, 0 steps)"
    history = history_of_two_epochs()
    history.ended = "done"
    text = repr(history)
    assert "2 epochs, 5 steps, done" in text
    assert "test_loss 1" in text
    assert repr(history.steps) == "5 rows of loss, norm"


def test_the_figure_shows_every_column_with_its_name() -> None:
    pytest.importorskip("matplotlib")
    figure = history_of_two_epochs().plot(window=2)
    losses, _ = figure.axes
    names = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert names == [["loss, mean of 2 steps", "test_loss"], ["norm, mean of 2 steps",
                                                            "test_accuracy"]]  # fmt: skip
    assert [ax.get_xlabel() for ax in figure.axes] == ["step", "step"]
    lines = {line.get_label(): line for line in losses.get_lines()}
    np.testing.assert_array_equal(lines["test_loss"].get_xdata(), [2, 5])
    np.testing.assert_array_equal(
        lines["loss, mean of 2 steps"].get_ydata(), [4.0, 3.0, 1.5, 0.75, 0.25]
    )
    assert losses.get_yscale() == "linear"  # a loss of 0 has no logarithm


def test_losses_over_decades_get_a_logarithmic_axis() -> None:
    pytest.importorskip("matplotlib")
    history = History()
    for loss in (10.0, 1.0, 0.1):
        history.step(loss=loss)
    (ax,) = history.plot().axes
    assert ax.get_yscale() == "log"


def test_the_display_of_a_history_is_its_curves_and_its_text() -> None:
    pytest.importorskip("matplotlib")
    bundle = history_of_two_epochs()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "2 epochs" in bundle["text/plain"]
    assert list(History()._repr_mimebundle_()) == ["text/plain"]


def test_without_matplotlib_the_display_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("minigrad.train.curves.import_module", missing)
    bundle = history_of_two_epochs()._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "matplotlib is not installed" in bundle["text/plain"]
    with pytest.raises(mg.errors.BackendUnavailable, match="notebook"):
        history_of_two_epochs().plot()


def test_a_band_is_the_median_and_the_range_of_the_runs() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    runs = [[1.0, 5.0, np.nan], [2.0, np.inf, np.nan], [4.0, 7.0, np.nan]]
    mg.train.band(ax, [0, 1, 2], runs, label="three seeds")
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 6.0, np.nan])
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 1.0
    assert corners[:, 1].max() == 7.0
