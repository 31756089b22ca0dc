"""Initial values: catalogue section F."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import init

SHAPES = [(300, 200), (60, 40, 3, 2)]  # (out, in), (out, in, *kernel)
FANS = {(300, 200): (200, 300), (60, 40, 3, 2): (240, 360)}


def variance_of(fan_in, fan_out, mode):
    return {"fan_in": 2 / fan_in, "fan_out": 2 / fan_out, "average": 4 / (fan_in + fan_out)}[mode]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "average"])
@pytest.mark.parametrize("name", ["he_normal", "he_uniform"])
def test_he_variance_is_two_over_the_fan(shape, mode, name) -> None:
    mg.random.seed(1)
    w = getattr(init, name)(shape, mode=mode).numpy()
    wanted = variance_of(*FANS[shape], mode)
    assert w.var() == pytest.approx(wanted, rel=0.03)
    assert abs(w.mean()) < 4 * np.sqrt(wanted / w.size)
    if name == "he_uniform":
        assert np.abs(w).max() <= np.sqrt(3 * wanted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("nonlinearity", "gain"), [("linear", 1.0), ("tanh", 5 / 3)])
@pytest.mark.parametrize("name", ["glorot_normal", "glorot_uniform"])
def test_glorot_variance_is_two_over_the_sum_of_fans(shape, nonlinearity, gain, name) -> None:
    mg.random.seed(2)
    w = getattr(init, name)(shape, nonlinearity=nonlinearity).numpy()
    wanted = gain**2 * 2 / sum(FANS[shape])
    assert w.var() == pytest.approx(wanted, rel=0.03)
    if name == "glorot_uniform":
        assert np.abs(w).max() <= np.sqrt(3 * wanted)


def test_gains_are_those_that_users_expect() -> None:
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == 1.0
    assert init.calculate_gain("tanh") == pytest.approx(5 / 3)
    assert init.calculate_gain("relu") == pytest.approx(np.sqrt(2))
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(np.sqrt(2 / 1.04))
    assert init.calculate_gain("leaky_relu") == pytest.approx(np.sqrt(2 / 1.0001))
    mg.random.seed(0)
    w = init.he_normal((300, 200), gain=3.0).numpy()
    assert w.std() == pytest.approx(3 / np.sqrt(200), rel=0.02)


def test_a_parameter_is_assigned_in_place_and_returned_in_its_dtype() -> None:
    layer = nn.Linear(4, 3, dtype=mg.float64)
    cell = layer.weight
    for f in (init.he_normal, init.glorot_uniform, init.normal, init.ones, init.orthogonal):
        before = cell.numpy()
        assert f(cell) is cell
        assert cell.dtype == mg.float64
        assert cell is layer.weight
        assert not np.array_equal(cell.numpy(), before)
    assert np.array_equal(init.constant(cell, 0.5).numpy(), np.full((3, 4), 0.5))
    assert not init.zeros(cell).numpy().any()
    bias = init.uniform(layer.bias, -2, -1).numpy()
    assert (bias >= -2).all()
    assert (bias < -1).all()


def test_a_shape_gives_a_tensor_without_history() -> None:
    for w in (init.normal((3, 2)), init.uniform(5, 1.0, 2.0), init.he_uniform((3, 2))):
        assert isinstance(w, mg.Tensor)
        assert not isinstance(w, mg.Parameter)
        assert w.dtype == mg.float32
        assert not w.node.inputs
    assert init.normal((2,), dtype=mg.float64).dtype == mg.float64


def test_seeds_govern_layers_and_initialisers() -> None:
    def build(seed):
        mg.random.seed(seed)
        net = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(2, 3, 3), nn.Embedding(5, 2))
        init.he_normal(net[0].weight)
        return [p.numpy() for p in net.parameters()]

    assert all(np.array_equal(a, b) for a, b in zip(build(4), build(4), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(build(4), build(5), strict=True))


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (4, 2, 2, 3)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape) -> None:
    w = init.orthogonal(shape, gain=2.0, dtype=mg.float64).numpy().reshape(shape[0], -1) / 2
    square = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(square, np.eye(len(square)), atol=1e-12)


def test_units_that_start_equal_stay_equal_for_ever() -> None:
    """The reason not to start with a constant."""
    net = nn.Sequential(
        nn.Linear(3, 4, dtype=mg.float64), nn.Tanh(), nn.Linear(4, 1, dtype=mg.float64)
    )
    for parameter in net.parameters():
        init.constant(parameter, 0.3)
    x = np.random.default_rng(0).normal(size=(5, 3))
    for _ in range(3):
        net.zero_grad()
        (net(x) ** 2).mean().backward()
        for parameter in net.parameters():
            parameter.assign(parameter - 0.1 * parameter.grad)
    rows = net[0].weight.numpy()
    assert np.array_equal(rows, np.broadcast_to(rows[0], rows.shape))
    assert not np.allclose(rows[0], 0.3)


def test_gradients_scale_with_the_depth_when_the_scale_is_wrong() -> None:
    """Section F: the gradient of the first layer of a linear network goes as S^(depth - 1)."""
    x = np.random.default_rng(0).normal(size=(4, 16))
    norms = []
    for scale in (0.5, 1.0, 2.0):
        mg.random.seed(0)
        net = nn.Sequential(*(nn.Linear(16, 16, bias=False, dtype=mg.float64) for _ in range(5)))
        for parameter in net.parameters():
            init.glorot_normal(parameter, gain=scale)
        net(x).sum().backward()
        norms.append(np.linalg.norm(net[0].weight.grad.numpy()))
    assert norms[1] / norms[0] == pytest.approx(2.0**4, rel=1e-9)
    assert norms[2] / norms[1] == pytest.approx(2.0**4, rel=1e-9)


def test_wrong_arguments_are_refused_with_the_rule() -> None:
    with pytest.raises(mg.errors.ShapeError, match="no fan-in and fan-out"):
        init.he_normal((5,))
    with pytest.raises(mg.errors.DataError, match="mode = 'fan'"):
        init.he_normal((5, 5), mode="fan")
    with pytest.raises(mg.errors.DataError, match="nonlinearity = 'swish'"):
        init.glorot_normal((5, 5), nonlinearity="swish")
    with pytest.raises(mg.errors.DataError, match="std = -1"):
        init.normal((5,), std=-1)
    with pytest.raises(mg.errors.DataError, match="is empty"):
        init.uniform((5,), 1.0, 0.0)
