"""How a function's nodes get its name, so that pictures can fold them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from minigrad.core.tape import recorder, scope

__all__ = ["scoped"]

P = ParamSpec("P")
R = TypeVar("R")


def scoped(function: Callable[P, R]) -> Callable[P, R]:
    """Record what a function does under its name, unless its own layer called it.

    ``batch_norm`` called by the layer ``bn1:BatchNorm`` adds no second fold.
    """
    name = function.__name__
    layer = name.replace("_", "")

    @wraps(function)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> R:
        outer = recorder.scope
        if outer and outer[-1].rpartition(":")[2].lower().startswith(layer):
            return function(*args, **kwargs)
        with scope(name):
            return function(*args, **kwargs)

    return recorded
