"""The short way through a call: all state lies where the last call left it.

The general way asks of each array where it is and who holds it, which in Python takes longer
than a GPU takes for a small training step. Here all cells are looked at together.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from operator import attrgetter, call, is_
from sys import getrefcount
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executable import Executable

__all__ = ["Resident"]

_held = attrgetter("_held")


class Resident:
    """A compiled graph as a function of cells, whose state is written over, and of other arrays.

    ``arguments`` are the inputs for which it takes arrays; the others are the state of its
    cells, in order. ``outputs`` numbers what it returns.
    """

    def __init__(self, executable: Executable) -> None:
        program = executable.program
        self._executable, self._device = executable, executable.device
        self._states = sorted(executable.reusable)
        self.arguments = sorted(set(range(len(program.graph.inputs))) - executable.reusable)
        self.outputs = list(range(len(program.graph.outputs)))
        self._alone = [_ALONE] * len(self._states)

    @classmethod
    def of(cls, executable: Executable) -> Resident | None:
        """Return the short way of an executable; None if its results are not all computed."""
        program = executable.program
        computed = executable.plain | set(program.states)
        suits = program.captured and computed == set(range(len(program.results)))
        return cls(executable) if suits else None

    def __call__(self, cells: Iterable[Any], *arrays: Any) -> list[Any] | None:
        """Return the outputs; None if the general way must be taken. Then nothing was changed."""
        executable, device = self._executable, self._device
        with executable.lock:
            replay, given = executable.replay, executable.given
            if replay is None or len(given) != len(self._states):
                return None
            if _holders(cells, [given[i] for i in self._states]) != self._alone:
                return None
            device.enter()
            try:
                inputs = executable.inputs
                for i, array in zip(self.arguments, arrays, strict=True):
                    device.take(inputs[i], array)
                replay()
                if executable.flagged is not None and executable.flagged():
                    return None
                return device.outputs(*executable.made)  # type: ignore[no-any-return]
            finally:
                device.leave()


def _holders(cells: Iterable[Any], given: Iterable[weakref.ref[Any]]) -> list[int] | None:
    """Return how often each cell's array is held; None if they are not the arrays given."""
    held = list(map(_held, cells))
    return list(map(getrefcount, held)) if all(map(is_, held, map(call, given))) else None


class _Probe:
    """Stands for a cell when it is measured how often an array is held that a cell alone has."""

    def __init__(self) -> None:
        self._held = set[int]()


def _measured() -> int:
    probe = _Probe()
    (count,) = _holders([probe], [weakref.ref(probe._held)]) or [0]
    return count


_ALONE = _measured()
