"""Clipping, max-norm projection and penalties against formulas written by hand."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError

RNG = np.random.default_rng(5)


def with_gradients(*gradients: np.ndarray) -> list[Any]:
    found = []
    for g in gradients:
        p = mg.Parameter(np.zeros_like(g))
        p.grad = mg.tensor(g)
        found.append(p)
    return found


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, inf])
def test_clipping_scales_all_gradients_to_the_limit(norm_type: float) -> None:
    a, b = RNG.normal(size=(3, 2)), RNG.normal(size=4)
    parameters = with_gradients(a, b)
    total = mg.optim.clip_grad_norm(parameters, 0.5, norm_type)
    flat = np.concatenate([a.ravel(), b])
    expected = np.linalg.norm(flat, norm_type)
    np.testing.assert_allclose(total.item(), expected, rtol=1e-12)
    clipped = np.concatenate([p.grad.numpy().ravel() for p in parameters])
    np.testing.assert_allclose(clipped, flat * 0.5 / (expected + 1e-6), rtol=1e-12)
    assert np.linalg.norm(clipped, norm_type) <= 0.5


def test_gradients_below_the_limit_keep_every_bit() -> None:
    g = RNG.normal(size=(3, 2)).astype(np.float32)
    (p,) = with_gradients(g)
    mg.optim.clip_grad_norm(p, 1e6)
    np.testing.assert_array_equal(p.grad.numpy(), g)
    assert p.grad.dtype == mg.float32


def test_the_norm_of_huge_float32_gradients_does_not_overflow() -> None:
    (p,) = with_gradients(np.full(4, 1e30, np.float32))
    total = mg.optim.clip_grad_norm([p], 1.0)
    np.testing.assert_allclose(total.item(), 2e30, rtol=1e-6)
    np.testing.assert_allclose(p.grad.numpy(), 0.5, rtol=1e-6)


def test_clipping_passes_over_parameters_without_gradient() -> None:
    bare = mg.Parameter([1.0])
    assert mg.optim.clip_grad_norm([bare], 1.0).item() == 0.0
    mg.optim.clip_grad_value([bare], 1.0)
    assert bare.grad is None


def test_clipping_by_value_limits_every_entry() -> None:
    (p,) = with_gradients(np.array([-3.0, -0.5, 0.5, 3.0]))
    mg.optim.clip_grad_value([p], 1.0)
    assert p.grad.tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_clipping_takes_no_decision_while_tracing() -> None:
    w = mg.Parameter(np.array([3.0, 4.0]))

    @mg.compile
    def norm(scale: Any) -> Any:
        (w * scale).sum().backward()
        total = mg.optim.clip_grad_norm([w], 1.0)
        mg.optim.clip_grad_value([w], 0.5)
        clipped = w.grad
        w.grad = None
        return total, clipped

    small, large = norm(mg.tensor(0.1)), norm(mg.tensor(100.0))
    assert norm.signatures == 1
    np.testing.assert_allclose(small[1].numpy(), 0.1, rtol=1e-6)
    np.testing.assert_allclose(large[1].numpy(), 0.5)
    np.testing.assert_allclose(large[0].item(), 100 * np.sqrt(2), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
def test_max_norm_projects_each_units_incoming_weights(shape: tuple[int, ...]) -> None:
    """Catalogue row G5, for the layouts of Linear and Conv2d."""
    w = RNG.normal(size=shape) * np.array([0.1, 1, 5, 20]).reshape(4, *[1] * (len(shape) - 1))
    p = mg.Parameter(w)
    mg.optim.max_norm([p], 1.5)
    norms = np.linalg.norm(w.reshape(4, -1), axis=1)
    expected = w * np.minimum(1, 1.5 / norms).reshape(4, *[1] * (len(shape) - 1))
    np.testing.assert_allclose(p.numpy(), expected, rtol=1e-12)
    inside = norms <= 1.5
    assert inside.any()
    np.testing.assert_array_equal(p.numpy()[inside], w[inside])
    mg.optim.max_norm([p], 1.5)
    np.testing.assert_allclose(p.numpy(), expected, rtol=1e-12)


def test_max_norm_takes_other_axes_leaves_biases_alone_and_keeps_zero() -> None:
    w = np.array([[3.0, 0.0], [4.0, 0.0]])
    p, bias = mg.Parameter(w), mg.Parameter([100.0])
    mg.optim.max_norm([p, bias], 1.0, axis=0)
    np.testing.assert_allclose(p.numpy(), [[0.6, 0.0], [0.8, 0.0]])
    assert bias.item() == 1.0  # an axis that is named is taken for every parameter
    bias.assign([100.0])
    mg.optim.max_norm([p, bias], 1.0)
    assert bias.item() == 100.0


def test_penalties_have_their_formula_and_gradient() -> None:
    """Catalogue rows G1 and G3."""
    w, b = np.array([[1.5, -2.0], [0.0, 3.0]]), np.array([5.0])
    p, bias = mg.Parameter(w), mg.Parameter(b)
    l1, l2 = mg.optim.l1_penalty([p, bias], 0.5), mg.optim.l2_penalty([p, bias], 0.5)
    np.testing.assert_allclose(l1.item(), 0.5 * np.abs(w).sum())
    np.testing.assert_allclose(l2.item(), 0.25 * (w**2).sum())
    l1.backward()
    np.testing.assert_allclose(p.grad.numpy(), 0.5 * np.sign(w))  # 0 at 0
    p.grad = None
    l2.backward()
    np.testing.assert_allclose(p.grad.numpy(), 0.5 * w)
    assert bias.grad is None
    everything = mg.optim.l1_penalty([p, bias], 1.0, include=lambda name, p: True)
    np.testing.assert_allclose(everything.item(), np.abs(w).sum() + 5)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p: mg.optim.clip_grad_norm(p, 0.0), "max_norm = 0.0"),
        (lambda p: mg.optim.clip_grad_norm(p, 1.0, 0.0), "norm_type"),
        (lambda p: mg.optim.clip_grad_value(p, -1.0), "clip_value"),
        (lambda p: mg.optim.max_norm(p, 0.0), "c = 0.0"),
        (lambda p: mg.optim.l2_penalty(p, -1.0), "alpha"),
        (lambda p: mg.optim.l1_penalty(p, 1.0), r"none of the 1 parameters(.|\n)*include="),
    ],
)
def test_numbers_out_of_range_are_refused(act: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        act([mg.Parameter([1.0])])
