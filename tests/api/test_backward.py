"""``t.backward()``: leaves, accumulation, freezing, cotangents; at the prompt and compiled."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import MinigradError, NotDifferentiable, ShapeError, TraceError
from tests.agreement import agree

X = np.array([1.0, -2.0, 3.0])


def test_backward_fills_leaves_and_accumulates() -> None:
    x, p = mg.tensor(X, requires_grad=True), mg.Parameter(X + 1)
    assert x.grad is None
    assert p.grad is None
    mg.sum(x * p).backward()
    assert x.grad.tolist() == (X + 1).tolist()
    assert p.grad.tolist() == X.tolist()
    mg.sum(x * 2.0).backward()
    assert x.grad.tolist() == (X + 3).tolist()
    x.grad = None
    mg.sum(x * p * p).backward()
    assert x.grad.tolist() == ((X + 1) ** 2).tolist()
    assert x.grad.node.inputs == (), "a gradient left in .grad has no history"


def test_backward_twice_through_one_graph_accumulates_twice() -> None:
    x = mg.tensor(X, requires_grad=True)
    y = mg.sum(mg.tanh(x))
    y.backward()
    once = x.grad.numpy()
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once)


def test_backward_takes_a_cotangent() -> None:
    x = mg.tensor(X, requires_grad=True)
    c = np.array([1.0, 10.0, 100.0])
    (x * x).backward(c)
    assert x.grad.tolist() == (2 * X * c).tolist()
    x.grad = None
    (x * x).backward([1, 10, 100])
    assert x.grad.tolist() == (2 * X * c).tolist()
    with pytest.raises(ShapeError, match=r"backward: the result has shape \(3,\)"):
        (x * x).backward()
    with pytest.raises(ShapeError, match=r"the cotangent has shape \(2,\)"):
        (x * x).backward(np.ones(2))


def test_backward_of_a_leaf_itself() -> None:
    x = mg.tensor(2.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1.0


def test_backward_without_anything_to_differentiate_is_an_error() -> None:
    with pytest.raises(NotDifferentiable, match="nothing that this tensor was computed from"):
        mg.sum(mg.tensor(X) * 2).backward()
    with pytest.raises(NotDifferentiable, match="has no derivative"):
        mg.argmax(mg.Parameter(X)).backward()


def test_frozen_and_detached_leaves_receive_nothing() -> None:
    a, b = mg.Parameter(X), mg.Parameter(X)
    b.requires_grad = False
    mg.sum(a * b + mg.stop_gradient(a)).backward()
    assert a.grad.tolist() == X.tolist()
    assert b.grad is None
    assert not b.requires_grad
    x = mg.tensor(X, requires_grad=True)
    x.requires_grad = False
    assert not x.requires_grad
    with pytest.raises(NotDifferentiable):
        mg.sum(x).backward()


def test_requires_grad_is_seen_through_a_computation() -> None:
    x, p, b = mg.tensor(X, requires_grad=True), mg.Parameter(X), mg.Buffer(X)
    assert x.requires_grad
    assert (x * 2).requires_grad
    assert (p * 2).requires_grad
    assert not (b * 2).requires_grad
    assert not mg.tensor(X).requires_grad
    assert not b.requires_grad
    with pytest.raises(MinigradError, match="not trained"):
        b.requires_grad = True


def test_gradient_of_a_leaf_that_is_gone_is_dropped() -> None:
    x, p = mg.tensor(X, requires_grad=True), mg.Parameter(X)
    y = mg.sum(x * p)
    del x
    y.backward()
    assert p.grad.tolist() == X.tolist()


def test_backward_says_that_the_only_tensor_with_a_gradient_is_gone() -> None:
    y = mg.sum(mg.tensor([1.0, 2.0], requires_grad=True))
    with pytest.raises(NotDifferentiable, match=r"(?s)is gone.*keep it in a variable"):
        y.backward()
    with pytest.raises(NotDifferentiable, match="nothing that this tensor"):
        mg.sum(mg.tensor([1.0, 2.0])).backward()


def test_backward_after_assign_reaches_the_parameter_that_was_read() -> None:
    p = mg.Parameter(X)
    y = mg.sum(p * p)
    p.assign(np.zeros(3))
    y.backward()
    assert p.grad.tolist() == (2 * X).tolist()


def test_shared_parameter_gets_the_sum_of_its_uses() -> None:
    w = mg.Parameter(np.array(2.0))
    (w * w * w + w * 5.0).backward()
    assert w.grad.item() == 17.0


def test_backward_under_compile_sets_grad_as_at_the_prompt(backend: str) -> None:
    def step(p: Any, x: Any) -> Any:
        loss = mg.sum(mg.tanh(p * x))
        loss.backward()
        return loss

    eager, compiled = mg.Parameter(X), mg.Parameter(X)
    run = mg.compile(lambda x: step(compiled, x), backend=backend)
    for _ in range(3):  # the second run accumulates: it is traced again, since .grad was None
        a, b = step(eager, X), run(X)
        agree((b, compiled.grad), (a, eager.grad), backend)
    assert run.signatures == 2


def test_zeroing_and_reading_grad_under_compile() -> None:
    p = mg.Parameter(X)

    @mg.compile
    def step(x: Any) -> Any:
        p.grad = None
        mg.sum(p * x).backward()
        gradient = p.grad * 1.0
        p.grad = p.grad * 10.0
        return gradient

    assert step(np.ones(3)).tolist() == [1, 1, 1]
    assert step(np.ones(3) * 2).tolist() == [2, 2, 2]
    assert p.grad.tolist() == [20, 20, 20]

    @mg.compile
    def clear() -> None:
        p.grad = None

    assert clear() is None
    assert p.grad is None


def test_backward_inside_a_trace_to_a_leaf_outside_is_an_error() -> None:
    x = mg.tensor(X, requires_grad=True)
    with pytest.raises(TraceError, match="made outside the traced function"):
        mg.compile(lambda y: mg.sum(x * y).backward())(X)


def test_freezing_is_noticed_by_compiled_functions() -> None:
    p = mg.Parameter(X)

    @mg.compile
    def step() -> Any:
        p.grad = None
        loss = mg.sum(p * p) + mg.sum(q)
        loss.backward()
        return loss

    q = mg.Parameter(X)
    step()
    assert p.grad is not None
    p.requires_grad = False
    step()
    assert p.grad is None
    assert step.signatures >= 2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_tensors_and_cells_can_be_copied_and_pickled(duplicate: Any) -> None:
    x = mg.tensor(X, requires_grad=True, name="x")
    y = duplicate(mg.tanh(x))
    assert y.tolist() == np.tanh(X).tolist()
    assert y.node.inputs == (), "a copy has no history"
    z = duplicate(x)
    assert z.requires_grad
    assert z.name == "x"
    mg.sum(z * 2.0).backward()
    assert z.grad.tolist() == [2, 2, 2]
    assert x.grad is None
    p = mg.Parameter(X, "w")
    p.requires_grad = False
    twin = duplicate({"p": p, "b": mg.Buffer(X)})
    assert twin["p"].name == "w"
    assert not twin["p"].requires_grad
    twin["p"].assign(np.zeros(3))
    assert p.tolist() == X.tolist()
    assert isinstance(twin["b"], mg.Buffer)
