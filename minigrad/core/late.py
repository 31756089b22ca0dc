"""The one place where a lower floor calls what an upper floor provides.

``Tensor.backward``, ``Graph.draw`` and the like are methods of floor-1 classes whose
work is done on floors 3 to 6. The upper floor binds a function to a name here; the
lower floor calls the name. A bound string ``"module:function"`` is imported at the
first call, so that ``import minigrad`` stays light.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["bind", "bound", "call"]

_bound: dict[str, Callable[..., Any] | str] = {}


def bind(name: str, target: Callable[..., Any] | str) -> None:
    """Let ``call(name, ...)`` mean ``target``."""
    _bound[name] = target


def bound(name: str) -> Callable[..., Any]:
    """Return the function bound to ``name``."""
    target = _bound[name]
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        target = getattr(import_module(module), attribute)
        _bound[name] = target
    return target


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call the function bound to ``name``."""
    return bound(name)(*args, **kwargs)
