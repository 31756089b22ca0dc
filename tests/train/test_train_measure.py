"""Measurements of a network in training, against formulas by hand (catalogue row C8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import DataError
from minigrad.nn import functional as F
from minigrad.train import along_step, covariate_shift, layer_inputs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))
Y = RNG.normal(size=(20, 3))


def snapshot(model: Any) -> list[np.ndarray]:
    return [c.numpy() for c in model.state_dict().values()]


def test_along_a_step_of_a_quadratic_loss_everything_has_a_closed_form() -> None:
    """L(w - r g) = L - r g.g + r^2 g.Hg / 2, and the gradient changes by r ||Hg||."""
    model = nn.Linear(4, 3, bias=False, dtype=mg.float64)
    w, n = model.weight.numpy(), Y.size
    g = 2 / n * (X @ w.T - Y).T @ X
    hg = 2 / n * g @ X.T @ X
    rates = np.array([0.01, 0.3, 2.0])
    found = along_step(model, F.mse_loss)(X, Y, rates)
    start = ((X @ w.T - Y) ** 2).mean()
    assert found.start == pytest.approx(start, rel=1e-12)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-12)
    expected = start - rates * (g * g).sum() + rates**2 / 2 * (g * hg).sum()
    np.testing.assert_allclose(found.loss, expected, rtol=1e-10)
    np.testing.assert_allclose(found.gradient_change, rates * np.linalg.norm(hg), rtol=1e-9)
    np.testing.assert_allclose(
        found.relative_change, found.gradient_change / np.linalg.norm(g), rtol=1e-12
    )
    top = np.linalg.eigvalsh(2 / n * X.T @ X).max()
    np.testing.assert_allclose(found.smoothness, found.smoothness[0], rtol=1e-8)
    assert 0 < found.smoothness[0] <= top * (1 + 1e-12)
    np.testing.assert_array_equal(model.weight.numpy(), w)


def deep(dtype: Any = mg.float64) -> nn.Sequential:
    mg.random.seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)
    ).astype(dtype)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
def test_looking_leaves_parameters_statistics_and_gradients_as_they_were(dtype: Any) -> None:
    model = deep(dtype)
    model[1].eval()
    before = snapshot(model)
    along_step(model, F.mse_loss)(X.astype(dtype), Y.astype(dtype), [0.1, 10.0])
    covariate_shift(model, F.mse_loss)(X.astype(dtype), Y.astype(dtype), 0.5)
    layer_inputs(model, X.astype(dtype))
    for a, b in zip(before, snapshot(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [m.training for m in model.modules()] == [True, True, False, *[True] * 4]
    assert all(p.grad is None for p in model.parameters())


def test_the_points_along_a_step_are_those_of_plain_gradient_descent() -> None:
    model, other = deep(), deep()
    found = along_step(model, F.mse_loss)(X, Y, [0.2])
    step = mg.train.training_step(other, F.mse_loss, mg.optim.SGD(other.parameters(), lr=0.2))
    assert step(X, Y).item() == pytest.approx(found.start, rel=1e-12)
    assert step(X, Y).item() == pytest.approx(found.loss[0], rel=1e-12)


def test_rates_must_be_positive() -> None:
    with pytest.raises(DataError, match="positive"):
        along_step(deep(), F.mse_loss)(X, Y, [0.1, 0.0])


def test_covariate_shift_of_a_linear_network_by_hand() -> None:
    """The upper layer's gradient before and after the lower one's step, written out."""
    model = nn.Sequential(
        nn.Linear(4, 6, bias=False, dtype=mg.float64), nn.Linear(6, 3, bias=False, dtype=mg.float64)
    )
    a, b = (p.numpy() for p in model.parameters())
    n, rate = Y.size, 0.3

    def upper(a: np.ndarray) -> np.ndarray:
        return 2 / n * (X @ a.T @ b.T - Y).T @ (X @ a.T)

    lower = 2 / n * b.T @ (X @ a.T @ b.T - Y).T @ X
    g, h = upper(a), upper(a - rate * lower)
    first, second = covariate_shift(model, F.mse_loss)(X, Y, rate)
    assert (first.path, second.path) == ("0", "1")
    assert first.relative == 0.0
    assert first.cosine == pytest.approx(1.0, rel=1e-12)
    assert second.relative == pytest.approx(np.linalg.norm(h - g) / np.linalg.norm(g), rel=1e-9)
    cosine = (g * h).sum() / np.linalg.norm(g) / np.linalg.norm(h)
    assert second.cosine == pytest.approx(cosine, rel=1e-9)
    assert second.relative > 1e-3


def test_covariate_shift_counts_all_layers_below_and_none_above() -> None:
    model = deep()
    names = [n for n, _ in model.named_parameters()]
    found = {s.path: s for s in covariate_shift(model, F.mse_loss)(X, Y, 0.4)}
    assert list(found) == list(dict.fromkeys(n.rpartition(".")[0] for n in names))
    loss = lambda m: F.mse_loss(m(X), Y)
    before = mg.grad(loss)(model)
    for layer in (model[0], model[1]):
        for p, g in zip(
            layer.parameters(), before[int(layer is model[1])].parameters(), strict=True
        ):
            p.assign(p - 0.4 * g)
    after = mg.grad(loss)(model)
    g, h = (np.concatenate([p.numpy().ravel() for p in m[3].parameters()]) for m in (before, after))
    assert found["3"].relative == pytest.approx(np.linalg.norm(h - g) / np.linalg.norm(g), rel=1e-9)


def test_layer_inputs_are_what_enters_each_layer() -> None:
    model = deep()
    found = layer_inputs(model, X)
    assert list(found) == ["0", "1", "2", "3", "4", "5"]
    value = mg.tensor(X)
    for i, layer in enumerate(model):
        np.testing.assert_array_equal(found[str(i)], value.numpy())
        value = layer(value)


def test_layer_inputs_of_a_model_with_blocks_functions_and_shortcuts() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(4, 4, dtype=mg.float64)
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return x + F.relu(self.drop(self.fc(x)))

    class Net(nn.Module):
        def __init__(self) -> None:
            self.blocks = nn.ModuleList([Block(), Block()])
            self.out = nn.Linear(4, 2, dtype=mg.float64)

        def forward(self, x: Any, scale: float) -> Any:
            for block in self.blocks:
                x = block(x)
            return {"logits": self.out(x * scale), "features": x}

    model = Net().eval()
    found = layer_inputs(model, X, 3.0)
    first = model.blocks[0](X)
    np.testing.assert_array_equal(found["blocks.0.fc"], X)
    np.testing.assert_array_equal(found["blocks.1.fc"], first.numpy())
    np.testing.assert_array_equal(found["out"], (model.blocks[1](first) * 3.0).numpy())
    model.train()
    assert {"blocks.0.drop", "blocks.1.drop", "out"} <= set(layer_inputs(model, X, 1.0))
