"""What a module knows of itself, and how its attributes are compared with earlier ones."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Info", "Same", "comparable"]


@dataclass(slots=True, eq=False)
class Info:
    """What a module knows of itself, besides the attributes that the user gave it."""

    roles: dict[str, str] = field(default_factory=dict)  # which attributes are cells or modules
    training: bool = True
    path: str = ""  # from the root of the model
    local: str = ""  # from the enclosing module that is called
    key: str = ""  # the attribute of the home that holds this module
    home: weakref.ref[Any] | None = None  # the module that holds this one
    original: Any = None  # of a stand-in: the module that it stands for
    passing: set[str] = field(default_factory=set)  # attributes that were assigned while tracing
    configuration: tuple[Any, ...] | None = None


class Same:
    """Compares by identity: for attributes whose ``==`` is not a truth value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def comparable(value: Any) -> Any:
    """Return something that is ``==`` exactly while an attribute means the same to a trace."""
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    if type(value) is tuple:
        return tuple(comparable(v) for v in value)
    return Same(value)
