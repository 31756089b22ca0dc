"""Optimisers, data and checkpoints together with ``mg.nn``: whole small trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError

nn = mg.nn


def network(seed: int = 0) -> Any:
    mg.random.seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm(32), nn.ReLU(), nn.Linear(32, 10))


def test_a_module_instead_of_its_parameters_is_refused_with_a_repair() -> None:
    for act in (
        lambda m: mg.optim.SGD(m),
        lambda m: mg.optim.clip_grad_norm(m, 1.0),
        lambda m: mg.optim.max_norm(m, 1.0),
    ):
        with pytest.raises(DataError, match=r"a module \(Sequential\)(.|\n)*model\.parameters"):
            act(network())


def test_biases_gamma_and_beta_do_not_decay() -> None:
    decaying, others = mg.optim.decay_groups(network(), 0.1)
    assert [name for name, _ in decaying["params"]] == ["0.weight", "3.weight"]
    assert [name for name, _ in others["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]


def test_penalties_take_a_whole_model() -> None:
    model = network()
    weights = np.concatenate([model[0].weight.numpy().ravel(), model[3].weight.numpy().ravel()])
    l1, l2 = mg.optim.l1_penalty(model, 0.1), mg.optim.l2_penalty(model, 0.1)
    np.testing.assert_allclose(l1.item(), 0.1 * np.abs(weights).sum(), rtol=1e-5)
    np.testing.assert_allclose(l2.item(), 0.05 * (weights**2).sum(), rtol=1e-5)


def test_digits_are_learnt_and_the_run_can_be_gone_on_with(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="pip install 'minigrad[data]'")
    data = mg.data.digits()
    scaler = mg.data.Standardize().fit(data.x_train)
    x_train, x_test = scaler.transform(data.x_train), scaler.transform(data.x_test)

    def make(seed: int) -> tuple[Any, Any, Any]:
        model = network(seed)
        optimiser = mg.optim.AdamW(mg.optim.decay_groups(model, 0.01), lr=3e-3)
        batches = mg.data.Batches(
            x_train, data.y_train, batch_size=64, shuffle=True, seed=seed, drop_last=True
        )
        return model, optimiser, batches

    def train(model: Any, optimiser: Any, batches: Any, epochs: int) -> None:
        @mg.compile
        def step(x: Any, y: Any) -> Any:
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            mg.optim.max_norm(model.parameters(), 3.0)
            optimiser.zero_grad()
            return loss

        for _ in range(epochs):
            for x, y in batches:
                step(x, y)
        assert step.signatures == 1

    straight, first, second = make(1), make(1), make(2)
    train(*straight, 6)
    train(*first, 3)
    path = tmp_path / "run.safetensors"
    mg.save(path, **dict(zip("mob", first, strict=True)))
    mg.load(path, **dict(zip("mob", second, strict=True)))
    train(*second, 3)
    for a, b in zip(straight[0].parameters(), second[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    model = straight[0]
    model.eval()
    guess = model(mg.tensor(x_test)).numpy().argmax(axis=1)
    assert (guess == data.y_test).mean() > 0.94
    assert np.linalg.norm(model[0].weight.numpy(), axis=1).max() <= 3.0 + 1e-5


@pytest.mark.gpu
def test_state_follows_a_model_to_the_device_and_is_saved_from_there(tmp_path: Path) -> None:
    if mg.backends()["cupy"] != "usable":
        pytest.skip(mg.backends()["cupy"])
    cupy = pytest.importorskip("cupy")
    model = network()
    optimiser = mg.optim.Adam(model.parameters(), lr=0.1)
    model.to("cupy")
    x = mg.tensor(np.ones((4, 64), np.float32)).to("cupy")
    for _ in range(2):
        (model(x) ** 2).mean().backward()
        mg.optim.clip_grad_norm(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        optimiser.lr = 0.05
    cells = optimiser.state_dict()
    assert all(isinstance(c.value, cupy.ndarray) for c in cells.values())
    before = {name: c.numpy() for name, c in cells.items()}
    mg.save(tmp_path / "a", optimiser=optimiser, model=model)
    mg.load(tmp_path / "a", optimiser=optimiser, model=model)
    for name, cell in cells.items():
        assert isinstance(cell.value, cupy.ndarray)
        np.testing.assert_array_equal(cell.numpy(), before[name])
