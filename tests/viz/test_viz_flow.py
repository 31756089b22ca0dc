"""Gradient flow: the numbers are those of the gradients, from whatever they come."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from viz_samples import data, gradient_graph

import minigrad as mg
from minigrad import nn
from minigrad.errors import MinigradError
from minigrad.viz import gradient_flow

RNG = np.random.default_rng(2)


def sigmoid_net(depth: int = 5) -> nn.Module:
    layers = [m for _ in range(depth) for m in (nn.Linear(6, 6), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(6, 1))


def test_viz_flow_of_a_linear_model_is_the_hand_gradient() -> None:
    x = RNG.normal(size=(7, 3))
    w = mg.Parameter(RNG.normal(size=(3, 2)), name="w")
    b = mg.Parameter(np.zeros(2), name="b")
    loss = mg.sum((mg.tensor(x) @ w + b) ** 2)
    rows = {r.name: r for r in gradient_flow(loss).rows}
    out = x @ w.numpy()
    assert rows["w"].gradient == pytest.approx(np.linalg.norm(2 * x.T @ out))
    assert rows["b"].gradient == pytest.approx(np.linalg.norm(2 * out.sum(axis=0)))
    assert rows["w"].value == pytest.approx(np.linalg.norm(w.numpy()))
    assert rows["w"].ratio == pytest.approx(rows["w"].gradient / rows["w"].value)
    assert w.grad is None, "nothing is left behind"


def test_viz_flow_is_the_same_from_a_loss_a_model_and_a_graph() -> None:
    model = sigmoid_net()
    x = mg.tensor(RNG.normal(size=(4, 6)).astype(np.float32))
    loss = mg.mean(model(x) ** 2)
    from_loss = gradient_flow(loss).rows
    loss.backward()
    from_model = gradient_flow(model).rows
    graph = mg.trace(lambda x: mg.mean(model(x) ** 2), x).grad()
    graph(x)
    from_graph = gradient_flow(graph).rows
    from_history = gradient_flow(loss.graph()).rows
    for other in (from_model, from_graph, from_history):
        assert [r.name for r in other] == [r.name for r in from_loss]
        for a, b in zip(other, from_loss, strict=True):
            assert a.gradient == pytest.approx(b.gradient, rel=1e-4)


def test_viz_flow_shows_vanishing_gradients_as_shrinking_bars() -> None:
    model = sigmoid_net(6)
    mg.mean(model(mg.tensor(RNG.normal(size=(4, 6)).astype(np.float32)))).backward()
    picture = gradient_flow(model, title="six sigmoids")
    weights = [r.gradient for r in picture.rows if r.name.endswith("weight")]
    assert weights[0] < weights[-1] * 1e-3
    root = ET.fromstring(picture.svg)
    assert "six sigmoids" in "".join(root.itertext())
    bars = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class") == "bar"]
    assert len(bars) == len(picture.rows)


def test_viz_flow_names_dead_missing_and_nonfinite_gradients() -> None:
    a = mg.Parameter(np.ones(3), name="a")
    b = mg.Parameter(np.ones(3), name="b")
    c = mg.Parameter(np.ones(3), name="c")
    d = mg.Parameter(np.ones(3), name="d")
    loss = mg.sum(mg.maximum(a - 5.0, 0.0)) + mg.sum(mg.log(b - 1.0) * 0.0 + c)
    loss.backward()

    class Holder:
        def named_parameters(self) -> list[tuple[str, mg.Parameter]]:
            return [("a", a), ("b", b), ("c", c), ("d", d)]

    picture = gradient_flow(Holder())
    remarks = {r.name: r.remark for r in picture.rows}
    assert remarks["a"] == "dead"
    assert remarks["b"] == "3 not finite"
    assert remarks["c"] == ""
    assert remarks["d"] == "no gradient"
    assert "not finite" in picture.text
    assert picture._repr_mimebundle_()["image/svg+xml"]


def test_viz_flow_refuses_what_has_no_gradients() -> None:
    with pytest.raises(MinigradError, match="no gradients"):
        gradient_flow(sigmoid_net())
    with pytest.raises(MinigradError, match="was not run"):
        gradient_flow(gradient_graph())
    with pytest.raises(MinigradError, match="not a floating scalar"):
        gradient_flow(mg.ones((2, 2)))
    with pytest.raises(MinigradError, match="int"):
        gradient_flow(3)


def test_viz_flow_of_a_graph_lists_its_parameters() -> None:
    graph = gradient_graph()
    graph(*data())
    names = [r.name for r in gradient_flow(graph).rows]
    assert names == [
        "layers.0.weight", "layers.0.bias", "norm.weight", "layers.1.weight", "layers.1.bias",
    ]  # fmt: skip
