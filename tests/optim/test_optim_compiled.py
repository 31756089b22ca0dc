"""A whole training step, compiled: the same bits as at the prompt, and no retracing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import TraceError
from tests.agreement import agree

OPTIMISERS = {
    "sgd": lambda ps: mg.optim.SGD(ps, lr=0.1),
    "momentum": lambda ps: mg.optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.1),
    "nesterov": lambda ps: mg.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda ps: mg.optim.Adam(ps, lr=0.01, weight_decay=0.1),
    "adamw": lambda ps: mg.optim.AdamW(ps, lr=0.01),
    "rmsprop": lambda ps: mg.optim.RMSProp(ps, momentum=0.9, centered=True),
}

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 5)).astype(np.float32)
Y = RNG.normal(size=(16, 2)).astype(np.float32)


class Training:
    """A two-layer network with dropout, its optimiser and one step."""

    def __init__(self, name: str, clip: bool = False) -> None:
        rng = np.random.default_rng(1)
        self.w1 = mg.Parameter(rng.normal(size=(5, 8)).astype(np.float32))
        self.b1 = mg.Parameter(np.zeros(8, np.float32))
        self.w2 = mg.Parameter(rng.normal(size=(8, 2)).astype(np.float32))
        self.parameters = [self.w1, self.b1, self.w2]
        self.generator = mg.random.Generator(7)
        self.optimiser = OPTIMISERS[name](self.parameters)
        self.clip = clip

    def step(self, x: Any, y: Any) -> Any:
        hidden = mg.tanh(x @ self.w1 + self.b1)
        keep = mg.random.bernoulli(0.8, hidden.shape, generator=self.generator)
        loss = mg.mean((mg.where(keep, hidden, 0.0) @ self.w2 - y) ** 2)
        loss.backward()
        norm = mg.optim.clip_grad_norm(self.parameters, 0.5) if self.clip else mg.zeros(())
        self.optimiser.step()
        if self.clip:
            mg.optim.max_norm(self.parameters, 2.0)
        self.optimiser.zero_grad()
        return loss, norm

    def state(self) -> list[np.ndarray]:
        cells = [*self.parameters, *self.optimiser.state_dict().values()]
        return [c.numpy() for c in (*cells, self.generator.stream)]


@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_compiled_step_is_the_step_at_the_prompt(name: str, clip: bool, backend: str) -> None:
    eager, traced = Training(name, clip), Training(name, clip)
    compiled = mg.compile(traced.step, backend=backend)
    for i in range(20):
        if i == 10:
            eager.optimiser.lr = traced.optimiser.lr = 0.003
        expected, got = eager.step(X, Y), compiled(X, Y)
        agree(got, expected, backend)
        agree(traced.state(), eager.state(), backend)
    assert compiled.signatures == 1  # neither the learning rate nor the count is baked in
    assert traced.w1.grad is None


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_traced_step_is_a_valid_graph_that_names_its_optimiser(name: str) -> None:
    training = Training(name, clip=True)
    graph = mg.trace(training.step, X, Y).verify()
    state = {cell for cell, _ in graph.updates}
    assert set(training.parameters) <= state
    assert {c for n, c in training.optimiser.state_dict().items() if not n.endswith("lr")} <= state
    scopes = {node.scope[0] for node in graph.nodes if node.scope}
    assert {type(training.optimiser).__name__, "clip_grad_norm", "max_norm"} <= scopes


def test_changing_a_plain_option_traces_again_and_takes_effect(backend: str) -> None:
    eager, traced = Training("momentum"), Training("momentum")
    compiled = mg.compile(traced.step, backend=backend)
    for i in range(6):
        if i == 3:
            for t in (eager, traced):
                t.optimiser.param_groups[0]["momentum"] = 0.5
                t.optimiser.param_groups[0]["weight_decay"] = 0.0
        eager.step(X, Y)
        compiled(X, Y)
    assert compiled.signatures == 2
    agree(traced.w1, eager.w1, backend)


def test_momentum_that_was_off_can_be_turned_on_in_mid_training(backend: str) -> None:
    eager, traced = Training("sgd"), Training("sgd")
    compiled = mg.compile(traced.step, backend=backend)
    for i in range(6):
        if i == 3:
            for t in (eager, traced):
                t.optimiser.param_groups[0]["momentum"] = 0.9
        eager.step(X, Y)
        compiled(X, Y)
    assert "state.0.momentum_buffer" in traced.optimiser.state_dict()
    agree(traced.w1, eager.w1, backend)


def test_a_schedule_moves_the_rate_of_a_compiled_step(backend: str) -> None:
    eager, traced = Training("sgd"), Training("sgd")
    compiled = mg.compile(traced.step, backend=backend)
    schedules = [mg.optim.ExponentialLR(t.optimiser, gamma=0.7) for t in (eager, traced)]
    for _ in range(5):
        eager.step(X, Y)
        compiled(X, Y)
        for schedule in schedules:
            schedule.step()
    assert compiled.signatures == 1
    agree(traced.w1, eager.w1, backend)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_one_cycle_moves_the_momentum_of_a_compiled_step_without_retracing(
    name: str, backend: str
) -> None:
    eager, traced = Training(name), Training(name)
    compiled = mg.compile(traced.step, backend=backend)
    eager.step(X, Y)
    compiled(X, Y)
    schedules = [mg.optim.OneCycleLR(t.optimiser, 0.1, total_steps=8) for t in (eager, traced)]
    for _ in range(8):
        eager.step(X, Y)
        compiled(X, Y)
        for schedule in schedules:
            schedule.step()
    assert compiled.signatures == 2  # once before there was a schedule
    agree(traced.state(), eager.state(), backend)


def test_the_second_beta_can_be_changed_while_the_first_is_cycled(backend: str) -> None:
    eager, traced = Training("adam"), Training("adam")
    compiled = mg.compile(traced.step, backend=backend)
    for t in (eager, traced):
        mg.optim.OneCycleLR(t.optimiser, 0.1, total_steps=8)
    for i in range(4):
        if i == 2:
            for t in (eager, traced):
                t.optimiser.param_groups[0]["betas"] = (0.9, 0.5)
        eager.step(X, Y)
        compiled(X, Y)
    assert compiled.signatures == 2
    assert traced.optimiser.param_groups[0]["betas"] == (0.9, 0.5)
    agree(traced.w1, eager.w1, backend)


def test_the_learning_rate_can_be_computed_inside_the_step() -> None:
    p = mg.Parameter([1.0])
    optimiser = mg.optim.SGD([p], lr=1.0)

    @mg.compile
    def step() -> Any:
        (p * 1.0).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        optimiser.lr = optimiser.lr * 0.5
        return p + 0.0

    assert [step().item() for _ in range(3)] == [0.0, -0.5, -0.75]
    assert optimiser.lr == 0.125

    @mg.compile
    def reset() -> Any:
        optimiser.lr = 0.25
        return p + 0.0

    reset()
    optimiser.lr = 0.5
    reset()
    assert optimiser.lr == 0.25


def test_a_schedule_inside_a_compiled_function_is_refused() -> None:
    p = mg.Parameter([1.0])
    optimiser = mg.optim.SGD([p])
    schedule = mg.optim.StepLR(optimiser, 1)
    plateau = mg.optim.ReduceLROnPlateau(optimiser)
    for act in (
        lambda: schedule.step(),
        lambda: plateau.step(1.0),
        lambda: schedule.load_state_dict(schedule.state_dict()),
        lambda: optimiser.load_state_dict(optimiser.state_dict()),
        lambda: mg.optim.StepLR(optimiser, 1),
    ):

        def step(act: Any = act) -> Any:
            act()
            return p + 0.0

        with pytest.raises(TraceError, match="inside a traced function"):
            mg.compile(step)()
