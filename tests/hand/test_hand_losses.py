"""Losses against formulas by hand: reductions, weights, smoothing, extremes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

SHAPES = hnp.array_shapes(max_dims=3, max_side=4)
REDUCTIONS = ["mean", "sum", "none"]


def reduced(loss, slope, reduction, delta):
    """Return value, cotangent and gradient of a reduced elementwise loss."""
    if reduction == "none":
        return loss, delta, slope * delta
    factor = 1 / loss.size if reduction == "mean" else 1.0
    return loss.sum() * factor, np.ones(()), slope * factor


REGRESSION = {
    "mse": (F.mse_loss, nn.MSELoss, {}, lambda d: d * d, lambda d: 2 * d),
    "l1": (F.l1_loss, nn.L1Loss, {}, np.abs, np.sign),
    "smooth_l1": (
        F.smooth_l1_loss,
        nn.SmoothL1Loss,
        {"beta": 0.7},
        lambda d: np.where(np.abs(d) < 0.7, d * d / 1.4, np.abs(d) - 0.35),
        lambda d: np.clip(d / 0.7, -1, 1),
    ),
    "smooth_l1_zero": (F.smooth_l1_loss, nn.SmoothL1Loss, {"beta": 0.0}, np.abs, np.sign),
    "huber": (
        F.huber_loss,
        nn.HuberLoss,
        {"delta": 0.6},
        lambda d: np.where(np.abs(d) <= 0.6, d * d / 2, 0.6 * (np.abs(d) - 0.3)),
        lambda d: np.clip(d, -0.6, 0.6),
    ),
}


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 10**6))
def test_regression_loss_and_both_gradients_match(name, reduction, shape, seed) -> None:
    f, layer, options, value, slope = REGRESSION[name]
    x, t, delta = np.random.default_rng(seed).normal(size=(3, *shape))
    loss, cotangent, d_x = reduced(value(x - t), slope(x - t), reduction, delta)
    call = lambda x, t: f(x, t, reduction=reduction, **options)
    assert_value_and_vjp(call, (x, t), loss, cotangent, (d_x, -d_x))
    assert_close(layer(reduction=reduction, **options)(x, t), loss)


def test_l1_has_derivative_zero_at_zero() -> None:
    assert_close(mg.grad(lambda x: F.l1_loss(x, 0.0, "sum"))(np.zeros(3)), np.zeros(3))


# Classes --------------------------------------------------------------------------


def log_softmax(x, axis):
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def cross_entropy_by_hand(x, t, w, ignore, reduction, s, delta):
    """Return value, cotangent and gradient for labels, example by example."""
    classes = x.shape[1]
    logp = log_softmax(x, 1)
    losses, d_x, total = np.zeros(t.shape), np.zeros_like(x), 0.0
    for at in np.ndindex(t.shape):
        row = (at[0], slice(None), *at[1:])
        if t[at] == ignore:
            continue
        q = np.full(classes, s / classes)
        q[t[at]] += 1 - s
        q = q * w
        total += w[t[at]]
        losses[at] = -(q * logp[row]).sum()
        d_x[row] = np.exp(logp[row]) * q.sum() - q
    if reduction == "none":
        return losses, delta, d_x * np.expand_dims(delta, 1)
    factor = 1 / total if reduction == "mean" else 1.0
    return losses.sum() * factor, np.ones(()), d_x * factor


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 4),
    classes=st.integers(1, 5),
    spatial=st.lists(st.integers(1, 3), max_size=2),
    weighted=st.booleans(),
    ignore=st.sampled_from([-100, 0, 1]),
    reduction=st.sampled_from(REDUCTIONS),
    s=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_cross_entropy_of_labels_matches_the_formula(
    n, classes, spatial, weighted, ignore, reduction, s, seed
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, classes, *spatial)) * 3
    t = rng.integers(0, classes, size=(n, *spatial))
    t.flat[0] = -100 if ignore == -100 and t.size > 1 else t.flat[0]
    if (t == ignore).all():
        t.flat[0], ignore = 0, -100
    w = rng.uniform(0.5, 2.0, size=classes) if weighted else np.ones(classes)
    delta = rng.normal(size=t.shape)
    value, cotangent, d_x = cross_entropy_by_hand(x, t, w, ignore, reduction, s, delta)
    weight = w if weighted else None
    f = lambda x: F.cross_entropy(x, t, weight, ignore, reduction, s)
    assert_value_and_vjp(f, (x,), value, cotangent, (d_x,))
    layer = nn.CrossEntropyLoss(weight, ignore, reduction, s)
    assert_close(layer(x, t), value)
    if s == 0.0:
        logp = log_softmax(x, 1)
        nll = nn.NLLLoss(weight, ignore, reduction)
        assert_close(nll(logp, t), value)
        assert_close(F.nll_loss(logp, t, weight, ignore, reduction), value)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(3,), (2, 3), (2, 4, 2)]),
    reduction=st.sampled_from(REDUCTIONS),
    s=st.sampled_from([0.0, 0.2]),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_cross_entropy_of_probabilities_matches_the_formula(
    shape, reduction, s, weighted, seed
) -> None:
    rng = np.random.default_rng(seed)
    axis = min(1, len(shape) - 1)
    classes = shape[axis]
    x, t = rng.normal(size=shape), np.exp(log_softmax(rng.normal(size=shape), axis))
    w = rng.uniform(0.5, 2.0, size=classes) if weighted else np.ones(classes)
    column = w.reshape(classes, *(1,) * (len(shape) - axis - 1))
    logp = log_softmax(x, axis)
    q = (t * (1 - s) + s / classes) * column
    loss = -(q * logp).sum(axis)
    slope = np.exp(logp) * q.sum(axis, keepdims=True) - q
    f = lambda x: F.cross_entropy(x, t, w if weighted else None, -100, reduction, s)
    delta = rng.normal(size=loss.shape)
    factor = {"none": 1.0, "sum": 1.0, "mean": 1 / loss.size}[reduction]
    value = loss if reduction == "none" else loss.sum() * factor
    cotangent = delta if reduction == "none" else np.ones(())
    spread = np.expand_dims(delta, axis) if reduction == "none" else factor
    assert_value_and_vjp(f, (x,), value, cotangent, (slope * spread,))


def test_cross_entropy_by_the_targets_probabilities_has_a_gradient_too() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 3, 4))
    found = mg.grad(lambda t: F.cross_entropy(x, t))(t)
    assert_close(found, -log_softmax(x, 1) / 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_is_exact_for_logits_of_ten_thousand(dtype) -> None:
    x = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype)
    loss, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, [1, 2], reduction="sum"))(x)
    assert loss.item() == pytest.approx(2e4 + np.log(2), rel=1e-7)
    assert_close(gradient, [[1, -1, 0], [0, 0.5, -0.5]], atol=1e-6)
    masked = np.array([[0.0, -np.inf, 0.0]], dtype)  # a class that cannot be
    loss, gradient = mg.value_and_grad(lambda x: F.cross_entropy(x, [0]))(masked)
    assert loss.item() == pytest.approx(np.log(2))
    assert_close(gradient, [[-0.5, 0, 0.5]], atol=1e-7)


def test_label_smoothing_of_uniform_logits_is_the_logarithm_of_the_classes() -> None:
    for s in (0.0, 0.3, 1.0):
        loss = F.cross_entropy(np.zeros((2, 7)), [0, 6], label_smoothing=s)
        assert_close(loss, np.log(7))


def test_cross_entropy_takes_one_example_lists_and_every_integer_dtype() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    wanted = -log_softmax(x, 1)[np.arange(3), [0, 3, 1]].mean()
    assert_close(F.cross_entropy(x, [0, 3, 1]), wanted)
    for dtype in (np.uint8, np.int8, np.int32, np.uint64):
        assert_close(F.cross_entropy(x, np.array([0, 3, 1], dtype)), wanted)
    assert_close(F.cross_entropy(x[0], 2), -log_softmax(x, 1)[0, 2])


def test_ignored_examples_count_for_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    few = F.cross_entropy(x[1:], [2, 0])
    assert_close(F.cross_entropy(x, [-100, 2, 0]), few)
    assert_close(F.cross_entropy(x, [3, 2, 0], ignore_index=3), few)
    assert np.isnan(F.cross_entropy(x, [-100] * 3).item())  # the mean of nothing


@pytest.mark.parametrize("wrong", [10, -1, 255])
def test_a_label_out_of_range_is_named_with_the_range(wrong) -> None:
    x, t = np.zeros((4, 10)), np.array([0, 9, wrong, 3])
    for f in (F.cross_entropy, F.nll_loss, mg.compile(F.cross_entropy)):
        with pytest.raises(mg.errors.DataError, match=rf"label: {wrong} is out of range") as caught:
            f(x, t)
        assert "from 0 to 9" in str(caught.value)


def test_floating_labels_are_refused_with_a_repair() -> None:
    with pytest.raises(
        mg.errors.DtypeError, match="labels must be integers, got float64"
    ) as caught:
        F.cross_entropy(np.zeros((2, 3)), np.array([0.0, 2.0]))
    assert "labels.astype(mg.int64)" in str(caught.value)
    with pytest.raises(mg.errors.DtypeError):
        F.nll_loss(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(mg.errors.DtypeError, match="accuracy: labels must be integers"):
        F.accuracy(np.zeros((2, 3)), np.zeros(2))


def test_shapes_that_do_not_fit_are_refused() -> None:
    x = np.zeros((4, 10))
    with pytest.raises(mg.errors.ShapeError, match=r"have shape \(4,\), got \(5,\)"):
        F.cross_entropy(x, np.zeros(5, int))
    with pytest.raises(mg.errors.ShapeError, match="got") as caught:
        F.cross_entropy(x, np.zeros((4, 10), int))
    assert "argmax" in str(caught.value)
    with pytest.raises(mg.errors.ShapeError, match="has no classes"):
        F.cross_entropy(np.zeros((4, 0)), np.zeros(4, int))
    with pytest.raises(mg.errors.ShapeError, match="weight has shape"):
        F.cross_entropy(x, np.zeros(4, int), weight=np.ones(3))
    for f in (F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, F.kl_div):
        with pytest.raises(mg.errors.ShapeError, match=r"input has shape \(4, 1\), target \(4,\)"):
            f(np.zeros((4, 1)), np.zeros(4))
    for f in (F.binary_cross_entropy, F.binary_cross_entropy_with_logits):
        with pytest.raises(mg.errors.ShapeError, match="target"):
            f(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(mg.errors.ShapeError, match="accuracy"):
        F.accuracy(x, np.zeros(3, int))


def test_unknown_options_are_refused() -> None:
    x, t = np.zeros((2, 3)), np.zeros(2, int)
    for f, args in [
        (F.mse_loss, (x, x)),
        (F.cross_entropy, (x, t)),
        (F.cross_entropy, (x, x)),
        (F.binary_cross_entropy, (x, x)),
        (F.kl_div, (x, x)),
    ]:
        with pytest.raises(mg.errors.DataError, match="reduction = 'average'"):
            f(*args, reduction="average")
    with pytest.raises(mg.errors.DataError, match=r"label_smoothing = 1\.5"):
        F.cross_entropy(x, t, label_smoothing=1.5)
    with pytest.raises(mg.errors.DataError, match="beta = -1"):
        F.smooth_l1_loss(x, x, beta=-1)
    with pytest.raises(mg.errors.DataError, match="delta = 0"):
        F.huber_loss(x, x, delta=0)


def test_accuracy_is_the_fraction_of_largest_logits_at_the_label() -> None:
    x = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert F.accuracy(x, [1, 0, 0, 0]).item() == 0.75
    assert F.accuracy(x[0], 1).item() == 1.0


# Yes or no ------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, weighted=st.booleans(), seed=st.integers(0, 10**6))
def test_binary_cross_entropies_match_the_formulas(reduction, shape, weighted, seed) -> None:
    rng = np.random.default_rng(seed)
    z, t, delta = rng.normal(size=shape), rng.uniform(size=shape), rng.normal(size=shape)
    w, v = (rng.uniform(0.5, 2, size=shape) for _ in "wv") if weighted else (1.0, 1.0)
    weight, positive = (w, v) if weighted else (None, None)
    p = 1 / (1 + np.exp(-z))
    loss = -w * (v * t * np.log(p) + (1 - t) * np.log(1 - p))
    slope = w * ((1 - t) * p - v * t * (1 - p))
    value, cotangent, d_z = reduced(loss, slope, reduction, delta)
    f = lambda z: F.binary_cross_entropy_with_logits(z, t, weight, reduction, positive)
    assert_value_and_vjp(f, (z,), value, cotangent, (d_z,))
    assert_close(nn.BCEWithLogitsLoss(weight, reduction, positive)(z, t), value)
    loss = -w * (t * np.log(p) + (1 - t) * np.log(1 - p))
    value, cotangent, d_p = reduced(loss, w * (p - t) / (p * (1 - p)), reduction, delta)
    f = lambda p: F.binary_cross_entropy(p, t, weight, reduction)
    assert_value_and_vjp(f, (p,), value, cotangent, (d_p,))
    assert_close(nn.BCELoss(weight, reduction)(p, t), value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_certain_answers_is_finite(dtype) -> None:
    p, t = np.array([0.0, 1.0, 0.0, 1.0], dtype), np.array([0, 1, 1, 0], dtype)
    f = lambda p: F.binary_cross_entropy(p, t, reduction="none")
    loss, pullback = mg.vjp(f, p)
    assert_close(loss, [0, 0, 100, 100])
    assert np.isfinite(np.asarray(pullback(np.ones(4, dtype))[0])).all()
    assert np.isnan(F.binary_cross_entropy(np.array([-0.1], dtype), np.zeros(1, dtype)).item())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_cost_what_they_should(dtype) -> None:
    z = np.array([1e4, 1e4, -1e4, -1e4, 50.0, -50.0], dtype)
    t = np.array([1, 0, 1, 0, 1, 0], dtype)
    f = lambda z: F.binary_cross_entropy_with_logits(z, t, reduction="none")
    loss, pullback = mg.vjp(f, z)
    small = np.exp(-50.0)
    assert_close(loss, [0, 1e4, 1e4, 0, small, small], rtol=1e-6, atol=0)
    assert_close(pullback(np.ones(6, dtype))[0], [0, 1, -1, 0, -small, small], rtol=1e-6, atol=0)
    bend = mg.hvp(lambda z: f(z).sum(), (z,), (np.ones(6, dtype),))[0]
    assert_close(bend, [0, 0, 0, 0, small, small], rtol=1e-6, atol=0)


def test_binary_gradient_at_zero_logit_is_half_minus_target() -> None:
    t = np.array([0.0, 0.3, 1.0])
    f = lambda z: F.binary_cross_entropy_with_logits(z, t, reduction="sum")
    assert_close(mg.grad(f)(np.zeros(3)), 0.5 - t)


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_divergence_matches_the_formula(log_target, reduction) -> None:
    rng = np.random.default_rng(0)
    x = log_softmax(rng.normal(size=(3, 4)), 1)
    t = np.exp(log_softmax(rng.normal(size=(3, 4)), 1))
    given_t = np.log(t) if log_target else t
    loss, delta = t * (np.log(t) - x), rng.normal(size=(3, 4))
    d_t = t * (np.log(t) - x + 1) if log_target else np.log(t) - x + 1
    if reduction == "batchmean":
        value, cotangent, d_x, d_t = loss.sum() / 3, np.ones(()), -t / 3, d_t / 3
    else:
        value, cotangent, d_x = reduced(loss, -t, reduction, delta)
        _, _, d_t = reduced(loss, d_t, reduction, delta)
    f = lambda x, t: F.kl_div(x, t, reduction, log_target)
    assert_value_and_vjp(f, (x, given_t), value, cotangent, (d_x, d_t))
    assert_close(nn.KLDivLoss(reduction, log_target)(x, given_t), value)


def test_divergence_of_impossible_classes_is_zero_not_nan() -> None:
    x, t = np.log([0.5, 0.5]), np.array([1.0, 0.0])
    value, gradients = mg.value_and_grad(lambda x, t: F.kl_div(x, t, "sum"), argnums=(0, 1))(x, t)
    assert value.item() == pytest.approx(np.log(2))
    assert np.isfinite(np.asarray(gradients)).all()


def test_class_weights_are_state_that_moves_with_the_loss() -> None:
    loss = nn.CrossEntropyLoss(weight=np.array([1.0, 3.0]))
    assert list(loss.state_dict()) == ["weight"]
    step = mg.compile(loss)
    x, t = np.array([[1.0, 2.0], [0.5, 0.1]]), np.array([0, 1])
    before = step(x, t).item()
    loss.weight.assign([1.0, 1.0])
    assert step(x, t).item() == pytest.approx(F.cross_entropy(x, t).item())
    assert step(x, t).item() != before
    assert step.signatures == 1
