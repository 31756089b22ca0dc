"""Penalties on models, G1 to G3: what they pass over, formula, derivative, equivalents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

RNG = np.random.default_rng(0)


def model() -> nn.Sequential:
    mg.random.seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm(2), nn.LayerNorm((2, 2, 2)), nn.GroupNorm(1, 2),
        nn.InstanceNorm(2, affine=True), nn.Flatten(), nn.Linear(8, 3),
    ).float64()  # fmt: skip


def test_penalties_of_a_model_pass_over_biases_gamma_and_beta_of_any_shape() -> None:
    net = model()
    assert net[2].weight.ndim == 3  # gamma of LayerNorm over three axes
    weights = [net[0].weight.numpy(), net[6].weight.numpy()]
    l2, l1 = mg.optim.l2_penalty(net, 0.3), mg.optim.l1_penalty(net, 0.3)
    assert l2.item() == pytest.approx(0.15 * sum((w**2).sum() for w in weights), rel=1e-12)
    assert l1.item() == pytest.approx(0.3 * sum(np.abs(w).sum() for w in weights), rel=1e-12)
    l2.backward()
    penalised = [name for name, p in net.named_parameters() if p.grad is not None]
    assert penalised == ["0.weight", "6.weight"]
    decayed, others = mg.optim.decay_groups(net, 0.1)
    assert [name for name, _ in decayed["params"]] == penalised
    assert len(others["params"]) == len(list(net.parameters())) - 2


def test_asked_for_everything_is_penalised() -> None:
    net = model()
    total = sum((p.numpy() ** 2).sum() for p in net.parameters())
    found = mg.optim.l2_penalty(net, 2.0, include=lambda name, p: True)
    assert found.item() == pytest.approx(total, rel=1e-12)
    biases = mg.optim.l1_penalty(net, 1.0, include=lambda name, p: name.endswith("bias"))
    expected = sum(np.abs(p.numpy()).sum() for n, p in net.named_parameters() if "bias" in n)
    assert biases.item() == pytest.approx(expected, rel=1e-12)


def test_a_normalisation_of_ones_own_is_passed_over_if_it_says_so() -> None:
    class Scale(nn.Module):
        is_normalisation = True

        def __init__(self) -> None:
            self.weight = mg.Parameter(np.ones((2, 3)))

    class Plain(Scale):
        is_normalisation = False

    assert mg.optim.l2_penalty(nn.Sequential(Plain(), Scale()), 2.0).item() == 6.0


@pytest.mark.parametrize("name", ["l1_penalty", "l2_penalty"])
def test_the_derivative_of_a_penalty_is_the_numerical_one(name: str) -> None:
    penalty = getattr(mg.optim, name)
    p = mg.Parameter(RNG.normal(size=(3, 4)))
    w, step = p.numpy(), 1e-6
    penalty([p], 0.7).backward()
    for index in np.ndindex(w.shape):
        values = []
        for sign in (1, -1):
            moved = w.copy()
            moved[index] += sign * step
            p.assign(moved)
            values.append(penalty([p], 0.7).item())
        numerical = (values[0] - values[1]) / (2 * step)
        assert p.grad.numpy()[index] == pytest.approx(numerical, rel=1e-6)


def test_the_subgradient_of_l1_is_0_at_0() -> None:
    p = mg.Parameter([[0.0, -0.0, 2.0, -3.0]])
    mg.optim.l1_penalty([p], 0.5).backward()
    np.testing.assert_array_equal(p.grad.numpy(), [[0.0, 0.0, 0.5, -0.5]])


def ends(make: Any, penalty: float) -> np.ndarray:
    """Train a model for 20 steps, and return its weights."""
    mg.random.seed(1)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).float64()
    x, y = np.random.default_rng(2).normal(size=(2, 30, 4))
    optimiser = make(net)
    for _ in range(20):
        loss = mg.mean((net(x) - y[:, :2]) ** 2)
        if penalty:
            loss = loss + mg.optim.l2_penalty(net, penalty)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return np.concatenate([p.numpy().ravel() for p in net.parameters()])


def test_the_penalty_is_weight_decay_under_sgd_and_is_not_under_adam() -> None:
    """Rows G1 and G2 on a network: decay on the weights alone, the penalty on the same."""
    alpha = 0.3
    decayed = lambda kind, net: kind(mg.optim.decay_groups(net, alpha), lr=0.05)
    sgd = ends(lambda net: decayed(mg.optim.SGD, net), 0.0)
    np.testing.assert_allclose(
        sgd, ends(lambda net: mg.optim.SGD(net.parameters(), lr=0.05), alpha), rtol=1e-11
    )
    adam = ends(lambda net: mg.optim.Adam(net.parameters(), lr=0.05), alpha)
    coupled = ends(lambda net: decayed(mg.optim.Adam, net), 0.0)
    np.testing.assert_allclose(adam, coupled, rtol=1e-9)  # Adam's option is the penalty
    decoupled = ends(lambda net: decayed(mg.optim.AdamW, net), 0.0)
    assert np.abs(adam - decoupled).max() > 0.05
    assert np.abs(sgd - ends(lambda net: mg.optim.SGD(net.parameters(), lr=0.05), 0.0)).max() > 0.05
