"""The cell magics, and the plain functions behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from viz_samples import history, needs_ipython

import minigrad as mg
from minigrad.errors import GradientMismatch, MinigradError
from minigrad.viz import draw_result, gradcheck_result


def test_viz_draw_result_takes_tensors_graphs_and_pictures() -> None:
    out = history()
    assert draw_result(out).route != "text"
    assert draw_result(out.graph()).route != "text"
    picture = draw_result(out)
    assert draw_result(picture) is picture
    x = mg.tensor([1.0, 2.0], name="x")
    both = draw_result((mg.sum(x), mg.mean(x)))
    assert both.svg.count('class="box output"') == 2
    with pytest.raises(MinigradError, match="int"):
        draw_result(3)


def test_viz_gradcheck_result_checks_the_history() -> None:
    x = mg.tensor([0.3, -0.7], name="x", requires_grad=True)
    w = mg.Parameter(np.float32([[1.0, 2.0], [0.5, -1.0]]), name="w")
    checked = gradcheck_result(mg.sum(mg.tanh(x @ w) ** 2), order=2)
    assert "x, w" in repr(checked)
    assert "order 2" in repr(checked)
    half = mg.compile(lambda x: mg.tanh(x) * 0.5)  # a call in the history
    assert "order 1" in repr(gradcheck_result(mg.mean(half(x) ** 2)))
    mask = mg.sum(mg.nn.functional.dropout(x, 0.5) * mg.tensor([1.0, 2.0]))
    assert "x" in repr(gradcheck_result(mask))
    plain = mg.tensor([0.3, 2.0], name="p")
    assert "p" in repr(gradcheck_result(mg.sum(plain * plain)))


def test_viz_gradcheck_result_notices_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    x = mg.tensor([0.3, -0.7], requires_grad=True)
    loss = mg.sum(mg.tanh(x))
    wrong = (lambda g, y, x: g * y,)
    original = mg.registry["tanh"].vjp
    object.__setattr__(mg.registry["tanh"], "vjp", wrong)
    try:
        with pytest.raises(GradientMismatch):
            gradcheck_result(loss)
    finally:
        object.__setattr__(mg.registry["tanh"], "vjp", original)


def test_viz_gradcheck_result_takes_a_report_and_refuses_the_rest() -> None:
    report = mg.testing.compare_gradients(lambda a: mg.sum(mg.tanh(a)), (np.ones(3),))
    assert gradcheck_result(report) is report
    with pytest.raises(MinigradError, match="shape"):
        gradcheck_result(mg.ones((2,)))
    with pytest.raises(MinigradError, match="float"):
        gradcheck_result(2.0)
    with pytest.raises(MinigradError, match="no floating tensor"):
        gradcheck_result(mg.zeros(()) + 1.0)
    with pytest.raises(GradientMismatch) as caught:
        mg.testing.compare_gradients(lambda a: mg.sum(a), (np.ones(3),), hand={"a": np.zeros(3)})
    with pytest.raises(GradientMismatch, match="a"):
        gradcheck_result(caught.value.report)


CELLS = [
    "import os\nos.environ['MINIGRAD_LAYOUT'] = 'builtin'",
    "import minigrad as mg\n%load_ext minigrad",
    "%%graph fold=False direction=LR\na = mg.tensor(2.0)\nb = mg.tensor(3.0)\nloss = a * b",
    "%%gradcheck order=2\nx = mg.tensor([0.5, 1.5], requires_grad=True)\nmg.sum(mg.exp(x))",
    "%minigrad doctor",
    "loss.graph()",
    "%%graph\n3",
    "mg.nn.Linear(2, 3)",
]


@needs_ipython
def test_viz_magics_work_in_a_notebook(tmp_path: Any) -> None:
    nbformat = pytest.importorskip("nbformat", reason="pip install 'minigrad[notebook]'")
    nbclient = pytest.importorskip("nbclient", reason="pip install 'minigrad[notebook]'")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    client = nbclient.NotebookClient(
        notebook, timeout=60, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [cell["outputs"] for cell in cells]
    outputs = outputs[1:]
    assert outputs[0] == []
    drawn = outputs[1][0]["data"]
    assert "image/svg+xml" in drawn
    assert "image/png" in drawn
    assert "cell 3, line 4    loss = a * b" in drawn["image/svg+xml"], "its own cell and line"
    assert "order 2" in outputs[2][0]["data"]["text/plain"]
    assert "pictures" in outputs[3][0]["data"]["text/plain"]
    assert "image/svg+xml" in outputs[4][0]["data"]
    assert outputs[5][-1]["ename"] == "MinigradError"
    assert "text/html" in outputs[6][0]["data"]
    for cell in outputs:
        for output in cell:
            assert output.get("name") != "stderr", output
            assert "<script" not in str(output.get("data", {}).get("text/html", ""))
