"""Standardisation and min-max scaling (catalogue, section E)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.data import MinMax, Standardize
from minigrad.errors import CheckpointError, DataError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, [1.0, 100.0, 1e-3], size=(50, 3))
KINDS = (Standardize, MinMax)
DATA = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False),
)


def test_standardised_training_data_have_mean_0_and_deviation_1() -> None:
    z = Standardize().fit_transform(X)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(z, (X - X.mean(0)) / X.std(0), rtol=1e-12)


def test_min_max_training_data_fill_0_to_1() -> None:
    z = MinMax().fit_transform(X)
    np.testing.assert_array_equal(z.min(axis=0), 0.0)
    np.testing.assert_array_equal(z.max(axis=0), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_set_is_scaled_with_the_training_sets_numbers(kind: Any) -> None:
    train, test = X[:30], X[30:]
    expected = {
        Standardize: (test - train.mean(0)) / train.std(0),
        MinMax: (test - train.min(0)) / (train.max(0) - train.min(0)),
    }
    z = kind().fit(train).transform(test)
    np.testing.assert_allclose(z, expected[kind], rtol=1e-12)
    assert np.abs(z - kind().fit_transform(test)).max() > 0.01


@given(x=DATA, standard=st.booleans(), whole=st.booleans())
def test_the_inverse_gives_the_data_back(x: Any, standard: bool, whole: bool) -> None:
    scaler = (Standardize if standard else MinMax)(axis=None if whole else 0)
    z = scaler.fit_transform(x)
    assert np.isfinite(z).all()
    top = np.abs(x).max() + 1.0
    np.testing.assert_allclose(scaler.inverse_transform(z), x, rtol=1e-9, atol=1e-9 * top)
    if not standard:
        assert (z >= 0).all()
        assert (z <= 1 + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e30, -7.0])
def test_a_constant_feature_becomes_0_and_nothing_is_divided_by_0(kind: Any, value: float) -> None:
    x = X.copy()
    x[:, 1] = value
    scaler = kind().fit(x)
    z = scaler.transform(x)
    assert np.isfinite(z).all()
    np.testing.assert_allclose(z[:, 1], 0.0, atol=1e-15 * (1 + abs(value)))
    np.testing.assert_allclose(scaler.inverse_transform(z)[:, 1], value)
    other = scaler.transform(x + 1.0)
    assert np.isfinite(other).all()


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_scaled_like_arrays_and_gradients_pass(kind: Any) -> None:
    scaler = kind().fit(mg.tensor(X))
    t = mg.tensor(X, requires_grad=True)
    z = scaler.transform(t)
    assert isinstance(z, mg.Tensor)
    np.testing.assert_array_equal(z.numpy(), scaler.transform(X))
    z.sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), np.broadcast_to(1 / scaler.scale, X.shape))
    np.testing.assert_allclose(scaler.inverse_transform(z).numpy(), X, rtol=1e-12)
    compiled = mg.compile(scaler.transform)
    np.testing.assert_array_equal(compiled(mg.tensor(X)).numpy(), z.numpy())


def test_floats_keep_their_dtype_and_integers_become_the_default() -> None:
    pixels = RNG.integers(0, 256, (20, 4)).astype(np.uint8)
    scaler = MinMax(axis=None).fit(pixels)
    assert scaler.transform(pixels).dtype == np.float32
    assert scaler.transform(mg.tensor(pixels)).dtype == np.float32
    assert Standardize().fit_transform(X.astype(np.float32)).dtype == np.float32
    large = (X[:, :1] + 1e7).astype(np.float64)  # beyond float32: statistics are float64
    assert np.abs(Standardize().fit_transform(large).std() - 1) < 1e-6


def test_axes_choose_what_a_feature_is() -> None:
    images = RNG.normal([[[[0.0]], [[5.0]]]], 1.0, size=(10, 2, 4, 4))
    scaler = Standardize(axis=(0, 2, 3)).fit(images)
    assert scaler.shift.shape == (1, 2, 1, 1)
    z = scaler.transform(images)
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0.0, atol=1e-12)
    whole = Standardize(axis=None).fit(images)
    assert whole.shift.shape == ()
    assert whole.transform(images[0, 0]).shape == (4, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_scaled_is_refused(kind: Any) -> None:
    with pytest.raises(DataError, match=r"not fitted yet(.|\n)*fit_transform"):
        kind().transform(X)
    with pytest.raises(DataError, match="2 of 150 values are NaN"):
        kind().fit(np.where(np.arange(150).reshape(50, 3) < 2, np.nan, X))
    with pytest.raises(DataError, match="no data"):
        kind().fit(X[:0])
    for shape in ((50, 2), (3,), (50, 3, 1)):
        with pytest.raises(ShapeError, match="features of the training set"):
            kind().fit(X).transform(np.zeros(shape))
    with pytest.raises(ShapeError, match="axis 5"):
        kind(axis=5).fit(X)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_numbers_are_taken_over(kind: Any) -> None:
    scaler, other = kind().fit(X), kind()
    assert other.state_dict() == {"shift": None, "scale": None}
    other.load_state_dict(scaler.state_dict())
    np.testing.assert_array_equal(other.transform(X), scaler.transform(X))
    for state in ({}, {"shift": X, "scale": None}, {"shift": X, "scale": X[0]}):
        with pytest.raises(CheckpointError):
            other.load_state_dict(state)
    np.testing.assert_array_equal(other.transform(X), scaler.transform(X))
    other.load_state_dict({"shift": None, "scale": None})
    assert other.shift is None
    assert "fitted to 3 features" in repr(scaler)
    assert "not fitted" in repr(other)
