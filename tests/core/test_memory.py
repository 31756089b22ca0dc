"""Histories are freed with the tensors that hold them; nothing grows over many steps."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Node, verify
from minigrad.passes import finalise, simplify


@pytest.fixture
def no_collector() -> Any:
    """Leave memory to reference counts alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def watched(tensor: mg.Tensor) -> list[weakref.ref[Node]]:
    from minigrad.core import ancestors

    return [weakref.ref(n) for n in ancestors([tensor.node]) if n.inputs]


def test_deleting_a_tensor_frees_its_history_at_once(no_collector: Any) -> None:
    x = mg.tensor(np.ones(4), requires_grad=True)
    y = mg.sum(mg.softmax(mg.tanh(x * 2.0) @ np.ones((4, 4))))
    nodes = watched(y)
    assert len(nodes) > 5
    assert all(n() is not None for n in nodes)
    del y
    assert all(n() is None for n in nodes)


def test_gradients_free_their_graphs_at_once(no_collector: Any) -> None:
    p = mg.Parameter(np.ones(4))
    loss = mg.sum(mg.tanh(p) ** 2)
    nodes = watched(loss)
    loss.backward()
    first = weakref.ref(p.grad.node)
    del loss
    assert all(n() is None for n in nodes)
    p.grad = None
    assert first() is None
    hessian = mg.hessian(lambda x: mg.sum(mg.exp(x)))(np.ones(3))
    nodes = watched(hessian)
    del hessian
    assert all(n() is None for n in nodes)


def test_an_old_value_of_a_cell_is_freed_when_it_is_replaced(no_collector: Any) -> None:
    p = mg.Parameter(np.ones(4))
    leaf = weakref.ref(p.leaf)
    p.assign(p * 2.0)
    assert leaf() is None


def step(p: Any, m: Any) -> None:
    p.grad = None
    mask = mg.random.bernoulli(0.5, (4,))
    mg.sum(mg.tanh(p * mask + m)).backward()
    with mg.no_grad():
        m.assign(m * 0.9 + p.grad)
        p.assign(p - m * 0.01)


def count_after(run: Any, steps: int) -> tuple[int, int]:
    """Return live nodes, and objects that only the collector could free, after many steps."""
    for _ in range(20):
        run()
    gc.collect()
    gc.disable()
    try:
        for _ in range(steps):
            run()
        nodes = sum(type(o) is Node for o in gc.get_objects())  # asks foreign objects nothing
        return nodes, gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["eager", "checkpoint", "compiled", "transforms"])
def test_steps_leave_neither_nodes_nor_cycles(kind: str) -> None:
    p, m = mg.Parameter(np.ones(4)), mg.Buffer(np.zeros(4))
    inside = mg.checkpoint(lambda x: mg.tanh(x) * p)
    x = np.ones(4)
    runs = {
        "eager": (lambda: step(p, m), 2000),
        "checkpoint": (lambda: mg.sum(inside(mg.tensor(x))).backward(), 300),
        "compiled": (mg.compile(lambda: step(p, m)), 500),
        "transforms": (
            lambda: (
                mg.grad(lambda x: mg.sum(mg.sin(x)))(x),
                mg.vmap(mg.jacobian(mg.sin))(x[None]),
            ),
            200,
        ),
    }
    run, steps = runs[kind]
    few, _ = count_after(run, 5)
    many, cycles = count_after(run, steps)
    assert many <= few + 5, f"{many - few} more nodes after {steps} steps"
    assert cycles < 50, f"{cycles} objects in cycles after {steps} steps"


# Depth ------------------------------------------------------------------------------

DEPTH = 50_000


def chain(x: Any, n: int) -> Any:
    for i in range(n):
        x = mg.sin(x) if i % 2 else x * 1.0001
    return x


@pytest.mark.host
def test_chain_of_fifty_thousand_operations_needs_no_recursion() -> None:
    limit = sys.getrecursionlimit()
    graph = mg.trace(lambda x: chain(x, DEPTH), mg.spec((), np.float64))
    gradient = graph.grad()
    assert len(graph.arguments) == 1
    verify(gradient)
    small = simplify(gradient)
    final = finalise(gradient)
    value, slope = final_run(final, 0.3)
    eager, derivative = mg.value_and_grad(lambda x: chain(x, DEPTH))(np.float64(0.3))
    assert value == eager.item()
    assert slope == derivative.item()
    assert 0 < slope < 1
    assert len(small.text().splitlines()) > DEPTH
    del graph, gradient, small, final, eager, derivative
    gc.collect()
    assert sys.getrecursionlimit() == limit


def final_run(graph: mg.Graph, x: float) -> list[float]:
    from minigrad.backends import evaluate

    return [float(r) for r in evaluate(graph, [np.asarray(x)])]


def test_work_grows_linearly_with_the_length_of_a_program() -> None:
    """Counted in operations, not seconds: nodes made by trace, gradient, and passes."""

    def made(n: int) -> list[int]:
        counts = []
        before = mg.tensor(0.0).node.serial
        for work in (
            lambda: mg.trace(lambda x: mg.sum(chain(x, n)), mg.spec((3,))),
            lambda: graphs[0].grad(),
            lambda: simplify(graphs[1]),
            lambda: finalise(graphs[1]),
        ):
            graphs.append(work())
            now = mg.tensor(0.0).node.serial
            counts.append(now - before)
            before = now
        graphs.clear()
        return counts

    graphs: list[mg.Graph] = []
    small, large = made(100), made(1000)
    for a, b in zip(small, large, strict=True):
        assert b < 11 * a, f"{small} nodes for 100 operations, {large} for 1000"


def test_fan_out_adds_up_each_cotangent_once() -> None:
    """x is used n times: n - 1 additions, not n squared."""

    def nodes(n: int) -> int:
        graph = mg.trace(lambda x: mg.sum(mg.stack([mg.sin(x) for _ in range(n)])), mg.spec((3,)))
        return len(graph.grad())

    assert nodes(80) < 2.1 * nodes(40)
