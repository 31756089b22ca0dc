"""The pytest plugin, tried in a pytest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import numpy as np
import minigrad as mg

def f(x):
    return mg.tag(mg.sin(x), "s").sum()

def test_right(compare_gradients, check_grads):
    x = np.array([0.1, 0.2])
    compare_gradients(f, x, hand={"x": np.cos(x), "s": np.ones(2)})
    check_grads(f, x)

def test_wrong(compare_gradients):
    x = np.array([0.1, 0.2])
    compare_gradients(f, x, hand={"x": -np.cos(x)})
"""


@pytest.mark.host
def test_plugin_gives_fixtures_and_a_section_with_all_gradients(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*first differs at 'x'*the sign is wrong*", "*gradients, in backward order*", "s *(2,)*ok"]
    )


@pytest.mark.host
def test_plugin_saves_the_picture_of_a_failed_comparison(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    pytester.makepyfile(SUITE)
    pytester.runpytest_subprocess(f"--minigrad-pictures={tmp_path / 'pictures'}")
    (picture,) = (tmp_path / "pictures").glob("*.svg")
    assert "test_wrong" in picture.name
    assert "<svg" in picture.read_text(encoding="utf-8")
