"""Numbers in pictures: statistics that neither overflow nor hide what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.viz.stats import number, statistics, value_text
from minigrad.viz.theme import fitted, text_width


def test_viz_statistics_of_finite_elements_beside_nan_and_infinity() -> None:
    s = statistics(np.array([3.0, -4.0, np.nan, np.inf, 0.0]))
    assert s.norm == pytest.approx(5.0)
    assert (s.low, s.high) == (-4.0, 3.0)
    assert (s.nans, s.infinities) == (1, 1)
    assert s.zeros == pytest.approx(0.2)
    assert s.alarm == "1 NaN"
    assert statistics(np.array(np.inf)).alarm == "inf"
    assert statistics(np.ones(3)).alarm is None


def test_viz_statistics_norm_neither_overflows_nor_vanishes() -> None:
    assert statistics(np.full(4, 1e200)).norm == pytest.approx(2e200)
    assert statistics(np.full(4, 1e-200)).norm == pytest.approx(2e-200)
    assert statistics(np.full(4, 3e38, np.float32)).norm == pytest.approx(6e38, rel=1e-6)


def test_viz_statistics_of_odd_arrays() -> None:
    assert statistics(np.zeros((0, 3))).size == 0
    assert statistics(np.full(3, np.nan)).alarm == "3 NaN"
    assert statistics(np.array([True, False])).zeros == 0.5
    assert statistics(np.zeros(4)).dead
    assert not statistics(np.zeros(0)).dead


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, "0"), (2.0, "2"), (-3.0, "−3"), (0.12345, "0.123"), (1e-5, "1e−5"), (1e9, "1e9"),
        (-1.5e-7, "−1.5e−7"), (float("nan"), "NaN"), (float("-inf"), "−inf"), (True, "true"),
    ],
)  # fmt: skip
def test_viz_number_is_short(x: float, expected: str) -> None:
    assert number(x) == expected


@given(st.floats(-1e300, 1e300))
def test_viz_number_is_close_to_the_number(x: float) -> None:
    assert float(number(x).replace("−", "-")) == pytest.approx(x, rel=5e-3)


def test_viz_value_text_writes_small_arrays_and_sums_up_large_ones() -> None:
    assert value_text(np.array(0.125)) == "0.125"
    assert value_text(np.array([1.0, 2.5])) == "[1, 2.5]"
    assert value_text(np.arange(10)) == "0 … 9"
    assert value_text(np.array([[3.0, 4.0]])) == "3 … 4   ‖5‖"
    assert value_text(np.array([True, False, True, True, False])) == "60 % true"
    assert value_text(np.zeros(0)) == "empty"
    assert value_text(np.full(9, np.nan)) == "nothing finite"


def test_viz_text_width_is_that_of_the_widest_usual_face() -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="pip install 'minigrad[notebook]'")
    del matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    for text in ("layers.0.weight", "f32[32, 16]", "WWW iii", "∂u = Σ · ÷ ‖x‖"):
        for weight in ("normal", "bold"):
            drawn = TextPath(
                (0, 0), text, 100, prop=FontProperties(family="DejaVu Sans", weight=weight)
            )
            width = text_width(text, 100, weight == "bold")
            assert drawn.get_extents().x1 <= width * 1.01


@given(st.text(max_size=80), st.integers(5, 40))
def test_viz_fitted_is_one_line_of_limited_length(text: str, limit: int) -> None:
    short = fitted(text, limit)
    assert len(short) <= limit
    assert "\n" not in short
