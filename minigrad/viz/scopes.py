"""Layer scopes in words: which parts are layers, which are functions, what to call them.

A module's scope is ``fc1:Linear``, a model's its class ``Net``, a function's its own name.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.ops import __all__ as _FUNCTIONS

__all__ = ["kind_of", "layers_of", "name_of", "path_text"]

_INSIDE = frozenset({*_FUNCTIONS, "random_bits"})


def _is_module(part: str) -> bool:
    return ":" in part or part[:1].isupper()


def layers_of(scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return a scope without the functions within its innermost layer.

    A function that no layer called stands for itself.
    """
    modules = False
    for i, part in enumerate(scope):
        inside = part in _INSIDE or (modules and not _is_module(part))
        if i and inside:
            return scope[:i]
        modules |= _is_module(part)
    return scope


def name_of(part: str) -> str:
    """Return the name of a layer in the one around it: ``fc1`` of ``fc1:Linear``."""
    return part.partition(":")[0]


def kind_of(part: str) -> str:
    """Return the class of a layer: ``Linear`` of ``fc1:Linear``; of a function nothing."""
    return part.partition(":")[2]


def path_text(scope: Sequence[str]) -> str:
    """Return the path of a layer in its model: ``layers.0`` of Net, layers, 0."""
    parts = list(scope)
    if len(parts) > 1 and ":" not in parts[0] and _is_module(parts[0]):
        parts = parts[1:]  # the model's own class is not part of its parameters' names
    return ".".join(name_of(p) for p in parts)
