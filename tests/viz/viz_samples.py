"""Graphs that the tests draw: a model with layers, a history, random programs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.tape import scope
from minigrad.ops.random import keep_mask

RNG = np.random.default_rng(7)

needs_graphviz = pytest.mark.skipif(
    find_spec("graphviz") is None or find_spec("pygraphviz") is None,
    reason="needs graphviz and pygraphviz: pip install 'minigrad[notebook]'",
)
needs_matplotlib = pytest.mark.skipif(
    find_spec("matplotlib") is None,
    reason="needs matplotlib: pip install 'minigrad[notebook]'",
)
needs_networkx = pytest.mark.skipif(
    find_spec("networkx") is None,
    reason="needs networkx: pip install 'minigrad[notebook]'",
)
needs_ipython = pytest.mark.skipif(
    find_spec("IPython") is None, reason="needs IPython: pip install 'minigrad[notebook]'"
)


class Model:
    """Linear, BatchNorm, ReLU, Dropout, Linear, with a loss: composed, in scopes."""

    def __init__(self, layers: int = 2) -> None:
        sizes = [8, *[6] * (layers - 1), 4]
        self.weights = [
            mg.Parameter(RNG.normal(size=(n, m)).astype(np.float32) * 0.3, f"layers.{i}.weight")
            for i, (n, m) in enumerate(pairwise(sizes))
        ]
        self.biases = [
            mg.Parameter(np.zeros(m, np.float32), f"layers.{i}.bias")
            for i, m in enumerate(sizes[1:])
        ]
        self.gamma = mg.Parameter(np.ones(6, np.float32), "norm.weight")
        self.running = mg.Buffer(np.zeros(6, np.float32), "norm.running_mean")
        self.generator = mg.random.Generator(3)

    def __call__(self, x: Any, y: Any) -> Any:
        h = x
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            with scope(f"layers.{i}"):
                h = h @ w + b
            if i == 0:
                with scope("norm"):
                    mu = mg.tag(mg.mean(h, axis=0), "mu")
                    var = mg.tag(mg.var(h, axis=0), "var")
                    self.running.assign(self.running * 0.9 + mu * 0.1)
                    u = (h - mu) / mg.sqrt(var + 1e-5)
                    h = self.gamma * u
                with scope("drop"):
                    keep = keep_mask(0.5, h.shape, self.generator)
                    h = mg.where(keep, h / 0.5, 0.0)
        with scope("loss"):
            logp = mg.log_softmax(h)
            return -mg.mean(mg.sum(logp * y, axis=1))


def data() -> tuple[Any, Any]:
    x = RNG.normal(size=(16, 8)).astype(np.float32)
    return x, np.eye(4, dtype=np.float32)[RNG.integers(0, 4, 16)]


def gradient_graph(layers: int = 2) -> mg.Graph:
    model = Model(layers)
    x, y = data()
    return mg.trace(lambda x, y: model(x, y), x, y).grad()


_KEPT: list[mg.Tensor] = []  # gradients live as long as the tensors that hold them


def history() -> mg.Tensor:
    """The micrograd example: tanh(a b + c), with gradients in the leaves."""
    a = mg.tensor(2.0, requires_grad=True)
    b = mg.tensor(-3.0, requires_grad=True)
    c = mg.tensor(10.0, requires_grad=True)
    d = a * b
    out = mg.tanh((d + c) * 0.1)
    out.backward()
    _KEPT[:] = [a, b, c]
    return out


def batch_norm(x: Any, gamma: Any, beta: Any) -> Any:
    mu = mg.tag(mg.mean(x, axis=0, keepdims=True), "mu")
    var = mg.tag(mg.mean((x - mu) ** 2, axis=0, keepdims=True), "var")
    u = mg.tag((x - mu) / mg.sqrt(var + 1e-5), "u")
    return mg.tag(gamma * u + beta, "y")


_STEPS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a - b,
    lambda a, b: mg.tanh(a) + b,
    lambda a, b: mg.maximum(a, b),
    lambda a, b: a * a,
    lambda a, b: a + mg.sum(b),
    lambda a, b: mg.reshape(mg.reshape(a, (3, 2)), (2, 3)) * 0.5,
    lambda a, b: mg.matrix_transpose(mg.matrix_transpose(a) + mg.matrix_transpose(b)),
    lambda a, b: mg.concat([a[:1], b[1:]], axis=0),
    lambda a, b: mg.where(a > 0, a, b),
)


def random_function(choices: list[tuple[int, int, int]]) -> Callable[..., Any]:
    """A program of two inputs, from triples: which step, which operands."""

    def program(x: Any, y: Any) -> Any:
        pool = [x, y]
        for step, i, j in choices:
            a, b = pool[i % len(pool)], pool[j % len(pool)]
            pool.append(_STEPS[step % len(_STEPS)](a, b))
        return mg.sum(pool[-1] + pool[len(pool) // 2])

    return program


def random_graph(choices: list[tuple[int, int, int]]) -> mg.Graph:
    return mg.trace(random_function(choices), mg.spec((2, 3)), mg.spec((2, 3)))
