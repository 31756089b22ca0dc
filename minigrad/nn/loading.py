"""Setting a model's state from arrays: all of it, or none of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from minigrad.core.door import as_array, module_of
from minigrad.core.late import call
from minigrad.core.state import Cell
from minigrad.core.tensor import Tensor
from minigrad.errors import CheckpointError

__all__ = ["LoadResult", "load_cells"]


class LoadResult(NamedTuple):
    """What ``load_state_dict(..., strict=False)`` left out."""

    missing_keys: list[str]  # in the model, not in the mapping: unchanged
    unexpected_keys: list[str]  # in the mapping, not in the model: ignored


def load_cells(
    title: str, cells: Mapping[str, Cell], values: Mapping[str, Any], strict: bool
) -> LoadResult:
    """Load each value into the cell of its name, once all are known to fit."""
    arrays = {name: as_array(v.value if isinstance(v, Tensor) else v) for name, v in values.items()}
    missing = [name for name in cells if name not in arrays]
    unexpected = [name for name in arrays if name not in cells]
    shared = [name for name in cells if name in arrays]
    differences = [d for name in shared if (d := _difference(name, cells[name], arrays[name]))]
    if strict:
        differences += [f"{name} is missing" for name in missing]
        differences += [f"{name} is not in the model" for name in unexpected]
    if differences:
        raise CheckpointError(
            f"{title}: the state does not fit the model, nothing was loaded",
            operands=differences,
            rule="the same names, shapes and dtypes"
            + ("" if strict else " (of the names that both have)"),
            fix="build the model as it was saved; convert it with model.astype(dtype); or pass "
            "strict=False to load the names that both have",
        )
    for name in shared:
        cells[name].load(_placed(arrays[name], cells[name].leaf.value))
    return LoadResult(missing, unexpected)


def _difference(name: str, cell: Cell, array: Any) -> str | None:
    if tuple(array.shape) != cell.shape:
        return f"{name} has shape {cell.shape}, the state {tuple(array.shape)}"
    if array.dtype != cell.dtype:
        return f"{name} is {cell.dtype}, the state {array.dtype}"
    return None


def _placed(array: Any, like: Any) -> Any:
    """Return a copy of an array on the device of another one."""
    moved = call("move", array, module_of(like).__name__)
    return array.copy() if moved is array else moved
