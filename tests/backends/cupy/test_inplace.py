"""State that is written over where it lies: random updates of cells by cells, call after call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.api.tracing import state_value
from minigrad.backends import Program as Reference
from minigrad.backends.cupy.executable import Executable
from minigrad.errors import DataError
from minigrad.passes import finalise

from .emulated_device import EmulatedDevice
from .test_executable import needs_gcc

pytestmark = pytest.mark.host

#: What a cell is assigned, from two others and x: elementwise, moved, reduced, multiplied.
UPDATES = (
    lambda a, b, x: a * 0.5 + b,
    lambda a, b, x: mg.flip(a, axis=0) + b * 0.25,
    lambda a, b, x: a - mg.mean(b, axis=0, keepdims=True),
    lambda a, b, x: mg.tanh(a @ mg.matrix_transpose(b) @ x),
    lambda a, b, x: a + mg.sum(b * x, axis=1, keepdims=True) * 0.1,
    lambda a, b, x: b,
    lambda a, b, x: mg.take(a, mg.flip(mg.arange(4), axis=0), axis=0) * 0.9,
    lambda a, b, x: mg.matrix_transpose(mg.matrix_transpose(a) * 0.5 + 0.1),
)
which = st.integers(0, 3)
assignment = st.tuples(which, st.sampled_from(UPDATES), which, which, st.booleans())


@needs_gcc
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(assignment, min_size=1, max_size=6), st.booleans(), st.integers(0, 99))
def test_updates_of_cells_by_cells_are_the_references(
    updates: list[Any], shared: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    cells = [mg.Buffer(rng.normal(size=(4, 6)).astype(np.float32)) for _ in range(4)]

    def step(x: Any, rows: Any) -> Any:
        found = mg.sum(mg.take(x, rows, axis=0))
        for target, update, a, b, looked_at in updates:
            cells[target].assign(update(cells[a], cells[b], x))
            if looked_at:
                found = found + mg.sum(cells[target])
        if shared:
            value = cells[0] * 0.5 + 1.0
            cells[1].assign(value)
            cells[2].assign(value)
        return found

    x, rows = rng.normal(size=(4, 6)).astype(np.float32), np.array([1, 3])
    graph = finalise(mg.compile(step, backend="numpy").graph(x, rows))
    executable, reference = Executable(graph, EmulatedDevice(seed)), Reference(graph)
    names = [n.params["cell"] for n in graph.state]
    here = away = {n.params["cell"]: np.array(state_value(n)) for n in graph.state}
    for call in range(4):
        if call == 2:
            with pytest.raises(DataError, match="9 is out of range"):
                executable(
                    x, np.array([1, 9]), *(away[c] for c in names), owned=executable.reusable
                )
        found = executable(x, rows, *(away[c] for c in names), owned=executable.reusable)
        expected = reference(x, rows, *(here[c] for c in names))
        new = {cell: i for i, (cell, _) in enumerate(graph.updates, len(graph.outputs))}
        for p, q in zip(found, expected, strict=True):
            np.testing.assert_allclose(p, q, rtol=2e-4, atol=2e-5)
        away = {c: found[new[c]] if c in new else away[c] for c in names}
        here = {c: np.array(away[c]) for c in names}
