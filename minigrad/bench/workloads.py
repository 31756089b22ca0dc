"""The workloads W1 to W8: training steps, layers with their gradients, chains, a Hessian.

Everything is written as a user writes it, with ordinary layers, optimisers and functions
whose gradients are derived. The models are here for all benchmarks: those of this package,
and those that run other libraries on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.dtypes import Array
from minigrad.nn import functional as F

__all__ = ["CONVOLUTIONAL", "PERCEPTRON", "WORKLOADS", "Job", "Workload"]

#: An operation on earlier values: its name, the first operand's number, and the second's,
#: or a number to multiply by, or None.
Instruction: TypeAlias = tuple[str, int, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A function that is not compiled yet, and what it is called with."""

    function: Callable[..., Any]
    arguments: tuple[mg.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """A name, what it is, and ``make(tiny)``, which builds model and data."""

    name: str
    title: str
    make: Callable[[bool], Job]


# Training steps ----------------------------------------------------------------------


def perceptron(
    inputs: int = 784, width: int = 1024, drops: Sequence[nn.Module] | None = None
) -> nn.Module:
    """Return the network of W1: two wide layers with BatchNorm, ReLU and dropout; 10 classes."""
    first, second = drops or (nn.Dropout(0.5), nn.Dropout(0.5))
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False), nn.BatchNorm(width), nn.ReLU(), first,
        nn.Linear(width, width, bias=False), nn.BatchNorm(width), nn.ReLU(), second,
        nn.Linear(width, 10),
    )  # fmt: skip


def convolutional(
    side: int = 28, channels: int = 32, width: int = 128, drops: Sequence[nn.Module] | None = None
) -> nn.Module:
    """Return the network of W2: two 3x3 convolutions with BatchNorm, pooling, two layers."""
    (drop,) = drops or (nn.Dropout(0.5),)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm(channels), nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.BatchNorm(2 * channels),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2 * channels * (side // 2) ** 2, width), nn.ReLU(), drop,
        nn.Linear(width, 10),
    )  # fmt: skip


def small() -> nn.Module:
    """Return the network of W5: 2-16-16-1 with tanh."""
    return nn.Sequential(
        nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)
    )


def training(
    model: nn.Module, optimiser: Any, loss: Callable[..., Any], *, keep: bool = True
) -> Callable[..., Any]:
    """Return a training step; ``keep`` leaves the gradients in ``.grad``, to be looked at."""

    def step(x: Any, y: Any) -> Any:
        if keep:
            optimiser.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimiser.step()
        if not keep:
            optimiser.zero_grad()
        return value

    return step


#: Rows, inputs and width of W1; images, their side, channels and width of W2: whole, tiny.
PERCEPTRON = ((256, 784, 1024), (8, 20, 16))
CONVOLUTIONAL = ((64, 28, 32, 128), (4, 6, 2, 8))


def _perceptron(tiny: bool) -> Job:
    rows, inputs, width = PERCEPTRON[tiny]
    model = perceptron(inputs, width)
    optimiser = mg.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step = training(model, optimiser, F.cross_entropy)
    return Job(step, (_normal(1, (rows, inputs)), _labels(1, rows)))


def _convolutional(tiny: bool) -> Job:
    images, side, channels, width = CONVOLUTIONAL[tiny]
    model = convolutional(side, channels, width)
    step = training(model, mg.optim.Adam(model.parameters(), lr=1e-3), F.cross_entropy)
    return Job(step, (_normal(2, (images, 1, side, side)), _labels(2, images)))


def _small(tiny: bool) -> Job:
    model = small()
    step = training(model, mg.optim.SGD(model.parameters(), lr=0.05), F.mse_loss, keep=False)
    x = np.random.default_rng(5).standard_normal((5 if tiny else 100, 2), np.float32)
    return Job(step, (mg.tensor(x), mg.tensor(np.sin(x[:, :1]) * x[:, 1:])))


# Normalisations ----------------------------------------------------------------------


def batch_norm(x: Any, gamma: Any, beta: Any) -> Any:
    """Return x normalised by the statistics of the batch (W3)."""
    return F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)


def layer_norm(x: Any, gamma: Any, beta: Any) -> Any:
    """Return x normalised along its last axis (W7)."""
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps=1e-5)


