"""Activations: value, first and second derivative against formulas by hand; both tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp, second_derivative
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.nn import functional as F

SHAPES = hnp.array_shapes(max_dims=3, max_side=4)
erf = np.vectorize(math.erf)


def logistic(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def normal_density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


ROOT = math.sqrt(2 / math.pi)


def tanh_gelu_slope(x):
    t = np.tanh(ROOT * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT * (1 + 3 * 0.044715 * x * x)


# name: function, value, first derivative
ACTIVATIONS = {
    "relu": (F.relu, lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.2),
        lambda x: np.where(x > 0, x, 0.2 * x),
        lambda x: np.where(x > 0, 1.0, 0.2),
    ),
    "elu": (
        lambda x: F.elu(x, 1.5),
        lambda x: np.where(x > 0, x, 1.5 * np.expm1(x)),
        lambda x: np.where(x > 0, 1.0, 1.5 * np.exp(x)),
    ),
    "gelu": (
        F.gelu,
        lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        lambda x: 0.5 * (1 + erf(x / math.sqrt(2))) + x * normal_density(x),
    ),
    "gelu_tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(ROOT * (x + 0.044715 * x**3))),
        tanh_gelu_slope,
    ),
    "silu": (
        F.silu,
        lambda x: x * logistic(x),
        lambda x: logistic(x) * (1 + x * (1 - logistic(x))),
    ),
    "sigmoid": (F.sigmoid, logistic, lambda x: logistic(x) * (1 - logistic(x))),
    "tanh": (F.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "softplus": (
        lambda x: F.softplus(x, 2.0),
        lambda x: np.log1p(np.exp(2 * x)) / 2,
        lambda x: logistic(2 * x),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_activation_value_and_derivative_match_the_formula(name, shape, seed) -> None:
    f, value, slope = ACTIVATIONS[name]
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, *shape))
    assert_value_and_vjp(f, (x,), value(x), delta, (delta * slope(x),))


def softmax_by_hand(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_softmax_and_its_logarithm_match_the_formulas(shape, seed, data) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, *shape))
    p = softmax_by_hand(x, axis)
    inner = (delta * p).sum(axis, keepdims=True)
    assert_value_and_vjp(lambda t: F.softmax(t, axis), (x,), p, delta, (p * (delta - inner),))
    hand = delta - p * delta.sum(axis, keepdims=True)
    assert_value_and_vjp(lambda t: F.log_softmax(t, dim=axis), (x,), np.log(p), delta, (hand,))


LAYERS = {
    "relu": mg.nn.ReLU(),
    "leaky_relu": mg.nn.LeakyReLU(0.2),
    "elu": mg.nn.ELU(1.5),
    "gelu": mg.nn.GELU(),
    "gelu_tanh": mg.nn.GELU("tanh"),
    "silu": mg.nn.SiLU(),
    "sigmoid": mg.nn.Sigmoid(),
    "tanh": mg.nn.Tanh(),
    "softplus": mg.nn.Softplus(2.0),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_activation_layers_are_their_functions_in_both_modes(name, training) -> None:
    x = np.linspace(-3, 3, 12).reshape(3, 4)
    _, value, slope = ACTIVATIONS[name]
    layer = LAYERS[name].train(training)
    assert_value_and_vjp(layer, (x,), value(x), np.ones((3, 4)), (slope(x),))


def test_softmax_layers_take_the_axis() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert_close(mg.nn.Softmax(dim=0)(x), softmax_by_hand(x, 0))
    assert_close(mg.nn.LogSoftmax(dim=1)(x), np.log(softmax_by_hand(x, 1)))
    assert mg.nn.Identity()(x) is x


def test_relu_has_derivative_zero_at_zero_and_passes_nan() -> None:
    x = np.array([-1.0, -0.0, 0.0, 2.0])
    assert_close(mg.grad(lambda t: F.relu(t).sum())(x), [0, 0, 0, 1])
    assert np.isnan(F.relu(np.array([np.nan])).item())
    assert F.relu(mg.tensor([1, -2], dtype=mg.int32)).dtype == mg.int32


@pytest.mark.parametrize(
    ("f", "at_zero"),
    [(F.leaky_relu, 0.01), (F.elu, 1.0), (lambda x: F.elu(x, 2.0), 2.0)],
)
def test_piecewise_activations_take_the_left_derivative_at_zero(f, at_zero) -> None:
    assert mg.grad(lambda x: f(x))(np.float64(0.0)).item() == pytest.approx(at_zero, rel=1e-15)


TAIL = np.array([-1e4, -800.0, -40.0, -20.0, 0.0, 20.0, 40.0, 800.0, 1e4])


def test_sigmoid_is_exact_in_both_tails_to_second_order() -> None:
    slope = mg.grad(lambda x: F.sigmoid(x).sum())(TAIL)
    bend = second_derivative(F.sigmoid, TAIL)
    z = np.exp(-np.abs(TAIL))
    p = np.where(TAIL >= 0, 1, z) / (1 + z)
    assert_close(F.sigmoid(TAIL), p, rtol=1e-14, atol=0)
    assert_close(slope, z / (1 + z) ** 2, rtol=1e-13, atol=0)
    assert_close(bend, -np.sign(TAIL) * z * (1 - z) / (1 + z) ** 3, rtol=1e-12, atol=1e-300)


def test_softplus_is_exact_in_both_tails_to_second_order() -> None:
    z = np.exp(-np.abs(TAIL))
    assert_close(F.softplus(TAIL), np.maximum(TAIL, 0) + np.log1p(z), rtol=1e-14, atol=0)
    slope = mg.grad(lambda x: F.softplus(x).sum())(TAIL)
    assert_close(slope, np.where(TAIL > 0, 1, z) / (1 + z), rtol=1e-14, atol=0)
    assert_close(second_derivative(F.softplus, TAIL), z / (1 + z) ** 2, rtol=1e-9, atol=1e-17)
    ends = mg.tensor([-np.inf, np.inf, np.nan])
    assert np.array_equal(np.asarray(F.softplus(ends)), [0, np.inf, np.nan], equal_nan=True)


def test_logaddexp_is_stable_to_second_order() -> None:
    f = lambda x: mg.logaddexp(x, 0.0)
    z = np.exp(-np.abs(TAIL))
    assert_close(f(TAIL), np.logaddexp(TAIL, 0), rtol=1e-14, atol=0)
    slope = mg.grad(lambda x: f(x).sum())(TAIL)
    assert_close(slope, np.where(TAIL > 0, 1, z) / (1 + z), rtol=1e-14, atol=0)
    assert_close(second_derivative(f, TAIL), z / (1 + z) ** 2, rtol=1e-9, atol=1e-17)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "elu", "softplus", "tanh"])
def test_second_derivative_is_the_slope_of_the_first(name) -> None:
    f, _, slope = ACTIVATIONS[name]
    x = np.array([-2.0, -0.7, 0.3, 1.1, 2.5])
    step = 1e-6
    assert_close(
        second_derivative(f, x), (slope(x + step) - slope(x - step)) / (2 * step), rtol=2e-8
    )


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n != "tanh"])
def test_activations_stay_finite_for_large_float32(name) -> None:
    x = mg.tensor([-1e4, -90.0, 90.0, 1e4])
    y = ACTIVATIONS[name][0](x)
    slope = mg.grad(lambda t: ACTIVATIONS[name][0](t).sum())(x)
    assert y.dtype == slope.dtype == mg.float32
    assert np.isfinite(np.asarray(y)).all()
    assert np.isfinite(np.asarray(slope)).all()


def test_gelu_refuses_an_unknown_approximation() -> None:
    with pytest.raises(mg.errors.DataError, match="approximate = 'sigmoid'"):
        F.gelu(1.0, approximate="sigmoid")
