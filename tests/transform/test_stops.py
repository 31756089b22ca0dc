"""Where gradients do not flow: no_grad, stop_gradient, detach; and tags, which let them through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

X = np.array([0.5, -1.5])


def stopped(x: Any) -> Any:
    """3 x, with the gradient of 1 x."""
    with mg.no_grad():
        y = x * 2.0
    return mg.sum(x + y)


@pytest.mark.parametrize("wrap", [lambda f: f, mg.compile], ids=["prompt", "compiled"])
def test_no_grad_lets_values_through_and_no_gradients(wrap: Any) -> None:
    assert wrap(stopped)(X).item() == pytest.approx(3 * X.sum())
    assert wrap(mg.grad(stopped))(X).tolist() == [1, 1]
    assert mg.trace(stopped, X).grad()(X)[1].tolist() == [1, 1]
    assert mg.trace(stopped, X).simplify().grad()(X)[1].tolist() == [1, 1]


def test_no_grad_stops_in_every_transformation() -> None:
    v = np.array([1.0, 10.0])
    assert mg.jvp(stopped, X, v)[1].item() == 11.0
    assert mg.vmap(mg.grad(stopped))(np.stack([X, X])).tolist() == [[1, 1], [1, 1]]
    assert mg.grad(lambda x: mg.sum(mg.vmap(stopped)(x[None])))(X).tolist() == [1, 1]
    twice = mg.vmap(mg.vmap(lambda t: stopped(t[None])))
    assert mg.grad(lambda x: mg.sum(twice(x[None])))(X).tolist() == [1, 1]
    assert mg.jacobian(stopped)(X).tolist() == [1, 1]
    assert mg.grad(mg.checkpoint(stopped))(X).tolist() == [1, 1]


def test_no_grad_at_the_prompt_keeps_no_history() -> None:
    x = mg.tensor(X, requires_grad=True)
    with mg.no_grad():
        y = mg.sum(x * 2)
    assert y.node.inputs == ()
    assert not y.requires_grad
    with pytest.raises(mg.errors.NotDifferentiable, match="nothing that this tensor was computed"):
        y.backward()
    z = mg.sum(x * 2)
    assert z.requires_grad


def test_no_grad_ends_with_its_block_even_by_an_error() -> None:
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        1 / 0  # noqa: B018
    assert (mg.tensor(X) * 2).node.inputs


def test_transformations_inside_no_grad_work_and_give_plain_results() -> None:
    w = mg.Parameter(X)
    with mg.no_grad():
        value, gradient = mg.value_and_grad(lambda x: mg.sum(x * x * w))(X)
        out, back = mg.vjp(lambda x: x * w, X)
        (pulled,) = back(np.ones(2))
        pushed, tangent = mg.jvp(lambda x: x * w, X, np.ones(2))
        many = mg.vmap(lambda x: x * w)(np.ones((2, 2)))
        full = mg.hessian(lambda x: mg.sum(x * x * w))(X)
    assert gradient.tolist() == (2 * X * X).tolist()
    assert np.diag(full.numpy()).tolist() == (2 * X).tolist()
    for result in (value, gradient, out, pulled, pushed, tangent, many, full):
        assert result.node.inputs == (), "no history"


def test_no_grad_in_a_trace_stops_the_results_of_transformations() -> None:
    def f(x: Any) -> Any:
        with mg.no_grad():
            value, gradient = mg.value_and_grad(lambda t: mg.sum(t * t * t))(x)
        return mg.sum(x * gradient) + value

    expected = 3 * X * X  # neither the gradient nor the value is differentiated
    assert mg.grad(f)(X).tolist() == expected.tolist()
    assert mg.compile(mg.grad(f))(X).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("stop", [mg.stop_gradient, lambda t: t.detach()])
def test_stop_gradient_and_detach_are_the_identity_with_derivative_zero(stop: Any) -> None:
    f = lambda x: mg.sum(stop(x) * x)
    assert f(mg.tensor(X)).item() == pytest.approx((X * X).sum())
    assert mg.grad(f)(X).tolist() == X.tolist()
    assert mg.compile(mg.grad(f))(X).tolist() == X.tolist()
    assert mg.grad(lambda x: mg.sum(mg.grad(f)(x)))(X).tolist() == [0, 0]
    assert mg.jvp(f, X, np.ones(2))[1].item() == pytest.approx(X.sum())


@pytest.mark.host
def test_tag_names_an_intermediate_and_changes_nothing() -> None:
    def f(x: Any) -> Any:
        u = mg.tag(mg.tanh(x), "u")
        v = mg.tag(u, "v")
        w = mg.tag(x, "w")
        return mg.sum(mg.tag(u * v, "u v") + w)

    assert mg.grad(f)(X).tolist() == pytest.approx((2 * np.tanh(X) / np.cosh(X) ** 2 + 1).tolist())
    graph = mg.trace(f, X)
    assert [graph.node(n).name for n in ("u", "v", "w", "u v", "x")] == ["u", "v", "w", "u v", "x"]
    for version in (graph, graph.simplify()):
        du, dv = version.grad(["u", "v"])(X)[1:]
        assert dv.tolist() == np.tanh(X).tolist()  # only by v
        assert du.tolist() == (2 * np.tanh(X)).tolist()  # by u itself and through v
    with pytest.raises(KeyError, match="names here: x, u, v, w, u v"):
        graph.node("nobody")


def test_tag_of_a_literal_or_a_leaf_is_a_node_of_its_own() -> None:
    assert mg.tag(1.0, "one").name == "one"
    assert mg.ones(3).name is None
    p = mg.Parameter(X, "p")
    assert mg.tag(p, "q").name == "q"
    assert p.name == "p"
