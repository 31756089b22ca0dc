"""What BatchNorm buys on real digits (catalogue row C8), in small: each claim can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.train import accuracy, along_step, evaluation, training_step

pytest.importorskip("sklearn", reason="pip install 'minigrad[data]'")
DIGITS = mg.data.digits()
CHANCE = 0.2


def network(norm: bool, depth: int, activation: Any, initialise: Any, scale: float = 1.0) -> Any:
    layers: list[nn.Module] = []
    for i in range(depth):
        layer = nn.Linear(64 if i == 0 else 32, 32, bias=not norm)
        layer.weight.assign(scale * initialise(layer.weight.shape))
        layers += [layer, *([nn.BatchNorm(32)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def trained(model: Any, lr: float, steps: int = 150, momentum: float = 0.0) -> float:
    """Return the test accuracy after some steps of SGD."""
    step = training_step(model, F.cross_entropy, mg.optim.SGD(model.parameters(), lr, momentum))
    batches = mg.data.Batches(
        DIGITS.x_train, DIGITS.y_train, batch_size=64, shuffle=True, seed=0, drop_last=True
    )
    done = 0
    while done < steps:
        for x, y in batches:
            step(x, y)
            done += 1
    test = evaluation(model, accuracy=accuracy)
    return test([(DIGITS.x_test, DIGITS.y_test)])["accuracy"]


@pytest.mark.parametrize("seed", range(2))
def test_a_deep_sigmoid_network_trains_under_sgd_only_with_it(seed: int) -> None:
    found = {}
    for norm in (False, True):
        mg.random.seed(seed)
        model = network(norm, 6, nn.Sigmoid, nn.init.glorot_normal)
        found[norm] = trained(model, 0.1, momentum=0.9)
    assert found[True] > 0.85
    assert found[False] < CHANCE


@pytest.mark.parametrize("seed", range(2))
def test_a_rate_at_which_the_plain_network_fails_trains_the_normalised_one(seed: int) -> None:
    found = {}
    for norm in (False, True):
        mg.random.seed(seed)
        found[norm] = trained(network(norm, 4, nn.ReLU, nn.init.he_normal), 3.0)
    assert found[True] > 0.85
    assert found[False] < CHANCE


@pytest.mark.parametrize("scale", [0.1, 5.0])
def test_initial_scales_at_which_the_plain_network_fails_train_the_normalised_one(
    scale: float,
) -> None:
    found = {}
    for norm in (False, True):
        mg.random.seed(0)
        found[norm] = trained(network(norm, 4, nn.ReLU, nn.init.he_normal, scale), 0.1)
    assert found[True] > 0.75
    assert found[False] < CHANCE


def test_along_a_long_step_the_gradient_of_the_normalised_network_changes_less() -> None:
    found = {}
    for norm in (False, True):
        mg.random.seed(0)
        model = network(norm, 4, nn.ReLU, nn.init.he_normal)
        trained(model, 0.1, steps=60)
        look = along_step(model, F.cross_entropy)
        batches = mg.data.Batches(DIGITS.x_train, DIGITS.y_train, batch_size=128)
        found[norm] = np.median([look(x, y, [0.5]).relative_change[0] for x, y in batches])
    assert found[True] < 2.0
    assert found[False] > 2 * found[True]


def test_batches_of_two_break_it() -> None:
    found = {}
    for size in (2, 16):
        mg.random.seed(0)
        model = network(True, 3, nn.ReLU, nn.init.he_normal)
        step = training_step(model, F.cross_entropy, mg.optim.SGD(model.parameters(), lr=0.05))
        for x, y in mg.data.Batches(
            DIGITS.x_train, DIGITS.y_train, batch_size=size, shuffle=True, seed=0, drop_last=True
        ):
            step(x, y)
        test = evaluation(model, accuracy=accuracy)
        found[size] = test([(DIGITS.x_test, DIGITS.y_test)])["accuracy"]
    assert found[16] > 0.8
    assert found[2] < found[16] - 0.2
