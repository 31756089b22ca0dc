"""check_grads and the numerical derivatives it stands on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.door import unary
from minigrad.core.primitive import FLOAT, registry
from minigrad.errors import GradientMismatch
from minigrad.ops.kinds import elementwise
from minigrad.testing import check_grads
from minigrad.testing.numeric import Perturbed


def soft(x: Any, w: Any) -> Any:
    return mg.softmax(mg.tanh(x @ w), -1)


ARGS = (
    np.random.default_rng(0).normal(size=(3, 4)),
    np.random.default_rng(1).normal(size=(4, 2)),
)


@pytest.mark.parametrize("modes", [("rev",), ("fwd",), ("rev", "fwd")])
def test_check_grads_accepts_right_derivatives_to_third_order(modes: tuple[str, ...]) -> None:
    check_grads(soft, ARGS, order=3 if len(modes) == 1 else 2, modes=modes)


def test_check_grads_takes_one_array_and_nested_arguments() -> None:
    check_grads(lambda x: mg.exp(x), np.array([0.1, -0.3]))
    check_grads(lambda p: p["a"] * p["b"][0], ({"a": np.array(2.0), "b": [np.array(3.0)]},))


@pytest.fixture
def wrong_at_second_order() -> Any:
    """A primitive whose first derivative is right, and whose second is off by 0.1 per cent."""
    slope = elementwise(
        "wrong_slope",
        accepts=FLOAT,
        reference=np.cos,
        scalar=lambda k, x: k.call("cos", x),
        vjp=(lambda g, y, x: -(g * mg.sin(x)) * 1.001,),
        latex="w",
        note="planted",
        analytic=True,
    )
    wave = elementwise(
        "wave",
        accepts=FLOAT,
        reference=np.sin,
        scalar=lambda k, x: k.call("sin", x),
        vjp=(lambda g, y, x: g * unary(slope, x),),
        latex="w",
        note="planted",
        analytic=True,
    )
    yield wave
    del registry["wave"], registry["wrong_slope"]


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_check_grads_finds_a_mistake_that_only_the_second_order_shows(
    wrong_at_second_order: Any, mode: str
) -> None:
    def f(x: Any) -> Any:
        return unary(wrong_at_second_order, x)

    x = np.array([0.3, 0.8])
    check_grads(f, x, order=1, modes=(mode,))
    with pytest.raises(GradientMismatch, match="order 2"):
        check_grads(f, x, order=2, modes=(mode,))


def test_complex_step_is_exact_to_rounding() -> None:
    x = np.array([0.3, 1.7])
    graph = mg.trace(lambda x: mg.exp(mg.sin(x)) / (1 + x * x), x)
    base = Perturbed.values(graph, [x])
    found = Perturbed(graph, base, [np.ones(2)], graph.inputs[0]).derivative(np.array([1.0, 0.0]))
    s, c, q = np.sin(0.3), np.cos(0.3), 1 + 0.09
    assert found.method == "complex step"
    assert found.value == pytest.approx(np.exp(s) * (c * q - 0.6) / q**2, rel=1e-15)


def test_central_differences_come_with_an_honest_error() -> None:
    x = np.array([0.4])
    graph = mg.trace(lambda x: mg.erf(x), x)
    base = Perturbed.values(graph, [x])
    found = Perturbed(graph, base, [np.ones(1)], graph.inputs[0]).derivative(np.ones(1))
    true = 2 / np.sqrt(np.pi) * np.exp(-0.16)
    assert found.method == "central differences"
    assert abs(found.value - true) <= 10 * found.error
    assert found.error < 1e-10


def test_slopes_of_a_kink_differ_and_of_a_smooth_point_do_not() -> None:
    graph = mg.trace(lambda x: mg.abs(x), mg.spec((), mg.float64))
    for at, expected in ((0.0, (-1.0, 1.0)), (2.0, (1.0, 1.0))):
        base = Perturbed.values(graph, [np.array(at)])
        found = Perturbed(graph, base, [np.array(1.0)], graph.inputs[0]).slopes(np.array(1.0))
        assert found == pytest.approx(expected, abs=1e-6)
