"""``pytest --compiled BACKEND``: whatever a test computes at the prompt is computed compiled, too.

When a test looks at a tensor's value, the graph of its history is compiled and run on the
same leaves, and the two must agree: by the bit where nothing rounds, else within what the
reference in float32 differs from the reference in float64. Functions that a test compiles
without naming a backend use this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from minigrad.api import compiled
from minigrad.backends.base import backend_named
from minigrad.core import Graph, Tensor, recorder
from minigrad.core.graph import history
from minigrad.passes import finalise

from .backends.cpu.held import compare, errors, is_exact

__all__ = ["Shadow"]

#: Operations of a history above which it is not compiled again, and programs of one test
#: after which its others are not: a compilation takes some milliseconds for each operation.
MOST, EACH = 150, 12

_VALUE: Any = Tensor.value.fget  # type: ignore[attr-defined]


class Shadow:
    """Compiles histories with a backend, each program once.

    ``held`` counts those that agreed, ``left`` those that were left out.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend_named(backend)
        self.seen: set[str] = set()
        self.held = 0
        self.left = 0
        self._room = EACH
        self._busy = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Look along with a test."""
        self._room = EACH

        def value(tensor: Tensor) -> Any:
            self.look(tensor)
            return _VALUE(tensor)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "value", property(value))
            patch.setattr(compiled, "default_backend", lambda: self.backend.name)
            yield

    def look(self, tensor: Tensor) -> None:
        """Assert that the history of a tensor, compiled, gives its value."""
        node = tensor.node
        if self._busy or not node.inputs or node.value is None or recorder.tape is not None:
            return
        self._busy = True
        try:
            with np.errstate(all="ignore"):
                self._hold(history(node), node.value)
        finally:
            self._busy = False

    def _hold(self, graph: Graph, value: Any) -> None:
        text = graph.text()
        if text in self.seen:
            return
        if len(graph.nodes) > MOST or not self._room:
            self.left += 1
            return
        final = finalise(graph)
        if any(n.primitive.kind == "collective" for n in final.nodes):
            self.left += 1  # the other workers do not come a second time
            return
        self.seen.add(text)
        self._room -= 1
        given = [np.asarray(n.value) for n in final.inputs]
        (found,) = self.backend.compile(final)(*given)
        # known operands are folded in the final graph, and what they round is then not seen
        before = [np.asarray(n.value) for n in graph.inputs]
        exact = is_exact(final, given) and is_exact(graph, before)
        (allowed,) = [0.0] if exact else errors(final, given, [value])
        compare(np.asarray(found), np.asarray(value), allowed, f"compiled:\n{text}")
        self.held += 1
