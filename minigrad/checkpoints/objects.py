"""Objects as trees: what of them is arrays, what is numbers and words, and putting it back.

An object with ``state_dict()`` is the tree of that. A tree is made of dicts, lists, leaves
with arrays, and numbers, words, booleans and None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from minigrad.core.aval import aval
from minigrad.core.door import as_tensor, module_of
from minigrad.core.state import Cell
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array, as_dtype
from minigrad.errors import CheckpointError, DtypeError

__all__ = ["Leaf", "check_fits", "decode", "describe", "encode", "fill", "leaves", "undo_of"]

Undo = list[Callable[[], Any]]

_SHOWN = 4  # names listed in a message


@dataclass(frozen=True, slots=True)
class Leaf:
    """An array of an object; the cell that holds it, if one does."""

    array: Any
    cell: Cell | None = None


def _has_state(x: Any) -> bool:
    return callable(getattr(x, "state_dict", None))


def describe(x: Any, path: str) -> Any:
    """Return the tree of an object.

    Raises
    ------
    CheckpointError
        If it holds something that cannot be saved.
    """
    if isinstance(x, Cell):
        return Leaf(x.leaf.value, x)
    if isinstance(x, Tensor):
        return Leaf(x.value)
    if isinstance(x, np.generic):
        x = x.item()  # NumPy's scalars are plain numbers
    if hasattr(x, "dtype") and hasattr(x, "shape") and hasattr(x, "ndim"):
        return _supported(x, path)
    if x is None or isinstance(x, bool | int | float | str):
        return x
    if isinstance(x, list | tuple):
        return [describe(v, f"{path}.{i}") for i, v in enumerate(x)]
    if isinstance(x, Mapping):
        for key in x:
            if not isinstance(key, str):
                raise CheckpointError(
                    f"{path}: the key {key!r} is a {type(key).__name__}",
                    fix="use strings as keys of what is saved",
                )
        return {key: describe(v, f"{path}.{key}") for key, v in x.items()}
    if _has_state(x):
        return describe(x.state_dict(), path)
    raise CheckpointError(
        f"{path}: a {type(x).__name__} cannot be saved",
        rule="modules and whatever has state_dict(), tensors, arrays, numbers, strings, None, "
        "and dicts and lists of them",
        fix="give it a state_dict() method, or save its parts",
    )


def _supported(array: Any, path: str) -> Leaf:
    try:
        as_dtype(array.dtype)
    except DtypeError as error:
        raise CheckpointError(f"{path}: {error.message}", rule=error.rule, fix=error.fix) from None
    return Leaf(array)


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    """Iterate over the arrays of a tree with the names that they have in a file."""
    if isinstance(tree, Leaf):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{path}.{i}")


# Trees as JSON ---------------------------------------------------------------------


def encode(tree: Any, path: str) -> Any:
    """Return a tree as JSON in which an array is the name that it has in the file."""
    if isinstance(tree, Leaf):
        return {"array": path}
    if isinstance(tree, dict):
        return {"dict": {key: encode(value, f"{path}.{key}") for key, value in tree.items()}}
    if isinstance(tree, list):
        return [encode(value, f"{path}.{i}") for i, value in enumerate(tree)]
    if isinstance(tree, float) and not isfinite(tree):
        return {"float": str(float(tree))}  # JSON has no infinities
    return float(tree) if isinstance(tree, float) else tree


def decode(json: Any, arrays: Mapping[str, Array]) -> Any:
    """Return the tree that ``encode`` wrote, with the arrays themselves.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not such a tree.
    """
    if isinstance(json, list):
        return [decode(value, arrays) for value in json]
    if not isinstance(json, dict):
        return json
    ((kind, value),) = json.items()
    if kind == "array":
        return arrays[value]
    if kind == "float":
        return float(value)
    if kind == "dict":
        return {key: decode(part, arrays) for key, part in value.items()}
    raise ValueError(f"{kind!r} is no kind of value")


# Putting it back ---------------------------------------------------------------------


def _kind(x: Any) -> str:
    """Return what a node of a tree is, in words; arrays with their types."""
    if isinstance(x, Leaf | np.ndarray):
        array = x.array if isinstance(x, Leaf) else x
        return repr(aval(tuple(array.shape), as_dtype(array.dtype)))
    if isinstance(x, bool):
        return "True or False"
    kinds = {dict: "entries by name", list: "a list", str: "a string", int | float: "a number"}
    return next((words for kind, words in kinds.items() if isinstance(x, kind)), "nothing")


def _names(names: set[str], path: str) -> str:
    shown = ", ".join(f"{path}.{name}" for name in sorted(names)[:_SHOWN])
    return shown + (f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def check_fits(target: Any, saved: Any, path: str, file: object) -> None:
    """Raise CheckpointError unless a saved tree fits into the tree of an object.

    None in the object takes anything: a scaling that was not fitted, say.
    """
    if target is None:
        return
    if _kind(target) != _kind(saved):
        raise CheckpointError(
            f"{file}: entry {path!r} does not fit",
            operands=[f"expected  {_kind(target)}", f"found     {_kind(saved)}"],
            fix="make the object as it was made when it was saved",
        )
    if isinstance(target, dict):
        missing, extra = target.keys() - saved.keys(), saved.keys() - target.keys()
        if missing or extra:
            raise CheckpointError(
                f"{file}: {path!r} does not have the same entries as the object",
                operands=[
                    f"expected  {_names(missing, path) or 'nothing else'}",
                    f"found     {_names(extra, path) or 'nothing instead'}",
                ],
                fix="make the object as it was made when it was saved",
            )
        for key, value in target.items():
            check_fits(value, saved[key], f"{path}.{key}", file)
    if isinstance(target, list) and any(True for _ in leaves(target, path)):
        if len(target) != len(saved):
            raise CheckpointError(
                f"{file}: the list {path!r} has another length",
                operands=[f"expected  {len(target)}", f"found     {len(saved)}"],
                fix="make the object as it was made when it was saved",
            )
        for i, value in enumerate(target):
            check_fits(value, saved[i], f"{path}.{i}", file)


def undo_of(x: Any, undo: Undo) -> None:
    """Append to ``undo`` what puts an object back as it is now."""
    if isinstance(x, Cell):
        undo.append(partial(x.load, x.leaf.value))
    elif isinstance(x, dict):
        undo.append(partial(x.update, dict(x)))
        for value in x.values():
            undo_of(value, undo)
    elif isinstance(x, list):
        undo.append(partial(x.__setitem__, slice(None), list(x)))
        for value in x:
            undo_of(value, undo)
    elif _has_state(x):
        state = x.state_dict()
        if _all_cells(state):
            undo_of(dict(state), undo)
        else:
            undo.append(partial(x.load_state_dict, deepcopy(state)))


def _all_cells(state: Mapping[str, Any]) -> bool:
    return all(isinstance(value, Cell) for value in state.values())


def fill(x: Any, saved: Any) -> Any:
    """Put saved values, which are known to fit, into an object; return what takes its place."""
    if isinstance(x, Cell):
        x.load(module_of(x.leaf.value).array(saved))
        return x
    if isinstance(x, Tensor):
        return as_tensor(module_of(x.value).array(saved))
    if isinstance(x, dict):
        for key in x:
            x[key] = fill(x[key], saved[key])
        return x
    if isinstance(x, list):
        same = len(x) == len(saved)
        x[:] = [fill(old, new) for old, new in zip(x, saved, strict=True)] if same else saved
        return x
    if _has_state(x):
        state = x.state_dict()
        if _all_cells(state):
            fill(dict(state), saved)
        else:
            x.load_state_dict(saved)
        return x
    return saved
