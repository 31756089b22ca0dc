"""Backends by name: what is usable here, and what is missing for the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from minigrad.core.graph import Graph
from minigrad.core.place import sent
from minigrad.errors import BackendUnavailable

from .reference import Program
from .report import Plan

__all__ = ["Backend", "backend_named", "backends", "default_backend", "to_module"]


class Executable(Protocol):
    """A compiled graph."""

    def __call__(
        self, *arrays: Any, owned: Collection[int] = (), cells: Sequence[Any] = ()
    ) -> list[Any]:
        """Return the outputs and the new state for the arrays of the graph's inputs.

        ``owned`` are inputs whose arrays nobody else holds, so that results that replace
        them may be written over them. If some are, ``cells`` may be given the new state in
        the same instant: Ctrl-C in between would leave a step half done.
        """

    def explain(self, arrays: Sequence[Any] | None = None) -> Plan:
        """Return what runs, timed on arrays if there are any."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A way to run graphs.

    ``missing()`` says what is missing here, or None.
    """

    name: str
    summary: str
    missing: Callable[[], str | None]
    compile: Callable[[Graph], Executable]
    module: Callable[[], Any]


def _cupy_missing() -> str | None:
    found: str | None = import_module("minigrad.backends.cupy.runtime").missing()
    return found


def _compile_cupy(graph: Graph) -> Executable:
    executable: Executable = import_module("minigrad.backends.cupy.device").compile_graph(graph)
    return executable


def _cpu_missing() -> str | None:
    missing: str | None = import_module("minigrad.backends.cpu.target").missing()
    return missing


def _compile_cpu(graph: Graph) -> Executable:
    executable: Executable = import_module("minigrad.backends.cpu.executable").compile_graph(graph)
    return executable


_backends = {
    b.name: b
    for b in (
        Backend("cpu", "fused native kernels", _cpu_missing, _compile_cpu, lambda: np),
        Backend(
            "numpy", "the reference: node by node", lambda: None, Program, lambda: np
        ),
        Backend(
            "cupy", "fused kernels on a GPU", _cupy_missing, _compile_cupy,
            lambda: import_module("cupy"),
        ),
    )
}  # fmt: skip


def default_backend() -> str:
    """Return the name of the backend that runs compiled functions unless another is named."""
    return "numpy" if _cpu_missing() else "cpu"


def backends() -> dict[str, str]:
    """Return for each backend ``"usable"``, or what is missing here."""
    return {name: b.missing() or "usable" for name, b in _backends.items()}


def backend_named(name: str) -> Backend:
    """Return a usable backend.

    Raises
    ------
    BackendUnavailable
        If there is no such backend, or something it needs is missing.
    """
    found = _backends.get(name)
    if found is None:
        raise BackendUnavailable(
            f"there is no backend {name!r}",
            rule=f"backends: {', '.join(_backends)}",
            fix="mg.backends() lists what is usable here",
        )
    reason = found.missing()
    if reason:
        raise BackendUnavailable(
            f"backend {name!r} is not usable here: {reason}",
            fix='everything else keeps working; use backend="numpy"',
        )
    return found


def to_module(value: Any, library: str) -> Any:
    """Return an array moved to the library's device: ``"numpy"`` or ``"cupy"``."""
    if library == "numpy":
        return value if isinstance(value, np.ndarray) else value.get()
    return sent(backend_named("cupy").module(), value)
