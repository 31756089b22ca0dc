"""Graph and verify: order, text, names; every invariant is checked, and a breach is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Graph, Node, aval, registry, verify
from minigrad.core.tape import placeholder
from minigrad.errors import GraphInvalid, MinigradError

A = np.random.default_rng(0).normal(size=(2, 3))


def program(x: Any, w: Any) -> Any:
    """One of each: a literal, a constant, a tag, several uses, a reduction."""
    h = mg.tag(mg.tanh(x @ w * 0.5), "h")
    return mg.sum(h * h + np.arange(4.0)), mg.where(h > 0, h, 0.0)


TEXT = """\
graph program(x: f64[2, 3], w: f64[3, 4])
  %0: f64[2, 4] = matmul(x, w)
  %1: f64[2, 4] = full(value=0.5)
  %2: f64[2, 4] = mul(%0, %1)
  %3: f64[2, 4] = tanh(%2)  # h
  %4: f64[2, 4] = mul(%3, %3)
  %5: f64[4] = constant([0.0, 1.0, 2.0, 3.0])
  %6: f64[2, 4] = broadcast_to(%5, shape=(2, 4))
  %7: f64[2, 4] = add(%4, %6)
  %8: f64[] = sum(%7, axes=(0, 1), keepdims=False)
  %9: f64[2, 4] = full(value=0)
  %10: bool[2, 4] = less(%9, %3)
  %11: f64[2, 4] = full(value=0.0)
  %12: f64[2, 4] = where(%10, %3, %11)
  return %8, %12"""

GRADIENT = """\
graph f.grad(x: f32[3])
  %0: f32[3] = tanh(x)  # u
  %1: f32[3] = mul(%0, x)
  %2: f32[] = sum(%1, axes=(0,), keepdims=False)
  %3: f32[] = full(value=1)
  %4: f32[1] = reshape(%3, shape=(1,))
  %5: f32[3] = broadcast_to(%4, shape=(3,))
  %6: f32[3] = mul(%5, x)
  %7: f32[3] = mul(%5, %0)
  %8: f32[3] = mul(%0, %0)
  %9: f32[3] = full(value=1.0)
  %10: f32[3] = sub(%9, %8)
  %11: f32[3] = mul(%6, %10)
  %12: f32[3] = add(%7, %11)
  return %2, %12"""


def traced() -> Graph:
    return mg.trace(program, mg.spec((2, 3), np.float64), mg.spec((3, 4), np.float64))


def test_text_is_the_program_line_by_line() -> None:
    assert traced().text() == TEXT


def test_text_of_a_gradient_is_a_program_again() -> None:
    graph = mg.trace(lambda x: mg.sum(mg.tag(mg.tanh(x), "u") * x), mg.spec((3,)))
    text = Graph(graph.inputs, graph.outputs, name="f").grad().text()
    assert text == GRADIENT


def test_text_does_not_depend_on_earlier_work() -> None:
    first = traced().text()
    mg.full((2, 4), 0.5, dtype=np.float64)
    mg.tensor(A) * 0.5 + 0.0
    mg.grad(lambda x: mg.sum(x * 0.0))(np.ones((2, 4)))
    from minigrad.core import door

    door._literals.clear()
    assert traced().text() == first
    before = traced().simplify().text()
    for _ in range(3):
        mg.tensor(A) * 0.25
    assert traced().simplify().text() == before


def test_text_tells_constants_names_and_places_apart() -> None:
    graph = mg.trace(lambda x: x + np.arange(100.0), mg.spec((100,), np.float64))
    assert "constant([0.0, 1.0, 2.0, 3.0, ...] #" in graph.text()
    other = mg.trace(lambda x: x + np.r_[np.arange(99.0), 0.0], mg.spec((100,), np.float64))
    assert other.text() != graph.text(), "the last element differs"
    assert "@ test_graph.py, line" in graph.text(origins=True)
    twice = mg.trace(lambda p: mg.sum(p["x"]) + mg.sum(p["y"]), {"x": A, "y": A})
    assert "p.x: f64[2, 3], p.y" in twice.text()
    x = mg.tensor(A, name="x")
    y = mg.tensor(A, name="x")
    assert "graph z(x: f64[2, 3], x_: f64[2, 3])" in _named(x, y)


def _named(x: Any, y: Any) -> str:
    z = x + y
    return str(z.graph().text())


def test_nodes_come_after_what_they_depend_on() -> None:
    for graph in (traced(), traced().simplify(), mg.trace(lambda x: mg.hessian(
            lambda t: mg.sum(mg.exp(t)))(x), mg.spec((3,)))):  # fmt: skip
        place = {n: i for i, n in enumerate((*graph.inputs, *graph.nodes))}
        for node in graph.nodes:
            assert all(place[i] < place[node] for i in node.inputs)
        verify(graph)


def test_parts_of_a_graph() -> None:
    graph = traced()
    assert len(graph) == len(graph.nodes) == 13
    assert [n.primitive.name for n in graph.constants] == ["full", "constant", "full", "full"]
    assert graph.results == graph.outputs
    assert graph.node("h").primitive.name == "tanh"
    assert graph.node("%0").primitive.name == "matmul"
    with pytest.raises(KeyError, match="no node is called '%99'"):
        graph.node("%99")


# Verify finds each planted fault -------------------------------------------------------


def corrupt(graph: Graph, **changes: Any) -> Graph:
    """Return a graph with attributes put in by force."""
    twin = Graph(graph.inputs, graph.outputs, name=graph.name)
    for name, value in changes.items():
        setattr(twin, name, value)
    return twin


def altered(graph: Graph, place: int, **changes: Any) -> Graph:
    """Return a graph in which one node was altered after it was made."""
    node = graph.nodes[place]
    for name, value in changes.items():
        setattr(node, name, value)
    return graph


FAULTS: list[tuple[str, Any, str]] = [
    ("input twice", lambda g: corrupt(g, inputs=(*g.inputs, g.inputs[0])), "input is listed twice"),
    ("node twice", lambda g: corrupt(g, nodes=(*g.nodes, g.nodes[0])), "node is listed twice"),
    ("input among nodes", lambda g: corrupt(g, nodes=(g.inputs[0], *g.nodes)), "listed twice"),
    ("order", lambda g: corrupt(g, nodes=g.nodes[::-1]), "before one of its inputs"),
    ("missing node", lambda g: corrupt(g, nodes=g.nodes[1:]), "before one of its inputs"),
    ("missing input", lambda g: corrupt(g, inputs=g.inputs[:1]), "before one of its inputs"),
    ("missing output", lambda g: corrupt(g, nodes=g.nodes[:-1]), "output is not among the nodes"),
    (
        "wrong dtype", lambda g: altered(g, 0, aval=aval((2, 4), np.dtype(np.float32))),
        "the type is f32",
    ),
    (
        "wrong shape", lambda g: altered(g, 8, aval=aval((1,), np.dtype(np.float64))),
        r"the type is f64\[1\], its rule says f64\[\]",
    ),
    ("wrong params", lambda g: altered(g, 6, params={"shape": (2, 5)}), "type rule"),
    ("wrong operands", lambda g: altered(g, 7, inputs=(g.nodes[4], g.nodes[5])), "type rule"),
    (
        "unknown primitive", lambda g: altered(g, 3, primitive=replace(registry["tanh"])),
        "not a registered primitive",
    ),
    ("constant without a value", lambda g: altered(g, 5, value=None), "a constant has no value"),
    ("wrong value", lambda g: altered(g, 5, value=np.zeros(3)), r"the value is float64\(3,\)"),
    (
        "wrong value dtype", lambda g: altered(g, 5, value=np.zeros(4, np.float32)),
        r"the value is float32",
    ),
    (
        "update of another type",
        lambda g: corrupt(g, updates=((mg.Buffer(np.zeros(3), "b"), g.nodes[0]),)),
        "b would change its type",
    ),
    (
        "update not computed",
        lambda g: corrupt(g, updates=((mg.Buffer(np.zeros(3)), placeholder(g.nodes[0].aval)),)),
        "output is not among the nodes",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "message"), [pytest.param(*f[1:], id=f[0]) for f in FAULTS])
def test_verify_finds_a_planted_fault(fault: Any, message: str) -> None:
    graph = traced()
    assert verify(graph) is graph
    with pytest.raises(GraphInvalid, match=message) as caught:
        verify(fault(graph))
    assert "please report" in str(caught.value)


def test_graph_invalid_is_a_minigrad_error() -> None:
    assert issubclass(GraphInvalid, MinigradError)
    assert issubclass(GraphInvalid, RuntimeError)


def test_rebuilt_node_keeps_its_place_and_role() -> None:
    node = traced().node("h")
    twin = node.rebuilt((placeholder(node.inputs[0].aval),))
    assert isinstance(twin, Node)
    assert (twin.name, twin.where, twin.aval, twin.params) == (
        node.name, node.where, node.aval, node.params,
    )  # fmt: skip
    assert node.rebuilt(node.inputs) is node
    assert twin.serial > node.serial
