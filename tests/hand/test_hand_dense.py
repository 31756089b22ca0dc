"""Linear, embedding, one-hot, normalize, flatten: values and gradients by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp, numerical_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

SIZE = st.integers(1, 5)


@settings(max_examples=30, deadline=None)
@given(lead=st.lists(SIZE, max_size=2), n=SIZE, k=SIZE, seed=st.integers(0, 10**6))
def test_linear_value_and_gradients_match_the_formula(lead, n, k, seed) -> None:
    rng = np.random.default_rng(seed)
    x, w, b = rng.normal(size=(*lead, n)), rng.normal(size=(k, n)), rng.normal(size=k)
    delta = rng.normal(size=(*lead, k))
    rows, deltas = x.reshape(-1, n), delta.reshape(-1, k)
    hand = (delta @ w, deltas.T @ rows, deltas.sum(0))
    assert_value_and_vjp(F.linear, (x, w, b), x @ w.T + b, delta, hand)


@pytest.mark.parametrize("training", [True, False])
def test_linear_layer_is_the_function_with_its_parameters(training) -> None:
    layer = nn.Linear(3, 2, dtype=mg.float64).train(training)
    x = np.random.default_rng(0).normal(size=(4, 3))
    w, b = layer.weight.numpy(), layer.bias.numpy()
    assert w.shape == (2, 3)
    assert_close(layer(x), x @ w.T + b)
    layer(x).sum().backward()
    assert_close(layer.weight.grad, np.ones((4, 2)).T @ x)
    assert_close(layer.bias.grad, [4.0, 4.0])
    assert nn.Linear(3, 2, bias=False).bias is None


def test_linear_starts_uniform_within_one_over_the_root_of_fan_in() -> None:
    mg.random.seed(3)
    layer = nn.Linear(400, 300)
    w = layer.weight.numpy()
    assert np.abs(w).max() <= 1 / 20
    assert w.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.01)
    assert np.abs(layer.bias.numpy()).max() <= 1 / 20


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(SIZE, max_size=3), n=SIZE, d=SIZE, seed=st.integers(0, 10**6))
def test_embedding_value_and_gradient_match_the_formula(shape, n, d, seed) -> None:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, n, size=shape)
    table, delta = rng.normal(size=(n, d)), rng.normal(size=(*shape, d))
    hand = np.zeros((n, d))
    for at in np.ndindex(*shape):  # equal indices add up
        hand[index[at]] += delta[at]
    assert_value_and_vjp(lambda w: F.embedding(index, w), (table,), table[index], delta, (hand,))


def test_embedding_padding_row_is_zero_and_receives_no_gradient() -> None:
    layer = nn.Embedding(4, 3, padding_idx=-1)
    assert_close(layer.weight.numpy()[3], np.zeros(3))
    layer([0, 3, 3, 1]).sum().backward()
    assert_close(layer.weight.grad, [[1] * 3, [1] * 3, [0] * 3, [0] * 3])


@pytest.mark.parametrize("wrong", [-1, 5])
def test_embedding_refuses_an_index_out_of_range(wrong) -> None:
    layer = nn.Embedding(5, 2)
    with pytest.raises(mg.errors.DataError, match=rf"embedding: index: {wrong} is out of range"):
        layer(np.array([0, wrong]))
    compiled = mg.compile(layer)
    with pytest.raises(mg.errors.DataError, match=f"{wrong} is out of range"):
        compiled(np.array([0, wrong]))


def test_embedding_refuses_floats_with_a_repair() -> None:
    with pytest.raises(mg.errors.DtypeError, match=r"integers, got float64") as caught:
        nn.Embedding(5, 2)(np.array([0.0, 1.0]))
    assert "astype(mg.int64)" in str(caught.value)


def test_one_hot_rows_have_a_single_one() -> None:
    labels = np.array([[0, 2], [1, 1]])
    found = F.one_hot(labels, 4)
    assert found.dtype == mg.int64
    assert_close(found, np.eye(4)[labels])
    assert F.one_hot(labels).shape == (2, 2, 3)
    with pytest.raises(mg.errors.DataError, match="2 is out of range"):
        F.one_hot(labels, 2)
    with pytest.raises(mg.errors.DtypeError):
        F.one_hot([0.5], 2)
    with pytest.raises(mg.errors.TraceError, match="num"):
        mg.trace(F.one_hot, labels)


@settings(max_examples=20, deadline=None)
@given(n=SIZE, k=SIZE, seed=st.integers(0, 10**6))
def test_normalize_value_and_gradient_match_the_formula(n, k, seed) -> None:
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, n, k))
    length = np.sqrt((x * x).sum(1, keepdims=True))
    y = x / length
    hand = (delta - y * (delta * y).sum(1, keepdims=True)) / length
    assert_value_and_vjp(F.normalize, (x,), y, delta, (hand,), rtol=1e-8)


@pytest.mark.parametrize("p", [1.0, 3.0, float("inf")])
def test_normalize_by_other_lengths(p) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4))
    y = x / np.linalg.norm(x, ord=p, axis=1, keepdims=True)
    delta = np.random.default_rng(2).normal(size=(3, 4))
    f = lambda t: F.normalize(t, p)
    (numeric,) = numerical_vjp(f, (x,), delta)
    out, pullback = mg.vjp(f, x)
    assert_close(out, y)
    assert_close(pullback(delta)[0], numeric, rtol=1e-6, atol=1e-7)


def test_normalize_of_zeros_is_zero_with_a_finite_derivative() -> None:
    for dtype in (mg.float16, mg.float32, mg.float64):
        x = mg.zeros((2, 3), dtype=dtype)
        assert_close(F.normalize(x), np.zeros((2, 3)))
        assert np.isfinite(np.asarray(mg.grad(lambda t: F.normalize(t).sum())(x))).all()


def test_flatten_and_unflatten_are_inverse_and_carry_the_gradient() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    flat = nn.Flatten()(x)
    assert_close(flat, x.reshape(2, 60))
    assert_close(nn.Unflatten(1, (3, -1, 5))(flat), x)
    assert nn.Flatten(0, 2)(x).shape == (24, 5)
    assert_close(mg.grad(lambda t: (nn.Flatten()(t) * flat).sum())(x), x)
    with pytest.raises(mg.errors.ShapeError, match="does not split"):
        nn.Unflatten(1, (7, 9))(flat)
    with pytest.raises(mg.errors.ShapeError, match="end_dim is before start_dim"):
        nn.Flatten(2, 1)(x)


def test_shape_errors_name_the_layer_by_its_path() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.fc1 = nn.Linear(784, 100)

        def forward(self, x):
            return self.fc1(x)

    pattern = r"^model\.fc1 \(Linear 784 -> 100\): input has 768 features"
    with pytest.raises(mg.errors.ShapeError, match=pattern) as caught:
        Net()(np.zeros((5, 768)))
    assert "f64[5, 768]" in str(caught.value)
    with pytest.raises(mg.errors.ShapeError, match=r"linear: input of shape \(2, 3\)"):
        F.linear(np.zeros((2, 3)), np.zeros((4, 5)))
    with pytest.raises(mg.errors.DataError, match="out_features = 0"):
        nn.Linear(3, 0)
    with pytest.raises(mg.errors.ShapeError, match="the weight has shape"):
        F.embedding([0], np.zeros(3))
    with pytest.raises(mg.errors.DataError, match="padding_idx = 5"):
        nn.Embedding(5, 2, padding_idx=5)
