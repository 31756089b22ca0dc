"""``mg.save`` and ``mg.load``: whole files, whole objects, nothing in part (floor 7).

The format is safetensors: data and words, never code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minigrad.core.late import call
from minigrad.core.state import Cell
from minigrad.core.tape import recorder
from minigrad.dtypes import Array
from minigrad.errors import CheckpointError, TraceError

from .objects import check_fits, decode, describe, encode, fill, leaves, undo_of
from .safetensors import METADATA, read_file, write_file

__all__ = ["load", "save"]

PathLike: TypeAlias = str | os.PathLike[str]

_OBJECTS = "minigrad.objects"  # the entry of the metadata with numbers, words and nesting


def _outside_trace(what: str) -> None:
    if recorder.tape is not None:
        raise TraceError(
            f"{what} inside a traced function would happen once, not in every call",
            fix=f"call mg.{what} outside the compiled function",
        )


def save(path: PathLike, /, **objects: Any) -> None:
    """Save objects under their names, in one file, in the safetensors format.

    The file is written beside the old one and takes its place when it is whole and on the
    disk: a crash at any moment leaves one of the two.

    Parameters
    ----------
    path
        The file; ``.safetensors`` is its usual ending.
    objects
        Modules, optimisers, schedules, generators, batches, scalings and whatever else has
        ``state_dict()``; parameters, tensors and arrays; numbers, strings, None; dicts and
        lists of them. An array of ``model`` is saved as ``model.<path>``.

    Raises
    ------
    CheckpointError
        If something cannot be saved, or the file cannot be written.

    Example
    -------
    ``mg.save("run.safetensors", model=model, optimiser=optimiser, epoch=3)``
    """
    _outside_trace("save")
    if not objects:
        raise CheckpointError(
            f"save: nothing was given to save in {path}",
            rule="what was saved there, if anything, is as it was",
            fix="name the objects: mg.save(path, model=model, optimiser=optimiser)",
        )
    arrays: dict[str, Array] = {}
    plain: dict[str, Any] = {}
    for name, x in objects.items():
        if not name or "." in name or name == METADATA:
            raise CheckpointError(
                f"save: {name!r} cannot be the name of an object",
                fix="use a name without dots, such as model=",
            )
        tree = describe(x, name)
        found = list(leaves(tree, name))
        for entry, leaf in found:
            if entry in arrays:
                raise CheckpointError(
                    f"save: two entries would be called {entry!r}", fix="rename one of the keys"
                )
            arrays[entry] = np.asarray(call("move", leaf.array, "numpy"))
        if not _follows_from_names(tree, name, [entry for entry, _ in found]):
            plain[name] = encode(tree, name)
    words = {"format": "np"}
    if plain:
        words[_OBJECTS] = json.dumps(plain, allow_nan=False)
    write_file(Path(path), arrays, words)


def _follows_from_names(tree: Any, name: str, entries: list[str]) -> bool:
    """Whether the names of the arrays alone say what the tree is."""
    if not isinstance(tree, dict):
        return entries == [name]
    return bool(tree) and entries == [f"{name}.{key}" for key in tree]


def _grouped(arrays: Mapping[str, Array], taken: set[str]) -> dict[str, Any]:
    """Return arrays by object: the part of the name before the first dot, then the rest."""
    found: dict[str, Any] = {}
    for entry, array in arrays.items():
        name, dot, rest = entry.partition(".")
        if name in taken:
            continue
        if not dot and name not in found:
            found[name] = array
            continue
        group = found.setdefault(name, {})
        if not isinstance(group, dict):
            group = found[name] = {"": group}
        group[rest] = array
    return found


def _read(path: Path) -> dict[str, Any]:
    """Return the tree of every object in a file."""
    arrays, words = read_file(path)
    try:
        plain = json.loads(words.get(_OBJECTS, "{}"))
        trees = {name: decode(part, arrays) for name, part in plain.items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the numbers and words of the file are damaged",
            operands=[f"expected  what mg.save wrote as {_OBJECTS}", f"found     {error!r}"],
            fix="take an earlier file",
        ) from error
    return _grouped(arrays, set(trees)) | trees


def load(path: PathLike, /, **objects: Any) -> dict[str, Any]:
    """Fill objects with what was saved under their names; without objects, return all of it.

    Everything is checked before anything changes: the file from its first byte to its last,
    names, shapes and dtypes. If something does not fit, all objects are as they were.

    Parameters
    ----------
    path
        A file that ``mg.save`` wrote, or another safetensors file.
    objects
        Objects made as they were when they were saved. They are filled in place; dicts and
        lists too. What else is in the file is left out.

    Returns
    -------
    The objects by name; or, without objects, arrays, numbers and strings: for a model a dict
    of its arrays by path, as ``model.load_state_dict`` takes it.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or does not fit; the message names the file, the
        entry, what was expected and what was found.

    Example
    -------
    ``mg.load("run.safetensors", model=model, optimiser=optimiser)`` fills both;
    ``mg.load("run.safetensors")["epoch"]`` is 3.
    """
    _outside_trace("load")
    where = Path(path)
    found = _read(where)
    if not objects:
        return found
    for name, x in objects.items():
        if name not in found:
            raise CheckpointError(
                f"{where}: holds no object {name!r}",
                operands=[f"expected  {name}", f"found     {', '.join(found) or 'nothing'}"],
                fix="use the names of mg.save; mg.load(path) without objects shows them",
            )
        if not (isinstance(x, Cell | dict | list) or callable(getattr(x, "state_dict", None))):
            raise CheckpointError(
                f"load: {name} is a {type(x).__name__}, which cannot be filled in place",
                fix=f'read it from the result: mg.load(path)["{name}"]',
            )
        check_fits(describe(x, name), found[name], name, where)
    undo: list[Any] = []
    for x in objects.values():
        undo_of(x, undo)
    filled = {}
    try:
        for name, x in objects.items():
            filled[name] = fill(x, found[name])
    except BaseException as error:
        for step in reversed(undo):
            step()
        error.add_note(f"while filling {name!r} from {where}; all objects are as they were")
        raise
    return filled
