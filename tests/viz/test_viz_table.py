"""Tables: a row for each node, estimates that follow from shapes, totals."""

from __future__ import annotations

import numpy as np
from viz_samples import gradient_graph, history

import minigrad as mg
from minigrad.viz.table import html_table, text_table


def row(table: mg.viz.Table, operation: str):
    return next(r for r in table.rows if r.operation == operation)


def test_viz_table_estimates_follow_from_shapes() -> None:
    table = mg.trace(lambda a, b: mg.sum(mg.tanh(a @ b)), mg.spec((3, 5)), mg.spec((5, 7))).table()
    assert row(table, "matmul").flops == 2 * 3 * 5 * 7
    assert row(table, "tanh").flops == 21
    assert row(table, "sum").flops == 21
    assert row(table, "matmul").nbytes == 3 * 7 * 4
    assert table.flops == 210 + 21 + 21
    assert table.nbytes == 84 + 84 + 4


def test_viz_table_moving_data_costs_nothing() -> None:
    table = mg.trace(lambda a: mg.sum(mg.reshape(a, (6,)) + 1.0), mg.spec((2, 3))).table()
    assert row(table, "reshape").flops == 0
    assert table.nbytes == 24 + 4, "a view and a literal have no memory"


def test_viz_table_counts_the_inside_of_a_call() -> None:
    table = mg.trace(lambda: mg.random.uniform((8,))).table()
    assert row(table, "call").flops > 8 * 10


def test_viz_table_names_roles_layers_and_places() -> None:
    table = gradient_graph().table()
    by_name = {r.name: r for r in table.rows if r.name}
    assert by_name["layers.0.weight"].role == "parameter"
    assert by_name["mu"].layer == "norm"
    assert by_name["mu"].origin.startswith("viz_samples.py, line")
    assert by_name["∂norm.weight"].role == "gradient_output"
    assert by_name["u"].saved
    assert table.saved_bytes > 0
    assert "kept for the backward pass" in table.totals


def test_viz_table_shows_itself_short_and_long() -> None:
    short = history().graph().table()._repr_mimebundle_()
    assert "<details>" not in short["text/html"]
    assert "tanh" in short["text/plain"]
    long = gradient_graph().table()
    bundle = long._repr_mimebundle_()
    assert bundle["text/html"].startswith("<details><summary>")
    assert "<script" not in bundle["text/html"]
    assert len(str(long).splitlines()) == len(long) + 3
    assert repr(long).startswith("<Table of")


def test_viz_table_escapes_and_aligns() -> None:
    html = html_table(["a"], [["<b>&"]])
    assert "&lt;b&gt;&amp;" in html
    text = text_table(["n", "name"], [["1", "x"], ["100", "y"]], right=(0,))
    assert text.splitlines()[2] == "  1  x"


def test_viz_table_of_a_huge_graph_is_clipped_for_the_notebook() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        for _ in range(300):
            x = mg.tanh(x) * x
        return x

    table = mg.trace(f, mg.spec((2,))).table()
    assert len(table) > 600
    bundle = table._repr_mimebundle_()
    assert "left out" in bundle["text/html"]
    assert bundle["text/plain"].count("tanh") < 250


def test_viz_table_takes_a_tensor() -> None:
    assert len(mg.viz.table(mg.tensor(np.ones(2)) * 2.0)) == 3
