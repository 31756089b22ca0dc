"""The reference backend: order, dropped values, errors at run time; backends by name."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends import Program, backend_named, evaluate, program
from minigrad.backends.base import to_module
from minigrad.errors import BackendUnavailable, DataError

X = np.arange(6.0).reshape(2, 3)


def chain(x: Any) -> Any:
    for _ in range(10):
        x = mg.sin(x) + 1.0
    return mg.sum(x), x


def test_program_gives_outputs_then_new_state() -> None:
    b = mg.Buffer(np.zeros(3), "b")

    def step(x: Any) -> Any:
        b.assign(b + mg.sum(x, 0))
        return mg.sum(x)

    graph = mg.trace(step, X)
    total, new = evaluate(graph, [X, np.ones(3)])
    assert total == X.sum()
    assert new.tolist() == (1 + X.sum(0)).tolist()
    assert program(graph) is program(graph), "the order of work is made once"


def test_values_are_dropped_after_their_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two arrays of the chain are alive at once, besides inputs and results."""
    from minigrad.backends import reference

    alive: list[weakref.ref[Any]] = []
    most = 0
    original = reference._apply

    def watched(node: Any, values: list[Any]) -> Any:
        nonlocal most
        result = original(node, values)
        most = max(most, 1 + sum(r() is not None for r in alive))
        alive.append(weakref.ref(result))
        return result

    monkeypatch.setattr(reference, "_apply", watched)
    graph = mg.trace(chain, X)
    found = Program(graph)(X)
    assert most <= 3
    np.testing.assert_allclose(found[1], graph(X)[1])


def test_trace_keeps_every_value() -> None:
    graph = mg.trace(chain, X)
    values = program(graph).trace([X])
    assert set(values) == {*graph.inputs, *graph.nodes}
    for node, value in values.items():
        assert (value.shape, value.dtype) == (node.aval.shape, node.aval.dtype)


@pytest.mark.host
def test_results_are_arrays_never_numpy_scalars() -> None:
    for function in (mg.sum, mg.max, lambda x: x[0, 0], lambda x: mg.sum(x) * 2, mg.argmax):
        graph = mg.trace(function, X)
        assert isinstance(evaluate(graph, [X])[0], np.ndarray)
        assert isinstance(function(mg.tensor(X)).value, np.ndarray)


def test_error_at_run_time_names_the_operands() -> None:
    graph = mg.trace(lambda x, i: mg.take(x, i, axis=0), X, np.array([0]))
    with pytest.raises(DataError, match="out of range") as caught:
        evaluate(graph, [X, np.array([5])])
    assert caught.value.operands[0].startswith("i  i64[1]")
    assert "test_reference.py" in caught.value.operands[0]


def test_any_other_error_gets_a_note_with_the_node() -> None:
    graph = mg.trace(lambda x, w: mg.tag(x @ w, "product"), X, X.T)
    with pytest.raises(ValueError, match="mismatch") as caught:
        evaluate(graph, [X, np.ones((5, 2))])
    assert any("while computing product  f64[2, 2]" in n for n in caught.value.__notes__)


def test_running_warns_of_nothing() -> None:
    graph = mg.trace(lambda x: mg.log(x - 1.0) / (x - x) + mg.exp(x * 1e6), X)
    assert np.isnan(evaluate(graph, [X])[0]).any()


def test_backends_by_name() -> None:
    assert backend_named("numpy").compile is Program
    assert backend_named("numpy").module() is np
    assert to_module(X, "numpy") is X
    with pytest.raises(BackendUnavailable, match="there is no backend 'tpu'"):
        backend_named("tpu")
    for name, state in mg.backends().items():
        if state != "usable":
            with pytest.raises(BackendUnavailable, match="everything else keeps working"):
                backend_named(name)
            assert "pip install" in state or "finds no" in state
