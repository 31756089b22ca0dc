"""The L2 penalty in the eigenbasis of the Hessian: catalogue row G4."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError, ShapeError
from minigrad.train import l2_shrinkage

RNG = np.random.default_rng(0)
SCALES = np.array([3.0, 1.0, 1.0, 0.3, 0.1])
X = RNG.normal(size=(40, 5)) * SCALES @ np.linalg.qr(RNG.normal(size=(5, 5)))[0]
Y = X @ RNG.normal(size=5) + 0.3 * RNG.normal(size=40)


def loss(w: Any) -> Any:
    return 0.5 * mg.mean((X @ w - Y) ** 2)


def optimum() -> np.ndarray:
    return np.linalg.lstsq(X, Y, rcond=None)[0]


def test_the_hessian_comes_from_the_engine_both_ways() -> None:
    by_hand = X.T @ X / len(X)
    w = RNG.normal(size=5)
    np.testing.assert_allclose(mg.hessian(loss)(w).numpy(), by_hand, rtol=1e-12, atol=1e-14)
    columns = [mg.hvp(loss, w, e).numpy() for e in np.eye(5)]  # forward over reverse
    np.testing.assert_allclose(columns, by_hand, rtol=1e-12, atol=1e-14)
    reverse = mg.jacobian(mg.grad(loss))(w).numpy()
    np.testing.assert_allclose(reverse, by_hand, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 5.0])
def test_training_with_the_penalty_converges_to_the_formula(alpha: float) -> None:
    p = mg.Parameter(np.zeros((5, 1)))  # two axes: a weight, which is penalised
    rate = 1.0 / (np.linalg.eigvalsh(X.T @ X / len(X)).max() + alpha)
    optimiser = mg.optim.SGD([p], lr=rate, momentum=0.95)

    @mg.compile
    def step() -> Any:
        value = loss(p[:, 0]) + mg.optim.l2_penalty([p], alpha)
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
        return value

    for _ in range(3000):
        step()
    found = l2_shrinkage(mg.hessian(loss)(p.numpy()[:, 0]), optimum(), alpha)
    np.testing.assert_allclose(p.numpy()[:, 0], found.optimum, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(found.optimum - optimum()) > 1e-3


def test_each_component_is_scaled_by_its_factor() -> None:
    h, w, alpha = X.T @ X / len(X), optimum(), 0.2
    found = l2_shrinkage(h, w, alpha)
    q, values = found.eigenvectors, found.eigenvalues
    np.testing.assert_allclose(q @ np.diag(values) @ q.T, h, atol=1e-12)
    np.testing.assert_allclose(found.factors, values / (values + alpha), rtol=1e-12)
    np.testing.assert_allclose(q.T @ found.optimum, found.factors * (q.T @ w), rtol=1e-9)
    np.testing.assert_allclose(found.components, q.T @ w, rtol=1e-12)
    np.testing.assert_allclose(
        found.optimum, np.linalg.solve(h + alpha * np.eye(5), h @ w), rtol=1e-9
    )
    assert found.effective == pytest.approx(np.trace(h @ np.linalg.inv(h + alpha * np.eye(5))))


def test_without_penalty_nothing_moves_and_with_a_huge_one_all_goes_to_0() -> None:
    h, w = X.T @ X / len(X), optimum()
    np.testing.assert_allclose(l2_shrinkage(h, w, 0.0).optimum, w, rtol=1e-9)
    assert np.abs(l2_shrinkage(h, w, 1e12).optimum).max() < 1e-9


def test_a_flat_direction_goes_to_0_with_a_penalty_and_stays_without() -> None:
    h, w = np.diag([2.0, 0.0]), np.array([1.0, 5.0])
    np.testing.assert_allclose(l2_shrinkage(h, w, 0.5).optimum, [0.8, 0.0])
    np.testing.assert_allclose(l2_shrinkage(h, w, 0.0).optimum, [1.0, 5.0])


def test_what_has_no_minimum_or_does_not_fit_is_refused() -> None:
    w = np.ones(2)
    with pytest.raises(DataError, match=r"eigenvalue -0\.5: there is no minimum"):
        l2_shrinkage(np.diag([1.0, -1.0]), w, 0.5)
    assert np.isfinite(l2_shrinkage(np.diag([1.0, -1.0]), w, 1.5).optimum).all()
    with pytest.raises(DataError, match="symmetric"):
        l2_shrinkage([[1.0, 2.0], [0.0, 1.0]], w, 1.0)
    with pytest.raises(DataError, match="not negative"):
        l2_shrinkage(np.eye(2), w, -1.0)
    for h, v in ((np.eye(3), w), (np.ones((2, 2, 2)), w), (np.eye(2), np.ones((2, 1)))):
        with pytest.raises(ShapeError, match="one vector of all parameters"):
            l2_shrinkage(h, v, 1.0)
