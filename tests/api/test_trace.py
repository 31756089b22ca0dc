"""``mg.trace``, running a graph, ``Graph.grad``, history graphs; their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import MinigradError, NotDifferentiable, ShapeError, TraceError

A = np.random.default_rng(0).normal(size=(3, 4))
B = np.arange(4.0)


def f(x: Any, w: Any) -> Any:
    u = mg.tag(mg.tanh(x * w), "u")
    return mg.sum(u * u)


def test_trace_records_without_values_and_runs_on_any_data() -> None:
    graph = mg.trace(f, mg.spec((3, 4), np.float64), B)
    assert [n.name for n in graph.inputs] == ["x", "w"]
    assert [repr(n.aval) for n in graph.inputs] == ["f64[3, 4]", "f64[4]"]
    assert all(n.value is None for n in graph.nodes if n.inputs)
    np.testing.assert_allclose(graph(A, B), (np.tanh(A * B) ** 2).sum())
    np.testing.assert_allclose(graph(mg.tensor(A), B * 2), (np.tanh(A * B * 2) ** 2).sum())
    assert graph.values[graph.node("u")].shape == (3, 4)
    assert repr(graph) == f"<Graph f(x: f64[3, 4], w: f64[4]) -> f64[]; {len(graph)} nodes>"
    assert mg.spec().dtype == mg.float32
    assert mg.spec(3, np.int8).shape == (3,)


def test_trace_names_nested_arguments_and_returns_nested_results() -> None:
    def nested(p: Any, *rest: Any) -> Any:
        return {"a": p["w"][0] + rest[0], "b": (p["s"], None)}

    graph = mg.trace(nested, {"w": [B, B], "s": 2.0, "mode": "kept"}, B)
    assert [n.name for n in graph.inputs] == ["p.w[0]", "p.w[1]", "p.s", "arg1"]
    found = graph({"w": [B, B], "s": 2.0, "mode": "kept"}, B)
    assert found["a"].tolist() == (2 * B).tolist()
    assert found["b"][0].item() == 2.0
    assert found["b"][1] is None


def test_arguments_that_do_not_fit_a_graph_are_errors() -> None:
    graph = mg.trace(f, A, B)
    with pytest.raises(ShapeError, match="f: takes 2 arrays, got 1"):
        graph(A)
    with pytest.raises(ShapeError, match=r"argument w is f64\[4\], got float64\[3\]"):
        graph(A, B[:3])
    with pytest.raises(ShapeError, match=r"argument w is f64\[4\], got float32\[4\]"):
        graph(A, B.astype(np.float32))


def test_numbers_are_arguments_of_a_graph() -> None:
    graph = mg.trace(lambda x, n: x * n, B, 3)
    assert graph(B, 5).tolist() == (5 * B).tolist()
    assert graph(B, 2.5).tolist() == (2.5 * B).tolist()


def test_state_is_read_when_a_graph_runs_and_not_changed() -> None:
    p, b = mg.Parameter(B, "p"), mg.Buffer(np.zeros(4), "b")

    def step(x: Any) -> Any:
        b.assign(b + x)
        return p * x + b

    graph = mg.trace(step, B)
    assert [n.name for n in graph.arguments] == ["x"]
    assert [n.name for n in graph.state] == ["b", "p"]
    assert [cell.name for cell, _ in graph.updates] == ["b"]
    assert graph(np.ones(4)).tolist() == (B + 1).tolist()
    assert b.tolist() == [0, 0, 0, 0]
    p.assign(B * 2)
    assert graph(np.ones(4)).tolist() == (2 * B + 1).tolist()
    assert "b <- %" in graph.text()


# Graph.grad -------------------------------------------------------------------------


def numeric_u() -> dict[str, np.ndarray]:
    u = np.tanh(A * B)
    slope = 1 - u * u
    return {"u": 2 * u, "x": 2 * u * slope * B, "w": (2 * u * slope * A).sum(0)}


@pytest.mark.parametrize("wrt", [["x"], ["w", "x"], ["u"], ["x", "u", "w"], "w", 1, [0, "u"]])
def test_gradient_with_respect_to_names_tags_and_positions(wrt: Any) -> None:
    graph = mg.trace(f, A, B).grad(wrt)
    found = graph(A, B)
    listed = wrt if isinstance(wrt, list) else [wrt]
    assert len(found) == 1 + len(listed)
    for name, gradient in zip(listed, found[1:], strict=True):
        name = ["x", "w"][name] if isinstance(name, int) else name
        np.testing.assert_allclose(gradient, numeric_u()[name], rtol=1e-12, atol=1e-14)
    assert graph.verify().name == "f.grad"


def test_gradient_with_respect_to_nodes_and_all_floating_inputs() -> None:
    graph = mg.trace(f, A, B)
    node = graph.node("u")
    np.testing.assert_allclose(graph.grad(node)(A, B)[1], numeric_u()["u"])
    np.testing.assert_allclose(
        graph.grad([f"%{graph.nodes.index(node)}"])(A, B)[1], numeric_u()["u"]
    )
    found = graph.grad()(A, B)
    np.testing.assert_allclose(found[1], numeric_u()["x"])
    np.testing.assert_allclose(found[2], numeric_u()["w"])


def test_gradient_skips_integers_buffers_and_frozen_parameters() -> None:
    p, q, b = mg.Parameter(B, "p"), mg.Parameter(B, "q"), mg.Buffer(B, "b")
    q.requires_grad = False
    graph = mg.trace(lambda x, i: mg.sum(x[i] * p * q * b), A, np.array(1)).grad()
    assert len(graph.outputs) == 3  # the loss, x and p
    with pytest.raises(MinigradError, match="no floating-point inputs"):
        mg.trace(lambda i: mg.sum(i), np.arange(3)).grad()


def test_gradient_takes_a_cotangent_or_makes_it_an_input() -> None:
    graph = mg.trace(lambda x: x * x, B)
    c = np.array([1.0, 10.0, 100.0, 1000.0])
    assert graph.grad(cotangent=c)(B)[1].tolist() == (2 * B * c).tolist()
    symbolic = graph.grad(cotangent=mg.spec((4,), np.float64))
    assert [n.name for n in symbolic.inputs] == ["x", "delta"]
    assert symbolic(B, c)[1].tolist() == (2 * B * c).tolist()
    with pytest.raises(ShapeError, match="it is not a scalar"):
        graph.grad()
    with pytest.raises(ShapeError, match=r"cotangent has shape \(3,\)"):
        graph.grad(cotangent=np.ones(3))


def test_gradient_of_a_gradient_graph_from_its_text_alone() -> None:
    graph = mg.trace(lambda x: mg.sum(x**4), B)
    first = graph.grad()
    with pytest.raises(ShapeError, match="the graph has 2 outputs"):
        first.grad()
    second = mg.Graph(first.inputs, [first.outputs[1]], name="first").grad(cotangent=np.ones(4))
    assert second(B)[1].tolist() == (12 * B**2).tolist()


def test_gradient_errors_name_what_was_asked() -> None:
    graph = mg.trace(lambda x, i: mg.sum(x) + i, A, np.array(3))
    with pytest.raises(KeyError, match="no node is called 'nobody'; names here: x, i"):
        graph.grad("nobody")
    with pytest.raises(NotDifferentiable, match="int64 has no derivative"):
        graph.grad("i")


@pytest.mark.host
def test_gradient_is_recorded_whatever_is_switched_off_around_it() -> None:
    graph = mg.trace(lambda x: mg.sum(mg.sin(x)), B)
    with mg.no_grad():
        gradient = graph.grad()
    assert gradient(B * 2)[1].tolist() == np.cos(2 * B).tolist()
    eager = mg.sum(mg.sin(mg.tensor(B, name="x"))).graph()
    with mg.no_grad():
        gradient = eager.grad()
    assert gradient(B * 2)[1].tolist() == np.cos(2 * B).tolist()


def test_backward_nodes_know_the_forward_node_that_they_serve() -> None:
    graph = mg.trace(f, A, B).grad()
    partners = {n.partner.primitive.name for n in graph.nodes if n.partner is not None}
    assert {"tanh", "mul", "sum"} <= partners
    for node in graph.nodes:
        if node.partner is not None:
            assert node.partner in graph.nodes
            assert node.where == node.partner.where
    backward = [n for n in graph.nodes if n.partner is not None]
    assert all(n.origin.file.endswith("test_trace.py") for n in backward)


# Histories --------------------------------------------------------------------------


def test_history_of_a_tensor_is_a_graph_with_values() -> None:
    x, p = mg.tensor(B, requires_grad=True, name="x"), mg.Parameter(B + 1, "p")
    y = mg.sum(mg.tag(x * p, "xp") * 2.0)
    graph = y.graph()
    assert {n.name for n in graph.inputs} == {"x", "p"}
    assert graph.values[graph.node("xp")].tolist() == (B * (B + 1)).tolist()
    assert graph(np.ones(4)).item() == 2 * (B + 1).sum()
    assert graph.verify() is graph
    found = graph.grad(["x", "p", "xp"])
    assert [g.tolist() for g in found(B)[1:]] == [
        (2 * (B + 1)).tolist(), (2 * B).tolist(), [2.0] * 4,
    ]  # fmt: skip


def test_history_of_a_leaf_is_a_graph_of_one_node() -> None:
    graph = mg.tensor(B).graph()
    assert graph().tolist() == B.tolist()


def test_history_is_named_by_the_variable_that_holds_it() -> None:
    result = mg.sum(mg.tensor(B) * 2)
    assert result.graph().name == "result"


def test_leaked_tracer_in_a_trace_is_an_error() -> None:
    kept: list[Any] = []
    mg.trace(lambda x: kept.append(x) or x * 2, B)
    with pytest.raises(TraceError, match="a traced value that is not among the inputs"):
        mg.trace(lambda y: y + kept[0], B)


def test_error_inside_a_trace_has_the_line_of_the_user() -> None:
    with pytest.raises(ShapeError, match="inner sizes differ") as caught:
        mg.trace(lambda a, b: a @ b, mg.spec((2, 3)), mg.spec((4, 5)))
    text = str(caught.value)
    assert "test_trace.py" in text
    assert text.count("f32[") == 2


def test_a_graph_called_on_traced_tensors_becomes_part_of_the_trace() -> None:
    weight = mg.Parameter(np.array([1.0, 2.0, 3.0]), "w")
    inner = mg.trace(lambda x: {"y": x * weight, "n": mg.sum(x)}, mg.spec((3,), mg.float64))

    def outer(x: Any) -> Any:
        found = inner(mg.sin(x))
        return mg.sum(found["y"] * found["n"])

    x = np.array([0.1, 0.2, 0.3])
    graph = mg.trace(outer, x)
    assert [n.name for n in graph.inputs] == ["x", "w"]
    expected = np.sum(np.sin(x) * weight.numpy()) * np.sin(x).sum()
    np.testing.assert_allclose(graph(x), expected)
    np.testing.assert_allclose(mg.compile(outer)(x), expected)
    mg.testing.check_grads(lambda x: mg.vmap(inner)(x)["y"], (np.stack([x, x]),), order=1)
    with pytest.raises(ShapeError, match="shapes and dtypes of the trace"):
        mg.trace(lambda x: inner(x), mg.spec((4,), mg.float64))
