"""WeightNorm, WeightStandardization, AdaIN, SPADE (D2, D4, D7, D8): identities, layers, errors.

Values and gradients against the formulas: ``test_derivations.py``, from the pages of
``docs/derivations``.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hand_oracles import assert_close, numerical_vjp

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

RNG = np.random.default_rng(0)


# Weight norm ------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm_starts_as_the_layer_and_then_g_is_the_length(dim) -> None:
    linear = nn.Linear(5, 4, dtype=mg.float64)
    x = RNG.normal(size=(3, 5))
    layer = nn.WeightNorm(linear, dim=dim)
    assert_close(layer(x), linear(x), rtol=1e-14)
    g = RNG.uniform(0.5, 2.0, size=layer.weight_g.shape)
    layer.weight_g.assign(g)
    w = np.asarray(F.weight_norm(linear.weight, layer.weight_g, dim))
    axes = {0: 1, 1: 0, -1: 0, None: (0, 1)}[dim]
    assert_close(np.sqrt((w * w).sum(axes, keepdims=True)), g)
    assert_close(layer(x), x @ w.T + linear.bias.numpy())


def test_weight_norm_does_not_see_the_length_of_v_and_its_gradient_is_orthogonal() -> None:
    """C9: what BatchNorm does implicitly. Any step along the gradient makes v longer."""
    v, g, delta = RNG.normal(size=(4, 5)), RNG.uniform(1, 2, size=(4, 1)), RNG.normal(size=(4, 5))
    f = lambda v: (F.weight_norm(v, g) * delta).sum()
    assert_close(f(3.0 * v), f(v), rtol=1e-13)
    gradient = np.asarray(mg.grad(f)(v))
    assert_close((gradient * v).sum(1), np.zeros(4), atol=1e-12)
    stepped = v - 0.1 * gradient
    assert (np.linalg.norm(stepped, axis=1) > np.linalg.norm(v, axis=1)).all()


def test_weight_norm_trains_both_parameters_of_any_layer() -> None:
    conv = nn.Conv2d(2, 3, 3, dtype=mg.float64)
    net = nn.Sequential(nn.WeightNorm(conv), nn.ReLU())
    names = [n for n, _ in net.named_parameters()]
    assert names == ["0.weight_g", "0.layer.weight", "0.layer.bias"]
    assert net[0].weight_g.shape == (3, 1, 1, 1)
    x = RNG.normal(size=(2, 2, 5, 5))
    net(x).sum().backward()
    assert all(np.abs(np.asarray(p.grad)).max() > 0 for p in net.parameters())
    eager, step = net(x), mg.compile(net)
    assert_close(step(x), eager)
    net[0].weight_g.assign(net[0].weight_g * 2)
    bias = conv.bias.numpy().reshape(-1, 1, 1)
    linear = np.asarray(conv(x)) - bias
    assert_close(step(x), np.maximum(2 * linear + bias, 0))
    twin = copy.deepcopy(net)
    assert_close(twin(x), net(x))


def test_weight_norm_refuses_what_does_not_fit() -> None:
    with pytest.raises(mg.errors.DataError, match="ReLU has no parameter 'weight'"):
        nn.WeightNorm(nn.ReLU())
    with pytest.raises(mg.errors.DataError, match="not a layer"):
        nn.WeightNorm(np.ones((2, 2)))
    with pytest.raises(mg.errors.ShapeError, match=r"g has shape \(4,\)"):
        F.weight_norm(np.ones((4, 3)), np.ones(4))
    half = F.weight_norm(np.full((2, 4096), 300, np.float16), np.ones((2, 1), np.float16))
    assert half.dtype == mg.float16
    assert np.isfinite(np.asarray(half)).all()


# Weight standardisation -------------------------------------------------------------


def test_standardised_weights_have_mean_0_and_deviation_1_in_each_unit() -> None:
    w = RNG.normal(2.0, 3.0, size=(6, 3, 5, 5))
    found = np.asarray(F.weight_standardization(w))
    assert_close(found.mean((1, 2, 3)), np.zeros(6), atol=1e-14)
    assert_close(found.std((1, 2, 3)), np.ones(6), rtol=1e-6)


def test_standardised_weights_ignore_shift_and_scale_and_so_does_their_gradient() -> None:
    w, delta = RNG.normal(size=(2, 4, 6))
    f = lambda w: (F.weight_standardization(w, eps=0.0) * delta).sum()
    assert_close(f(3.0 * w + 5.0), f(w), rtol=1e-12)
    gradient = np.asarray(mg.grad(f)(w))
    assert_close(gradient.sum(1), np.zeros(4), atol=1e-12)
    assert_close((gradient * w).sum(1), np.zeros(4), atol=1e-12)


def test_weight_standardization_wraps_any_layer_in_both_modes() -> None:
    conv = nn.Conv2d(2, 3, 3, bias=False, dtype=mg.float64)
    layer = nn.WeightStandardization(conv)
    x = RNG.normal(size=(2, 2, 5, 5))
    w = conv.weight.numpy()
    axes = (1, 2, 3)
    u = (w - w.mean(axes, keepdims=True)) / np.sqrt(w.var(axes, keepdims=True) + 1e-5)
    for mode in (True, False):
        assert_close(layer.train(mode)(x), F.conv2d(x, u))
    assert [n for n, _ in layer.named_parameters()] == ["layer.weight"]
    with pytest.raises(mg.errors.ShapeError, match="1 value for each mean and variance"):
        nn.WeightStandardization(nn.Linear(1, 3))(np.ones((2, 1), np.float32))
    with pytest.raises(mg.errors.DataError, match="no parameter 'bias'"):
        nn.WeightStandardization(nn.Linear(3, 3, bias=False), "bias")


# Adaptive instance norm -------------------------------------------------------------


def test_content_takes_the_mean_and_deviation_of_the_style() -> None:
    x, style = RNG.normal(size=(2, 3, 6, 5)), RNG.normal(4.0, 2.0, size=(2, 3, 7, 8))
    y = np.asarray(nn.AdaIN()(x, style))
    assert_close(y.mean((2, 3)), style.mean((2, 3)))
    assert_close(y.std((2, 3)), style.std((2, 3)), rtol=1e-4)


def test_content_that_is_its_own_style_stays_and_one_style_may_serve_a_batch() -> None:
    x = RNG.normal(size=(3, 2, 5))
    assert_close(nn.AdaIN()(x, x), x, rtol=1e-12)
    style = RNG.normal(size=(1, 2, 4))
    each = [np.asarray(F.adain(x[i : i + 1], style)) for i in range(3)]
    assert_close(F.adain(x, style), np.concatenate(each))


def test_a_style_that_does_not_fit_is_refused() -> None:
    x = np.zeros((2, 3, 4))
    for shape in ((2, 4, 4), (3, 3, 4), (2, 3), (2, 3, 4, 4)):
        with pytest.raises(mg.errors.ShapeError, match="does not fit an input"):
            F.adain(x, np.zeros(shape))
    with pytest.raises(mg.errors.ShapeError, match="style: 1 value"):
        F.adain(x, np.zeros((2, 3, 1)))
    half = F.adain(x.astype(np.float16), np.ones((2, 3, 2), np.float16))
    assert half.dtype == mg.float16


# SPADE ------------------------------------------------------------------------------


def one_hot_map(rng, n, classes, height, width):
    labels = rng.integers(0, classes, size=(n, height, width))
    return np.moveaxis(np.eye(classes)[labels], -1, 1)


def test_spade_starts_near_the_normalised_input_and_then_follows_the_map() -> None:
    layer = nn.SPADE(3, 4, hidden=5, dtype=mg.float64)
    x, s = RNG.normal(size=(2, 3, 6, 6)), one_hot_map(RNG, 2, 4, 6, 6)
    for conv in (layer.gamma, layer.beta):
        conv.weight.assign(np.zeros(conv.weight.shape))
    layer.beta.bias.assign(np.zeros(3))
    assert_close(layer(x, s), F.batch_norm(x, None, None, training=True))
    layer.gamma.bias.assign([2.0, 0.0, 1.0])
    layer.beta.bias.assign([0.0, 7.0, 1.0])
    y, u = np.asarray(layer(x, s)), np.asarray(F.batch_norm(x, None, None, training=True))
    assert_close(y, u * np.array([2, 0, 1.0])[:, None, None] + np.array([0, 7, 1.0])[:, None, None])


def test_spade_of_a_map_of_one_class_is_uniform_away_from_the_edges() -> None:
    layer = nn.SPADE(2, 3, hidden=4, dtype=mg.float64)
    s = np.zeros((1, 3, 9, 9))
    s[:, 1] = 1.0
    graph = mg.trace(layer, mg.spec((1, 2, 9, 9), mg.float64), mg.spec((1, 3, 9, 9), mg.float64))
    assert {"gamma", "beta", "u"} <= {n.name for n in graph.nodes}
    x = RNG.normal(size=(1, 2, 9, 9))
    y, u = np.asarray(layer(x, s)), np.asarray(layer.norm(x))
    inside = (0, 0, slice(2, -2), slice(2, -2))
    slope = np.polyfit(u[inside].ravel(), y[inside].ravel(), 1)
    assert_close(np.polyval(slope, u[inside]), y[inside])


@pytest.mark.parametrize("size", [(3, 3), (12, 12), (5, 7)])
def test_a_map_of_another_size_is_read_at_the_nearest_pixel(size) -> None:
    layer = nn.SPADE(2, 3, hidden=4, dtype=mg.float64)
    x, s = RNG.normal(size=(2, 2, 6, 6)), one_hot_map(RNG, 2, 3, *size)
    rows, columns = (np.arange(6) * n // 6 for n in size)
    assert_close(layer(x, s), layer(x, s[:, :, rows][:, :, :, columns]))


def test_spade_gradients_match_central_differences_with_any_norm() -> None:
    x, s = RNG.normal(size=(2, 2, 3, 3)), one_hot_map(RNG, 2, 3, 3, 3)
    for norm in (None, nn.InstanceNorm(2), nn.SyncBatchNorm(2, affine=False, dtype=mg.float64)):
        layer = nn.SPADE(2, 3, hidden=3, norm=norm, dtype=mg.float64)
        delta = RNG.normal(size=x.shape)
        found = mg.vjp(layer, x, s)[1](delta)
        for a, b in zip(found, numerical_vjp(layer, (x, s), delta), strict=True):
            assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_spade_refuses_a_map_that_does_not_fit() -> None:
    layer = nn.Sequential(nn.SPADE(2, 3))[0]
    x = np.zeros((2, 2, 4, 4), np.float32)
    for s in (np.zeros((2, 4, 4, 4)), np.zeros((1, 3, 4, 4)), np.zeros((2, 3, 4))):
        with pytest.raises(mg.errors.ShapeError, match=r"0 \(SPADE 2 from 3\): a map of shape"):
            layer(x, s)
    with pytest.raises(mg.errors.DataError, match="label_channels = 0"):
        nn.SPADE(2, 0)
