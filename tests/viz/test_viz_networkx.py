"""Graphs as networkx graphs: there and back, edits, and questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viz_samples import data, gradient_graph, history, needs_networkx, random_graph

import minigrad as mg
from minigrad.errors import BackendUnavailable, GraphInvalid
from minigrad.viz import bottlenecks, dead_parameters, paths, saved_for_backward

pytestmark = needs_networkx


def product() -> mg.Graph:
    def f(x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        p = mg.tag(x * y, "p")
        return mg.sum(p + p * 2.0)

    return mg.trace(f, mg.spec((3,)), mg.spec((3,)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 30), st.integers(0, 30)), max_size=20),
    st.booleans(),
)
def test_viz_networkx_round_trip_is_the_same_program(
    choices: list[tuple[int, int, int]], backward: bool
) -> None:
    graph = random_graph(choices)
    graph = graph.grad() if backward else graph
    again = mg.Graph.from_networkx(graph.to_networkx())
    assert again.text() == graph.text()
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    for a, b in zip(_run(graph, x), _run(again, x), strict=True):
        np.testing.assert_array_equal(a, b)


def _run(graph: mg.Graph, x: np.ndarray) -> list[np.ndarray]:
    out = graph(x, x[::-1].copy())
    return [np.asarray(t) for t in (out if isinstance(out, tuple) else (out,))]


def test_viz_networkx_keeps_state_updates_and_origins() -> None:
    graph = gradient_graph()
    again = mg.Graph.from_networkx(graph.to_networkx())
    assert again.text(origins=True) == graph.text(origins=True)
    assert [cell for cell, _ in again.updates] == [cell for cell, _ in graph.updates]
    x, y = data()
    for a, b in zip(graph(x, y), again(x, y), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert again.draw(fold=True).note == graph.draw(fold=True).note


def test_viz_networkx_attributes_say_what_a_node_is() -> None:
    graph = history().graph()
    g = graph.to_networkx()
    (tanh,) = [v for v, d in g.nodes(data=True) if d["op"] == "tanh"]
    attributes = g.nodes[tanh]
    assert attributes["shape"] == ()
    assert attributes["role"] == "output"
    assert attributes["label"] == "out"
    assert float(attributes["value"]) == pytest.approx(np.tanh(0.4))
    assert g.graph["outputs"] == [tanh]


def test_viz_networkx_operand_places_survive_a_repeated_operand() -> None:
    graph = mg.trace(lambda x, y: mg.where(x > y, x, x * x), mg.spec((3,)), mg.spec((3,)))
    g = graph.to_networkx()
    (square,) = [v for v, d in g.nodes(data=True) if d["op"] == "mul"]
    assert g.edges["x", square]["operands"] == [0, 1]
    assert mg.Graph.from_networkx(g).text() == graph.text()


def test_viz_networkx_edits_are_taken_over() -> None:
    g = product().to_networkx()
    (total,) = [v for v, d in g.nodes(data=True) if d["op"] == "add"]
    (scaled,) = [v for v, d in g.nodes(data=True) if d["op"] == "mul" and d["name"] != "p"]
    (p,) = [v for v, d in g.nodes(data=True) if d["name"] == "p"]
    g.remove_edge(scaled, total)  # p + 2 p  becomes  p + p
    g.edges[p, total]["operands"] = [0, 1]
    g.remove_node(scaled)
    edited = mg.Graph.from_networkx(g)
    x, y = np.float32([1, 2, 3]), np.float32([4, 5, 6])
    assert float(edited(x, y)) == pytest.approx(2 * float(x @ y))
    g.add_node("new", op="tanh", params={})
    (out,) = g.graph["outputs"]
    g.add_edge(out, "new", operands=[0])
    g.graph["outputs"] = ["new"]
    assert float(mg.Graph.from_networkx(g)(x, y)) == pytest.approx(np.tanh(2 * float(x @ y)))


def test_viz_networkx_dead_vertices_are_left_out() -> None:
    g = product().to_networkx()
    g.add_node("dead", op="exp", params={})
    g.add_edge("x", "dead", operands=[0])
    assert mg.Graph.from_networkx(g).text() == product().text()


def _vertex(g: Any, op: str) -> str:
    return next(v for v, d in g.nodes(data=True) if d["op"] == op)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda g: g.add_edge(g.graph["outputs"][0], _vertex(g, "mul"), operands=[2]), "cycle"),
        (lambda g: g.nodes[_vertex(g, "mul")].update(op="magic"), "none of ours"),
        (lambda g: g.remove_edge("x", _vertex(g, "mul")), "no edge for operand 0"),
        (lambda g: g.remove_edge("y", _vertex(g, "mul")), "no edge for operand 1"),
        (lambda g: g.nodes[_vertex(g, "sum")].update(params={}), "does not take"),
        (lambda g: g.nodes[_vertex(g, "sum")].update(params={"axes": (5,), "keepdims": 0}), "sum"),
        (lambda g: g.remove_node("x"), "no edge for operand 0"),
        (lambda g: g.remove_node(g.graph["outputs"][0]), "not among the vertices"),
        (lambda g: g.graph.pop("outputs"), "'outputs' is missing"),
        (lambda g: g.graph["inputs"].remove("x"), "not among"),
        (lambda g: g.add_edge("x", _vertex(g, "sum"), operands=[0]), "two edges for operand 0"),
        (lambda g: g.add_edge("x", _vertex(g, "sum"), operands=[1]), "takes 1 operands"),
        (lambda g: g.edges["x", _vertex(g, "mul")].pop("operands"), "which operand"),
        (lambda g: g.add_edge(_vertex(g, "full"), "y", operands=[0]), "an edge leads to it"),
    ],
)
def test_viz_networkx_refuses_what_is_no_program(edit: Any, message: str) -> None:
    g = product().to_networkx()
    edit(g)
    with pytest.raises(GraphInvalid, match=message):
        mg.Graph.from_networkx(g)


def test_viz_networkx_refuses_other_objects_and_a_new_input() -> None:
    import networkx as nx

    with pytest.raises(GraphInvalid):
        mg.Graph.from_networkx(nx.path_graph(3))
    with pytest.raises(GraphInvalid, match="missing"):
        mg.Graph.from_networkx("no graph")
    g = product().to_networkx()
    g.add_node("z", op="input", params={})
    (out,) = g.graph["outputs"]
    g.add_node("s", op="add", params={})
    g.add_edge(out, "s", operands=[0])
    g.add_edge("z", "s", operands=[1])
    g.graph["outputs"] = ["s"]
    with pytest.raises(GraphInvalid, match="has no data"):
        mg.Graph.from_networkx(g)


def test_viz_networkx_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "networkx", None)
    for ask in (
        lambda: product().to_networkx(),
        lambda: mg.Graph.from_networkx(None),
        lambda: dead_parameters(product()),
    ):
        with pytest.raises(BackendUnavailable) as caught:
            ask()
        assert "minigrad[notebook]" in str(caught.value)


# Questions -------------------------------------------------------------------------


def test_viz_paths_are_all_ways_from_a_loss_to_a_parameter() -> None:
    graph = product()
    (out,) = graph.outputs
    found = paths(graph, out, "x")
    names = [[n.primitive.name for n in path] for path in found]
    assert names == [["sum", "add", "mul", "input"], ["sum", "add", "mul", "mul", "input"]]
    assert paths(graph, "x", out) == [p[::-1] for p in found]
    assert len(paths(graph, out, "x", limit=1)) == 1
    assert paths(graph, "x", "y") == []
    with pytest.raises(KeyError):
        paths(graph, out, "nobody")


def test_viz_dead_parameters_are_those_that_get_no_gradient() -> None:
    a = mg.Parameter(np.ones(2, np.float32), name="a")
    b = mg.Parameter(np.ones(2, np.float32), name="b")
    c = mg.Parameter(np.ones(2, np.float32), name="c")

    def f(x: mg.Tensor) -> mg.Tensor:
        _ = c * 2.0
        return mg.sum(a * x) + mg.sum(mg.stop_gradient(b * x))

    graph = mg.trace(f, mg.spec((2,)))
    assert {n.name for n in dead_parameters(graph)} == {"b", "c"}
    assert {n.name for n in dead_parameters(graph.grad())} == {"b", "c"}
    alive = mg.trace(lambda x: mg.sum(a * x), mg.spec((2,)))
    assert dead_parameters(alive) == []
    assert [n.name for n in dead_parameters(mg.trace(lambda x, y: mg.sum(x), 1.0, 2.0))] == ["y"]


def test_viz_bottlenecks_are_where_every_path_goes() -> None:
    def f(x: mg.Tensor, w: mg.Tensor) -> mg.Tensor:
        h = mg.tag(mg.tanh(x * w), "h")
        one, two = mg.exp(h), mg.sin(h)
        return mg.sum(mg.tag(one + two, "joined"))

    graph = mg.trace(f, mg.spec((3,)), mg.spec((3,)))
    found = bottlenecks(graph, "w")
    assert [n.name or n.primitive.name for n in found] == ["mul", "h", "joined"]
    assert bottlenecks(graph, graph.outputs[0]) == []


def test_viz_saved_for_backward_lists_what_the_derivatives_need() -> None:
    graph = mg.trace(lambda x: mg.sum(mg.exp(mg.sin(x)) * 3.0), mg.spec((5,))).grad()
    saved = saved_for_backward(graph)
    # d exp(u) = exp(u) du needs exp; d sin(x) = cos(x) dx needs x, an input, kept anyway
    assert [row.node.primitive.name for row in saved] == ["exp"]
    assert saved.nbytes == 5 * 4
    assert "exp" in str(saved)
    assert len(saved) == 1
    assert "<table>" in saved._repr_mimebundle_()["text/html"]
    assert len(saved_for_backward(mg.trace(mg.sum, mg.spec((3,))))) == 0


def test_viz_saved_views_count_once_as_what_they_view() -> None:
    w = mg.Parameter(np.ones(3, np.float32), name="w")
    graph = mg.trace(lambda x: mg.sum(x * mg.exp(w)), mg.spec((100, 3))).grad()
    saved = saved_for_backward(graph)
    assert [row.node.primitive.name for row in saved] == ["exp"]
    assert saved.nbytes == 12
