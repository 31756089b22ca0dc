"""Filling state cells from saved values: everything is checked before anything changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigrad.core.aval import aval
from minigrad.core.door import as_array, module_of
from minigrad.core.state import Cell
from minigrad.core.tape import recorder
from minigrad.core.tensor import Tensor
from minigrad.errors import CheckpointError, TraceError

__all__ = ["check_names", "load_cells", "outside_trace"]

_SHOWN = 4  # names listed in a message


def outside_trace(what: str, fix: str) -> None:
    """Raise TraceError inside a trace: what happens in Python would happen only once."""
    if recorder.tape is not None:
        raise TraceError(
            f"{what} inside a traced function would happen once, not in every call", fix=fix
        )


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(map(repr, shown)) + (", ..." if len(names) > _SHOWN else "")


def check_names(expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    """Raise CheckpointError unless both have the same keys."""
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"has {_listed(extra)}, which is not expected"] if extra else []
        raise CheckpointError(
            f"{what}: the saved state {' and '.join(parts)}",
            rule=f"expected {len(expected)} entries, found {len(found)}",
            fix="make the object as it was made when the state was saved",
        )


def load_cells(cells: Mapping[str, Cell], values: Mapping[str, Any], what: str) -> None:
    """Replace the values of cells by those saved under the same names.

    Raises
    ------
    CheckpointError
        If names, a shape or a dtype differ; then no cell was changed.
    """
    outside_trace(f"{what}.load_state_dict", "load before the compiled function is called")
    check_names(cells, values, what)
    arrays = {}
    for name, cell in cells.items():
        value = values[name]
        array = as_array(value.value if isinstance(value, Tensor) else value)
        wanted, got = cell.leaf.aval, aval(tuple(array.shape), array.dtype)
        if got is not wanted:
            raise CheckpointError(
                f"{what}: entry {name!r} is {got!r}, expected {wanted!r}",
                fix="make the object as it was made when the state was saved",
            )
        arrays[name] = array
    for name, cell in cells.items():
        cell.load(module_of(cell.leaf.value).array(arrays[name]))