def with_pullback(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of x, gamma, beta and dy: y and the three gradients."""

    def both(x: Any, gamma: Any, beta: Any, dy: Any) -> Any:
        y, pullback = mg.vjp(function, x, gamma, beta)
        return y, *pullback(dy)

    return both


def _normalisation(
    function: Callable[..., Any], shape: tuple[int, ...], little: tuple[int, ...], axis: int
) -> Callable[[bool], Job]:
    def make(tiny: bool) -> Job:
        full = little if tiny else shape
        features = (full[axis],)
        arguments = (
            _normal(30, full), _normal(31, features), _normal(32, features), _normal(33, full),
        )  # fmt: skip
        return Job(with_pullback(function), arguments)

    return make


# Many operations ---------------------------------------------------------------------


def chain(x: Any) -> Any:
    """Return the mean of 20 elementwise operations (W4): GELU, a gate, and what follows."""
    cubic = x * x * x * 0.044715
    gelu = (mg.tanh((cubic + x) * 0.7978845608) + 1.0) * x * 0.5
    gate = gelu / (mg.exp(gelu * -1.0) + 1.0)
    bent = mg.tanh(gate)
    sum_ = bent * x + gelu
    return ((sum_ * sum_ * 0.1 + bent) * 0.5).mean()


def program(instructions: Sequence[Instruction]) -> Callable[[Any], Any]:
    """Return the function that runs instructions on a vector, and takes the mean (W6)."""

    def run(x: Any) -> Any:
        values = [x]
        for name, a, b in instructions:
            first = values[a]
            if name == "tanh":
                values.append(mg.tanh(first))
            elif name == "scale":
                values.append(first * b)
            elif name == "add":
                values.append(first + values[b])
            elif name == "sub":
                values.append(first - values[b])
            else:
                values.append(first * values[b])
        return values[-1].mean()

    return run


def instructions(count: int, width: int = 100, seed: int = 6) -> list[Instruction]:
    """Return a random program of ``count`` operations in which every value is used.

    ``width`` values are alive at first. A bound is kept of each value, and an operation is
    chosen that stays between 0.01 and 1: there are no infinities and no subnormal numbers.
    """
    rng = np.random.default_rng(seed)
    found: list[Instruction] = []
    bounds = [1.0]
    unused: list[int] = []

    def add(name: str, a: int, b: Any, bound: float) -> None:
        found.append((name, a, b))
        bounds.append(bound)
        unused.append(len(found))

    for factor in rng.uniform(0.2, 0.9, width):
        add("scale", 0, float(np.float32(factor)), float(factor))
    while len(found) + len(unused) - 1 < count - 1:  # joining them takes one each; then the mean
        a = unused.pop(0)
        b = int(rng.integers(max(1, len(found) - 3 * width), len(found) + 1))
        name = ("add", "sub", "mul", "tanh")[rng.integers(4)]
        together = bounds[a] * bounds[b] if name == "mul" else bounds[a] + bounds[b]
        if name == "tanh":
            add(name, a, None, float(np.tanh(bounds[a])))
        elif 0.01 <= together <= 1:
            add(name, a, b, together)
        else:
            factor = 0.5 if bounds[a] > 0.5 else 1.5
            add("scale", a, factor, factor * bounds[a])
    while len(unused) > 1:
        a, b = unused.pop(0), unused.pop(0)
        add("add", a, b, bounds[a] + bounds[b])
    return found


def _chain(tiny: bool) -> Job:
    return Job(mg.value_and_grad(chain), (_normal(4, (1000 if tiny else 1 << 22,)),))


def _program(tiny: bool) -> Job:
    run = program(instructions(100, width=5) if tiny else instructions(10_000))
    return Job(mg.value_and_grad(run), (_normal(6, (32,)),))


# Second derivatives ------------------------------------------------------------------


def logistic(x: Any, y: Any) -> Callable[[Any], Any]:
    """Return the loss of logistic regression as a function of its weights (W8)."""

    def loss(w: Any) -> Any:
        z = x @ w
        return (F.softplus(z) - y * z).mean()

    return loss


def product(loss: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the Hessian's product with a vector, as a function of weights and vector."""
    return lambda w, v: mg.hvp(loss, (w,), (v,))


def _logistic(tiny: bool) -> tuple[Callable[[Any], Any], mg.Tensor, mg.Tensor]:
    rows, features = (10, 4) if tiny else (500, 200)
    x = np.random.default_rng(8).standard_normal((rows, features), np.float32)
    labels = (x.sum(1) > 0).astype(np.float32)
    loss = logistic(mg.tensor(x), mg.tensor(labels))
    return loss, _normal(8, (features,)), _normal(9, (features,))


def _hessian(tiny: bool) -> Job:
    loss, w, _ = _logistic(tiny)
    return Job(mg.hessian(loss), (w,))


def _product(tiny: bool) -> Job:
    loss, w, v = _logistic(tiny)
    return Job(product(loss), (w, v))


# All of them -------------------------------------------------------------------------


def _normal(seed: int, shape: tuple[int, ...]) -> mg.Tensor:
    return mg.tensor(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _labels(seed: int, rows: int) -> mg.Tensor:
    found: Array = np.random.default_rng(seed).integers(0, 10, rows)
    return mg.tensor(found)


WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", "perceptron, BatchNorm, dropout: step", _perceptron),
        Workload("W2", "convolutional network: step", _convolutional),
        Workload("W3a", "BatchNorm (256, 1024)",
                 _normalisation(batch_norm, (256, 1024), (8, 6), 1)),
        Workload("W3b", "BatchNorm (64, 64, 28, 28)",
                 _normalisation(batch_norm, (64, 64, 28, 28), (3, 4, 5, 5), 1)),
        Workload("W4", "20 elementwise operations on 4 M", _chain),
        Workload("W5", "tiny network: step", _small),
        Workload("W6", "10,000 small operations", _program),
        Workload("W7", "LayerNorm (4096, 1024)",
                 _normalisation(layer_norm, (4096, 1024), (6, 8), 1)),
        Workload("W8a", "Hessian, 200 features", _hessian),
        Workload("W8b", "Hessian-vector product", _product),
    )
}  # fmt: skip
