"""The checkers of these tests, in cases in which they must fail."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp, numerical_vjp, second_derivative

import minigrad as mg

X = np.array([0.5, -1.0, 2.0])


def test_comparison_fails_on_a_relative_error_of_a_millionth_and_on_a_shape() -> None:
    assert_close(X, X)
    with pytest.raises(AssertionError):
        assert_close(X * (1 + 1e-6), X)
    with pytest.raises(AssertionError):
        assert_close(X, X[None])


def test_a_wrong_value_or_gradient_is_found() -> None:
    assert_value_and_vjp(mg.sin, (X,), np.sin(X), X, (X * np.cos(X),))
    with pytest.raises(AssertionError):
        assert_value_and_vjp(mg.sin, (X,), np.sin(X) * 1.001, X, (X * np.cos(X),))
    with pytest.raises(AssertionError):
        assert_value_and_vjp(mg.sin, (X,), np.sin(X), X, (X * np.cos(X) * 1.001,))
    with pytest.raises(ValueError, match="zip"):
        assert_value_and_vjp(mg.sin, (X,), np.sin(X), X, ())


def test_central_differences_and_second_derivatives_are_what_they_claim() -> None:
    (found,) = numerical_vjp(np.sin, (X,), X)
    np.testing.assert_allclose(found, X * np.cos(X), rtol=1e-8)
    assert not np.allclose(found, X * np.cos(X) * 1.001, rtol=1e-8)
    assert_close(second_derivative(mg.sin, X), -np.sin(X))
