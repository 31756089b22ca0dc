"""Large graphs: thousands of nodes fold, and draw within seconds."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.core.tape import scope


def chain(steps: int) -> mg.Graph:
    def f(x: mg.Tensor) -> mg.Tensor:
        for _ in range(steps):
            a = mg.tanh(x)
            b = a * x
            x = b + a
        return mg.sum(x)

    return mg.trace(f, mg.spec((3,)))


@pytest.mark.parametrize("route", ["builtin", ""])
def test_viz_graph_of_5000_nodes_folds_and_draws(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", route)
    graph = chain(1700)
    assert len(graph) > 5000
    picture = graph.draw()
    drawn = len(re.findall('class="box', picture.svg))
    assert drawn <= 150
    assert picture.route != "text"
    assert "folded" in picture.note


def test_viz_gradient_of_a_deep_graph_draws_without_recursion() -> None:
    picture = chain(600).grad().draw()
    assert picture.route != "text"


def test_viz_deep_model_folds_to_comfortable_size() -> None:
    weights = [mg.Parameter(np.eye(3, dtype=np.float32), f"b.{i}.w") for i in range(60)]

    def f(x: mg.Tensor) -> mg.Tensor:
        for i, w in enumerate(weights):
            with scope(f"b.{i}:Block"), scope("lin:Linear"):
                x = x @ w
            with scope(f"b.{i}:Block"), scope("act:Tanh"):
                x = mg.tanh(x)
        return mg.sum(x)

    picture = mg.trace(f, mg.spec((2, 3))).grad().draw()
    assert len(re.findall('class="box', picture.svg)) <= 40


def test_viz_max_nodes_is_kept() -> None:
    picture = chain(60).draw(max_nodes=20)
    assert len(re.findall('class="box', picture.svg)) <= 20
