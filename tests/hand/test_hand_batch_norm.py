"""Batch normalisation: catalogue rows C1 to C7, every intermediate of the hand derivation."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close, numerical_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from tests.agreement import agree

EPS = 1e-5


def by_hand(x, gamma, beta, delta, eps=EPS, axis=1):
    """Return y and the gradient of every intermediate: row C2, letter by letter."""
    axes = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    m = x.size // x.shape[axis]
    total = lambda t: t.sum(axes, keepdims=True)
    g = gamma.reshape(shape)
    mu = total(x) / m
    var = total((x - mu) ** 2) / m
    u = (x - mu) / np.sqrt(var + eps)
    d_u = delta * g
    d_var = total(d_u * (x - mu) * -0.5 * (var + eps) ** -1.5)
    d_mu = total(d_u * (-1 / np.sqrt(var + eps)))
    return g * u + beta.reshape(shape), {
        "weight": total(delta * u).reshape(-1),
        "bias": total(delta).reshape(-1),
        "u": d_u,
        "var": d_var,
        "mu": d_mu,
        "x": d_u / np.sqrt(var + eps) + d_var * 2 * (x - mu) / m + d_mu / m,
    }


def normalised(x, weight, bias, axis=1):
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS, channel_axis=axis)


SHAPES = st.sampled_from([(6, 3), (2, 3), (4, 2, 5), (2, 3, 4, 2), (3, 2, 2, 1, 2)])


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, last=st.booleans(), seed=st.integers(0, 10**6))
def test_every_intermediate_matches_the_hand_derivation(shape, last, seed) -> None:
    axis = -1 if last else 1
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, *shape))
    gamma, beta = rng.normal(size=(2, shape[axis]))
    y, hand = by_hand(x, gamma, beta, delta, axis=axis)
    graph = mg.trace(lambda x, weight, bias: normalised(x, weight, bias, axis), x, gamma, beta)
    names = ["weight", "bias", "u", "var", "mu", "x"]
    out, *gradients = graph.grad(wrt=names, cotangent=delta)(x, gamma, beta)
    assert_close(out, y)
    for name, found in zip(names, gradients, strict=True):
        assert_close(found, hand[name], atol=1e-8 if name in ("var", "mu") else 1e-9)


def test_batch_norm_gradients_match_central_differences() -> None:
    rng = np.random.default_rng(3)
    args = rng.normal(size=(5, 3, 2)), rng.normal(size=3), rng.normal(size=3)
    out, pullback = mg.vjp(normalised, *args)
    delta = rng.normal(size=out.shape)
    for found, wanted in zip(pullback(delta), numerical_vjp(normalised, args, delta), strict=True):
        assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_the_path_from_variance_to_mean_is_kept_and_is_zero() -> None:
    """C2: its derivative is -2 sum(x - mu) / m, which vanishes; nothing is left out by hand."""
    x = np.random.default_rng(0).normal(size=(6, 3))
    graph = mg.trace(lambda x: normalised(x, None, None), x)
    mu, var = graph.node("mu"), graph.node("var")
    part = mg.core.Graph(graph.inputs, [var]).grad(wrt=[mu], cotangent=np.ones((1, 3)))
    assert any(n is mu for n in part.nodes)
    _, d_mu = part(x)
    assert_close(d_mu, np.zeros((1, 3)), atol=1e-15)
    assert any(n.partner is var or n.partner in var.inputs for n in part.nodes)


@pytest.mark.parametrize("axis", [1, -1])
def test_output_has_mean_beta_and_deviation_gamma(axis) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(3.0, 5.0, size=(64, 4, 4))
    gamma, beta = np.array([1.0, 2.0, -3.0, 0.5]), np.array([0.0, 1.0, -2.0, 7.0])
    y = np.asarray(normalised(x, gamma, beta, axis))
    axes = (0, 2) if axis == 1 else (0, 1)
    assert_close(y.mean(axes), beta, atol=1e-12)
    assert_close(y.std(axes), np.abs(gamma), rtol=1e-6)


def test_gamma_sigma_and_beta_mu_give_back_x() -> None:
    """C6."""
    x = np.random.default_rng(2).normal(2.0, 3.0, size=(8, 3))
    gamma, beta = np.sqrt(x.var(0) + EPS), x.mean(0)
    assert_close(normalised(x, gamma, beta), x, rtol=1e-12)


def test_a_bias_before_batch_norm_is_redundant() -> None:
    """C7: its gradient is zero up to rounding, and changing it changes nothing."""
    net = nn.Sequential(nn.Linear(5, 4, dtype=mg.float64), nn.BatchNorm(4, dtype=mg.float64))
    x = np.random.default_rng(0).normal(size=(7, 5))
    delta = np.random.default_rng(1).normal(size=(7, 4))
    before = net(x)
    before.backward(delta)
    assert np.abs(np.asarray(net[0].bias.grad)).max() < 1e-14
    assert np.abs(np.asarray(net[0].weight.grad)).max() > 0.01
    assert np.abs(np.asarray(net[1].bias.grad)).min() > 0.01  # beta takes its place
    net[0].bias.assign(net[0].bias + 10.0)
    assert_close(net(x), before, rtol=1e-12, atol=1e-12)


def test_one_gamma_and_beta_per_channel_after_a_convolution() -> None:
    """C3: 64 trainable scalars for (64, 128, 128, 32), channels last."""
    layer = nn.BatchNorm(32, channel_axis=-1)
    assert sum(p.size for p in layer.parameters()) == 64
    assert mg.trace(layer, mg.spec((64, 128, 128, 32))).outputs[0].aval.shape == (64, 128, 128, 32)


@pytest.mark.parametrize("axis", [1, -1])
def test_running_statistics_follow_mean_and_unbiased_variance(axis) -> None:
    """C4."""
    rng = np.random.default_rng(4)
    layer = nn.BatchNorm(3, momentum=0.2, channel_axis=axis, dtype=mg.float64)
    mean, var = np.zeros(3), np.ones(3)
    axes = (0, 2) if axis == 1 else (0, 1)
    for _ in range(3):
        x = rng.normal(2.0, 3.0, size=(5, 3, 3))
        layer(x)
        mean = 0.8 * mean + 0.2 * x.mean(axes)
        var = 0.8 * var + 0.2 * x.var(axes, ddof=1)
    assert_close(layer.running_mean, mean, rtol=1e-13)
    assert_close(layer.running_var, var, rtol=1e-13)
    assert layer.num_batches_tracked.item() == 3


def test_evaluation_uses_running_statistics_even_for_one_sample() -> None:
    rng = np.random.default_rng(5)
    layer = nn.BatchNorm(3, dtype=mg.float64)
    layer(rng.normal(size=(8, 3)))
    layer.weight.assign(rng.normal(size=3))
    layer.bias.assign(rng.normal(size=3))
    layer.eval()
    mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
    scale = layer.weight.numpy() / np.sqrt(var + EPS)
    x, delta = rng.normal(size=(2, 1, 3))
    out, pullback = mg.vjp(layer, x)
    assert_close(out, (x - mean) * scale + layer.bias.numpy())
    assert_close(pullback(delta)[0], delta * scale)
    assert_close(layer.running_mean, mean, rtol=0, atol=0)
    assert layer.num_batches_tracked.item() == 1


def test_momentum_none_averages_all_batches() -> None:
    rng = np.random.default_rng(6)
    layer = nn.BatchNorm(2, momentum=None, dtype=mg.float64)
    batches = rng.normal(size=(5, 4, 2))
    for x in batches:
        layer(x)
    assert_close(layer.running_mean, batches.mean((0, 1)), rtol=1e-12)
    assert_close(layer.running_var, batches.var(1, ddof=1).mean(0), rtol=1e-12)


def test_no_gradient_flows_through_the_running_statistics() -> None:
    layer = nn.BatchNorm(2, dtype=mg.float64)

    def f(x):
        layer.training = True
        layer(x)
        return (layer.running_mean + layer.running_var).sum()

    x = np.random.default_rng(0).normal(size=(4, 2))
    assert_close(mg.trace(f, x).grad(wrt=["x"])(x)[1], np.zeros((4, 2)))


def test_population_statistics_are_averages_over_all_minibatches() -> None:
    """C5."""
    rng = np.random.default_rng(7)
    net = nn.Sequential(
        nn.Linear(3, 4, dtype=mg.float64),
        nn.BatchNorm(4, statistics="population", dtype=mg.float64),
        nn.Dropout(0.5),
        nn.BatchNorm(4, statistics="population", dtype=mg.float64),
    )
    net[2].eval()
    batches = [(rng.normal(size=(m, 3)), None) for m in (6, 6, 4)]
    nn.population_statistics(net, batches)
    inside = [np.asarray(net[0](x)) for x, _ in batches]
    mean = np.mean([h.mean(0) for h in inside], 0)
    var = np.mean([h.var(0) * len(h) / (len(h) - 1) for h in inside], 0)
    assert_close(net[1].running_mean, mean, rtol=1e-12)
    assert_close(net[1].running_var, var, rtol=1e-12)
    # the second layer saw the first one's output normalised by each batch, without dropout
    second = [(h - h.mean(0)) / np.sqrt(h.var(0) + EPS) for h in inside]
    assert_close(net[3].running_var, np.mean([h.var(0, ddof=1) for h in second], 0), rtol=1e-12)
    assert [m.training for m in net] == [True, True, False, True]
    assert net[1].momentum == 0.1
    assert net[1].statistics == "population"
    x = rng.normal(size=(1, 3))
    u = (np.asarray(net[0](x)) - mean) / np.sqrt(var + EPS)
    assert_close(net[:2].eval()(x), u)


def test_population_layer_normalises_by_the_batch_in_training_and_keeps_nothing() -> None:
    layer = nn.BatchNorm(3, statistics="population", dtype=mg.float64)
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert_close(layer(x), (x - x.mean(0)) / np.sqrt(x.var(0) + EPS))
    assert_close(layer.running_mean, np.zeros(3))
    with pytest.raises(mg.errors.MinigradError, match="no population statistics") as caught:
        layer.eval()(x)
    assert "nn.population_statistics" in str(caught.value)
    compiled = mg.compile(layer.train())
    nn.population_statistics(layer, [x])
    layer.eval()
    assert_close(compiled(x), (x - x.mean(0)) / np.sqrt(x.var(0, ddof=1) + EPS))


def test_population_statistics_leave_the_model_alone_on_failure() -> None:
    layer = nn.BatchNorm(2)
    layer(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    before = {name: cell.numpy() for name, cell in layer.state_dict().items()}
    for batches, error in [([], mg.errors.DataError), ([np.zeros((4, 3))], mg.errors.ShapeError)]:
        with pytest.raises(error):
            nn.population_statistics(layer, batches)
        for name, cell in layer.state_dict().items():
            assert_close(cell, before[name], rtol=0, atol=0)
        assert layer.training
        assert layer.momentum == 0.1
    with pytest.raises(mg.errors.DataError, match="has no BatchNorm"):
        nn.population_statistics(nn.Linear(2, 2), [np.zeros((2, 2))])


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_are_the_batchs_own_in_both_modes(training) -> None:
    layer = nn.BatchNorm(3, statistics="batch", dtype=mg.float64).train(training)
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert_close(layer(x), (x - x.mean(0)) / np.sqrt(x.var(0) + EPS))
    assert list(layer.buffers()) == []


def test_the_statistics_of_a_trained_layer_may_be_changed_to_the_batchs() -> None:
    layer = nn.BatchNorm(3, dtype=mg.float64)
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(5, 3))
    layer(x)
    compiled = mg.compile(layer.eval())
    kept = np.asarray(compiled(x))
    layer.statistics = "batch"
    u = (x - x.mean(0)) / np.sqrt(x.var(0) + EPS)
    assert_close(layer(x), u)
    assert_close(compiled(x), u)
    assert np.abs(kept - u).max() > 0.1
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize("affine", [True, False])
def test_layer_gradients_match_the_hand_derivation(affine) -> None:
    rng = np.random.default_rng(8)
    x, delta = rng.normal(size=(2, 6, 3, 2))
    layer = nn.BatchNorm(3, affine=affine, dtype=mg.float64)
    gamma, beta = np.ones(3), np.zeros(3)
    if affine:
        gamma, beta = rng.normal(size=(2, 3))
        layer.weight.assign(gamma)
        layer.bias.assign(beta)
    y, hand = by_hand(x, gamma, beta, delta)
    out, pullback = mg.vjp(layer, x)
    assert_close(out, y)
    assert_close(pullback(delta)[0], hand["x"])
    assert [n for n, _ in layer.named_parameters()] == (["weight", "bias"] if affine else [])
    if affine:
        layer(x).backward(delta)
        assert_close(layer.weight.grad, hand["weight"])
        assert_close(layer.bias.grad, hand["bias"])


def test_one_value_per_channel_is_refused_and_changes_nothing() -> None:
    layer = nn.BatchNorm(3)
    with pytest.raises(mg.errors.ShapeError, match="1 value for each mean and variance") as caught:
        layer(np.zeros((1, 3), np.float32))
    assert "model.eval()" in str(caught.value)
    assert layer.num_batches_tracked.item() == 0
    assert layer(np.zeros((1, 3, 2), np.float32)).shape == (1, 3, 2)
    with pytest.raises(mg.errors.ShapeError, match="0 values"):
        layer(np.zeros((0, 3), np.float32))


def test_channels_are_checked_by_the_layer_and_by_the_function() -> None:
    net = nn.Sequential(nn.BatchNorm(4))
    with pytest.raises(mg.errors.ShapeError, match=r"^model\.0 \(BatchNorm 4\): input of shape"):
        net(np.zeros((2, 3)))
    with pytest.raises(mg.errors.ShapeError, match="input has 3 channels on axis 1"):
        F.batch_norm(np.zeros((2, 3)), np.zeros(4), np.ones(4))
    with pytest.raises(mg.errors.DataError, match="statistics = 'all'"):
        nn.BatchNorm(3, statistics="all")
    with pytest.raises(mg.errors.DataError, match="momentum = 2"):
        nn.BatchNorm(3, momentum=2.0)
    with pytest.raises(mg.errors.MinigradError, match=r"must be an mg\.Buffer"):
        F.batch_norm(np.ones((2, 3)), np.zeros(3), np.ones(3), training=True)


def test_float16_is_normalised_in_float32() -> None:
    x = (np.random.default_rng(0).normal(size=(4096, 2)) * 100 + 300).astype(np.float16)
    y = nn.BatchNorm(2)(x)
    assert y.dtype == mg.float16
    wide = x.astype(np.float64)
    wanted = (wide - wide.mean(0)) / wide.std(0)
    assert_close(np.asarray(y, np.float64), wanted, rtol=2e-3, atol=2e-3)
    d_x = mg.grad(lambda t: nn.BatchNorm(2)(t).astype(mg.float32).sum())(x)
    assert np.isfinite(np.asarray(d_x)).all()


def test_compiled_step_updates_the_statistics_as_the_eager_one_does(backend: str) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    eager, compiled = nn.BatchNorm(3, dtype=mg.float64), nn.BatchNorm(3, dtype=mg.float64)
    step = mg.compile(compiled, backend=backend)
    for _ in range(3):
        agree(step(x), eager(x), backend)
    assert step.signatures == 1
    agree(list(compiled.buffers()), list(eager.buffers()), backend)
    compiled.eval()
    assert_close(step(x), eager.eval()(x))


def test_rescaling_the_weights_changes_nothing_and_the_gradient_is_orthogonal() -> None:
    """C9, for eps = 0."""
    rng = np.random.default_rng(9)
    x, w, delta = rng.normal(size=(8, 5)), rng.normal(size=(4, 5)), rng.normal(size=(8, 4))
    f = lambda w: (F.batch_norm(F.linear(x, w), None, None, training=True, eps=0.0) * delta).sum()
    assert_close(f(3.0 * w), f(w), rtol=1e-12)
    assert_close((np.asarray(mg.grad(f)(w)) * w).sum(1), np.zeros(4), atol=1e-12)
