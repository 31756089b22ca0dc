"""``compiled.explain``: what runs, which lines it computes, what it takes; it changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.backends.report import Plan
from minigrad.core.late import call

pytestmark = pytest.mark.host
BACKENDS = [name for name in ("numpy", "cpu") if mg.backends()[name] == "usable"]
native = pytest.mark.skipif("cpu" not in BACKENDS, reason="pip install 'minigrad[cpu]'")


def layer(x: Any, w: Any) -> Any:
    h = mg.tanh(x @ w)
    return mg.sum(h * h)


def arrays() -> tuple[mg.Tensor, mg.Tensor]:
    return mg.tensor(np.ones((8, 64))), mg.tensor(np.ones((64, 16)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_operation_is_in_a_step_with_its_line(backend: str) -> None:
    plan = mg.compile(layer, backend=backend).explain(*arrays())
    names = {n.primitive.name for s in plan.steps for n in s.computes}
    assert {"matmul", "tanh", "mul", "sum"} <= names
    lines = {line for s in plan.steps for line in s.lines}
    assert any("h = mg.tanh(x @ w)" in line for line in lines)
    assert all(s.measured is not None and s.measured >= 0 for s in plan.steps)
    assert sum(s.flops for s in plan.steps) >= 2 * 8 * 64 * 16
    assert f"on {backend}" in str(plan)
    assert plan.peak_bytes >= plan.memory <= plan.unshared


@pytest.mark.parametrize("backend", BACKENDS)
def test_types_alone_are_not_timed(backend: str) -> None:
    plan = mg.compile(layer, backend=backend).explain(mg.spec((8, 64)), mg.spec((64, 16)))
    assert all(s.measured is None for s in plan.steps)
    assert "measured" not in str(plan)


@pytest.mark.parametrize("backend", BACKENDS)
def test_explaining_changes_no_state(backend: str) -> None:
    p, count = mg.Parameter(np.ones(4)), mg.Buffer(np.zeros(()))
    mg.random.seed(5)

    def step(x: Any) -> Any:
        count.assign(count + 1.0)
        p.assign(p - 0.1 * x * mg.random.bernoulli(0.5, (4,)))
        return mg.sum(p)

    run = mg.compile(step, backend=backend)
    x = mg.tensor(np.arange(4.0))
    run.explain(x)
    assert count.item() == 0
    assert p.tolist() == [1, 1, 1, 1]
    assert mg.random.default_generator.stream.item() == 0
    run(x)
    kept = p.tolist()
    run.explain(x)
    assert count.item() == 1
    assert p.tolist() == kept


@native
def test_a_fallback_is_said() -> None:
    plan = mg.compile(lambda x: mg.argsort(x) + 1, backend="cpu").explain(mg.tensor(np.ones(5)))
    assert [s.what for s in plan.steps] == ["reference", "loops"]
    assert "argsort" in plan.fallbacks[0].name
    assert "1 step runs by the reference functions: argsort" in str(plan)
    assert plan.fallbacks[0].source.startswith("minigrad.")


@native
def test_steps_name_layers_kernels_and_code() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm(64), nn.ReLU())

    @mg.compile(backend="cpu")
    def loss(x: Any) -> Any:
        return mg.sum(model(x))

    plan = loss.explain(mg.tensor(np.ones((64, 64), np.float32)))
    kinds = [s.what for s in plan.steps]
    assert "tiles" in kinds
    tiles = next(s for s in plan.steps if s.what == "tiles")
    assert tiles.over == (64, 64, 64)
    assert any("Linear" in name for name in tiles.layers)
    assert "define void" in tiles.source
    assert tiles.source in plan.source
    assert all(0 <= b < len(plan.buffers) for s in plan.steps for b in s.buffers)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_display_has_table_memory_and_code_and_no_script(backend: str) -> None:
    plan = mg.compile(layer, backend=backend).explain(*arrays())
    html = plan._repr_mimebundle_()["text/html"]
    assert "<table>" in html
    assert "<summary>memory</summary>" in html
    assert "<summary>code</summary>" in html
    assert "<script" not in html
    assert plan._repr_mimebundle_()["text/plain"] == str(plan)
    assert repr(plan) == f"<Plan of layer: {len(plan)} steps on {backend}>"


def test_a_long_plan_shows_its_longest_steps() -> None:
    def chain(x: Any) -> Any:
        for _ in range(300):
            x = mg.tanh(x)
        return x

    plan = mg.compile(chain, backend="numpy").explain(mg.spec((3,)))
    assert len(plan) == 300
    assert "100 steps are left out, the shorter ones" in str(plan)


def test_an_empty_plan() -> None:
    plan = mg.compile(lambda x: x, backend="numpy").explain(mg.tensor([1.0]))
    assert len(plan) == 0
    assert "0 steps" in str(plan)
    assert isinstance(call("plan.text", Plan("f", "cpu", "here", (), (), 0, 0)), str)


def test_the_number_of_threads_is_set_from_the_package() -> None:
    before = mg.get_num_threads()
    try:
        mg.set_num_threads(1)
        assert mg.get_num_threads() == 1
        with pytest.raises(mg.errors.DataError, match="number of threads"):
            mg.set_num_threads(0)
    finally:
        mg.set_num_threads(before)
