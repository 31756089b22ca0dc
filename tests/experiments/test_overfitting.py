"""The overfitting example (catalogue row G8): noisy points, a large network, several seeds."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

SEEDS = 3
GRID = np.linspace(-2, 2, 100, dtype=np.float32)[:, None]


def curve(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x) * np.exp(-0.2 * x)


def errors(seed: int, p: float, alpha: float) -> tuple[float, float]:
    """Return the mean squared error on the 40 noisy points, and against the true curve."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (40, 1)).astype(np.float32)
    y = (curve(x) + 0.5 * rng.normal(size=x.shape)).astype(np.float32)
    mg.random.seed(seed)
    model = nn.Sequential(
        nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p),
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 1),
    )  # fmt: skip

    def loss(out: mg.Tensor, wanted: mg.Tensor) -> mg.Tensor:
        return F.mse_loss(out, wanted) + mg.optim.l2_penalty(model, alpha)

    step = mg.train.training_step(model, loss, mg.optim.Adam(model.parameters(), lr=5e-3))
    for _ in range(800):
        step(x, y)
    model.eval()
    return ((model(x).numpy() - y) ** 2).mean(), ((model(GRID).numpy() - curve(GRID)) ** 2).mean()


def test_a_large_network_overfits_and_dropout_and_a_penalty_lower_the_test_error() -> None:
    kinds = {"nothing": (0.0, 0.0), "dropout": (0.3, 0.0), "penalty": (0.0, 0.01)}
    found = {k: np.array([errors(s, *v) for s in range(SEEDS)]) for k, v in kinds.items()}
    train, test = (np.mean([found[k][:, i] for k in kinds], axis=1) for i in (0, 1))
    plain, dropout, penalty = test
    assert train[0] < 0.15  # well below the variance of the noise, 0.25: it learned the noise
    assert train[0] < min(train[1:])
    assert dropout < plain
    assert penalty < 0.8 * plain
