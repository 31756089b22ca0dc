"""Dropout and DropConnect: catalogue rows B1, B2, B4, B6."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

X = np.random.default_rng(0).uniform(1.0, 2.0, size=(40, 50))  # no zeros: a zero was dropped


@pytest.mark.parametrize("mode", ["inverted", "standard"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_training_zeroes_or_scales_and_the_gradient_uses_the_same_mask(mode, p) -> None:
    """B1, B2, B4: the gradient is zero exactly where the unit was dropped."""
    scale = 1 / (1 - p) if mode == "inverted" else 1.0
    y, pullback = mg.vjp(nn.Dropout(p, mode), X)
    mask = np.asarray(y) != 0
    assert_close(y, X * mask * scale, rtol=1e-15)
    delta = np.random.default_rng(1).normal(size=X.shape)
    assert_close(pullback(delta)[0], delta * mask * scale, rtol=1e-15)
    assert mask.mean() == pytest.approx(1 - p, abs=4 * np.sqrt(p * (1 - p) / X.size))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9])
def test_evaluation_returns_the_expected_value(p) -> None:
    inverted, standard = nn.Dropout(p).eval(), nn.Dropout(p, "standard").eval()
    assert np.array_equal(np.asarray(inverted(X)), X)
    assert_close(standard(X), (1 - p) * X, rtol=1e-15)
    assert_close(mg.grad(lambda x: standard(x).sum())(X), np.full(X.shape, 1 - p))


@pytest.mark.parametrize("mode", ["inverted", "standard"])
def test_the_mean_of_many_masks_approaches_evaluation(mode) -> None:
    mg.random.seed(0)
    layer = nn.Dropout(0.3, mode)
    x = np.ones((2000, 100))
    mean = np.asarray(layer(x)).mean()
    assert mean == pytest.approx(np.asarray(layer.eval()(x)).mean(), abs=5e-3)


def test_masks_are_reproducible_by_seed_and_differ_from_call_to_call() -> None:
    layer = nn.Dropout(0.5)
    mg.random.seed(7)
    first, second = np.asarray(layer(X)), np.asarray(layer(X))
    mg.random.seed(7)
    assert np.array_equal(np.asarray(layer(X)), first)
    assert not np.array_equal(first, second)


@pytest.mark.host
def test_compiled_masks_are_the_eager_ones_forward_and_backward() -> None:
    layer = nn.Dropout(0.4)
    f = lambda x: (layer(x) ** 2).sum()
    both = mg.value_and_grad(f)
    compiled = mg.compile(both)
    mg.random.seed(3)
    eager = [both(X) for _ in range(3)]
    mg.random.seed(3)
    for value, gradient in eager:
        value_c, gradient_c = compiled(X)
        assert np.array_equal(np.asarray(gradient), np.asarray(gradient_c))
        assert value.item() == value_c.item()
    assert compiled.signatures == 1


def test_no_random_number_is_drawn_in_evaluation_or_for_p_zero() -> None:
    mg.random.seed(5)
    nn.Dropout(0.5).eval()(X)
    nn.Dropout(0.0)(X)
    assert mg.random.default_generator.stream.item() == 0
    nn.Dropout(0.5)(X)
    assert mg.random.default_generator.stream.item() == 1


def test_a_compiled_layer_follows_changes_of_mode_and_of_p() -> None:
    layer = nn.Dropout(0.5)
    compiled = mg.compile(layer)
    compiled(X)
    layer.eval()
    assert np.array_equal(np.asarray(compiled(X)), X)
    layer.train()
    layer.p = 0.0
    assert np.array_equal(np.asarray(compiled(X)), X)
    layer.p = 0.5
    assert not np.array_equal(np.asarray(compiled(X)), X)
    assert compiled.signatures == 3


def test_dropped_infinities_and_nans_are_zero_not_nan() -> None:
    mg.random.seed(0)
    y = np.asarray(F.dropout(np.full(1000, np.inf), 0.5))
    assert set(np.unique(y)) == {0.0, np.inf}


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_p_out_of_range_is_refused_with_the_rule(p) -> None:
    for make in (
        nn.Dropout,
        lambda p: nn.DropConnect(nn.Linear(2, 2), p),
        lambda p: F.dropout(X, p),
    ):
        with pytest.raises(mg.errors.DataError, match=rf"p = {p} is out of range") as caught:
            make(p)
        assert "probability of dropping" in str(caught.value)
    layer = nn.Sequential(nn.Dropout(0.5))
    layer[0].p = p
    with pytest.raises(mg.errors.DataError, match=r"^model\.0 \(Dropout\): p"):
        layer(X)
    with pytest.raises(mg.errors.DataError, match="mode = 'weird'"):
        nn.Dropout(0.5, "weird")


@pytest.mark.parametrize("mode", ["inverted", "standard"])
def test_drop_connect_masks_the_weights(mode) -> None:
    """B6: y = x (W mask scale)^T + b, and the gradient by W is masked alike."""
    p, scale = 0.25, 1 / 0.75 if mode == "inverted" else 1.0
    linear = nn.Linear(6, 5, dtype=mg.float64)
    linear.weight.assign(np.abs(linear.weight.numpy()) + 0.1)
    layer = nn.DropConnect(linear, p, mode)
    x, delta = np.eye(6), np.random.default_rng(1).normal(size=(6, 5))
    w, b = linear.weight.numpy(), linear.bias.numpy()
    y = layer(x)
    dropped = (np.asarray(y) - b).T  # x is the identity, so this is the masked weight
    mask = np.abs(dropped) > 1e-12
    assert_close(dropped, w * mask * scale, atol=1e-14)
    assert 0 < mask.mean() < 1
    y.backward(delta)
    assert_close(linear.weight.grad, delta.T * mask * scale, atol=1e-14)
    assert_close(linear.bias.grad, delta.sum(0))
    expected = w if mode == "inverted" else (1 - p) * w
    assert_close(layer.eval()(x), expected.T + b)


def test_drop_connect_wraps_any_layer_and_keeps_its_parameters() -> None:
    conv = nn.Conv2d(2, 3, 3)
    net = nn.Sequential(nn.DropConnect(conv, 0.5), nn.ReLU())
    assert [n for n, _ in net.named_parameters()] == ["0.layer.weight", "0.layer.bias"]
    assert conv.weight.name == "0.layer.weight"
    x = np.ones((1, 2, 5, 5), np.float32)
    assert not np.array_equal(np.asarray(net(x)), np.asarray(net(x)))
    grads = mg.grad(lambda m: m(x).sum())(net)
    assert grads[0].layer.weight.shape == (3, 2, 3, 3)
    with pytest.raises(mg.errors.DataError, match="no parameter 'weight'"):
        nn.DropConnect(nn.ReLU())
    with pytest.raises(mg.errors.DataError, match="not a layer"):
        nn.DropConnect(0.5)
