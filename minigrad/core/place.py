"""Where values are: in NumPy arrays, or on a device in CuPy arrays.

Data that is not the user's own tensor has no place of its own: Python numbers, lists and
arrays given as operands, ranges and masks that a function makes, random words. Beside a
tensor on a device it is brought there. Two tensors of the user on different devices are an
error: which one to move, and when, is the user's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from minigrad.dtypes import Array
from minigrad.errors import BackendUnavailable

from .late import call
from .node import Node

__all__ = ["host", "in_use", "module_of", "placeless", "sent", "together"]

#: Whether anything was computed on a device yet. Until then nobody asks where values may go.
in_use: list[bool] = [False]


def module_of(value: Any) -> Any:
    """Return the array module of a value, NumPy's for one that is not known yet."""
    if value is None or isinstance(value, np.ndarray):
        return np
    return import_module(type(value).__module__.partition(".")[0])


def host(value: Any) -> Array:
    """Return a value as a NumPy array, copied from the device if it is on one."""
    away = hasattr(value, "get") and not isinstance(value, np.ndarray)
    return np.asarray(value.get() if away else value)


def sent(module: Any, array: Any) -> Any:
    """Return an array as one of this module. CuPy fills arrays without axes, and -0.0 as 0."""
    if module is not np and isinstance(array, np.ndarray) and not array.ndim:
        return module.asarray(array.reshape(1)).reshape(())
    return module.asarray(array)


def placeless(node: Node) -> bool:
    """Whether a value may be moved unasked: it depends on no tensor or parameter of the user."""
    seen, todo = {node}, [node]
    while todo:
        at = todo.pop()
        if at.inputs:
            fresh = [i for i in at.inputs if i not in seen]
            seen.update(fresh)
            todo += fresh
        elif at.primitive.name == "input" and not _number_cell(at):
            return False
    return True


def _number_cell(leaf: Node) -> bool:
    return getattr(leaf.params.get("cell"), "placeless", False)


def together(what: str, nodes: Sequence[Node]) -> list[Any]:
    """Return the values of operands, brought to one device.

    Raises
    ------
    BackendUnavailable
        If tensors of the user are on different devices; it names them.
    """
    values = [n.value for n in nodes]
    away = [v for v in values if not isinstance(v, np.ndarray)]
    if not away or len(away) == len(values):
        return values
    library = module_of(away[0]).__name__
    here = [n for n, v in zip(nodes, values, strict=True) if isinstance(v, np.ndarray)]
    if not all(map(placeless, here)):
        raise BackendUnavailable(
            f"{what}: the operands are on different devices",
            operands=[f"{n.describe()}    on {_device(n.value)}" for n in nodes],
            fix='move one of them, e.g. x.to("cupy") or model.to("cpu")',
        )
    return [call("move", v, library) if isinstance(v, np.ndarray) else v for v in values]


def _device(value: Any) -> str:
    return (
        "the CPU (NumPy)" if isinstance(value, np.ndarray) else f"the GPU (cuda:{value.device.id})"
    )
