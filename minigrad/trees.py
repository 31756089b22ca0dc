"""Nested arguments: dicts, lists, tuples, named tuples, None and registered classes.

``flatten`` turns a nested structure into a list of leaves and a ``Tree`` that can put
other leaves in their places. Whatever is not a known container is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Tree", "flatten", "map_leaves", "register"]

Flatten = Callable[[Any], tuple[list[tuple[str, Any]], Any]]
Unflatten = Callable[[Any, list[Any]], Any]

_registered: dict[type, tuple[Flatten, Unflatten]] = {}


def register(kind: type, flatten: Flatten, unflatten: Unflatten) -> None:
    """Make instances of ``kind`` and its subclasses containers.

    ``flatten(x)`` returns named children and static data that can be compared with
    ``==``; ``unflatten(data, children)`` builds an equal object from new children.
    """
    _registered[kind] = (flatten, unflatten)


@dataclass(frozen=True, slots=True)
class Tree:
    """The shape of a nested structure. Two structures of the same shape compare equal."""

    kind: type | None  # None: a leaf
    data: Any  # dict keys, or a registered class's own static data
    names: tuple[str, ...]
    children: tuple[Tree, ...]

    @property
    def size(self) -> int:
        """The number of leaves."""
        return 1 if self.kind is None else sum(child.size for child in self.children)

    def build(self, leaves: Sequence[Any]) -> Any:
        """Return the structure with these leaves."""
        if len(leaves) != self.size:
            raise ValueError(f"{self.size} leaves are needed, got {len(leaves)}")
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(leaves)
        parts = [child._build(leaves) for child in self.children]
        if self.kind is dict:
            return dict(zip(self.data, parts, strict=True))
        if self.kind is list:
            return parts
        if self.kind is tuple:
            return tuple(parts)
        if self.kind is type(None):
            return None
        handlers = _handlers(self.kind)
        if handlers:
            return handlers[1](self.data, parts)
        return self.kind(*parts)

    def paths(self, prefix: str = "") -> list[str]:
        """Return a readable name for each leaf, ``params.w`` or ``x[0]``."""
        if self.kind is None:
            return [prefix]
        found: list[str] = []
        for name, child in zip(self.names, self.children, strict=True):
            if name.startswith("["):
                found += child.paths(prefix + name)
            else:
                found += child.paths(f"{prefix}.{name}" if prefix else name)
        return found


LEAF = Tree(None, None, (), ())


def _handlers(kind: type) -> tuple[Flatten, Unflatten] | None:
    for base in kind.__mro__:
        if base in _registered:
            return _registered[base]
    return None


def _children(tree: Any) -> tuple[Any, list[tuple[str, Any]]] | None:
    """Return static data and named children of a container, or None for a leaf."""
    kind = type(tree)
    if kind is dict:
        return tuple(tree), [(str(key), value) for key, value in tree.items()]
    if kind is list or kind is tuple:
        return None, [(f"[{i}]", value) for i, value in enumerate(tree)]
    if tree is None:
        return None, []
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return None, list(zip(kind._fields, tree, strict=True))
    handlers = _handlers(kind)
    if handlers:
        named, data = handlers[0](tree)
        return data, named
    return None


def flatten(tree: Any, *, open_registered: bool = True) -> tuple[list[Any], Tree]:
    """Return the leaves of ``tree``, in order, and its structure.

    With ``open_registered=False`` instances of registered classes are leaves.
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, open_registered)


def _flatten(tree: Any, leaves: list[Any], open_registered: bool) -> Tree:
    found = _children(tree)
    if found is None or not (open_registered or _handlers(type(tree)) is None):
        leaves.append(tree)
        return LEAF
    data, named = found
    children = tuple(_flatten(child, leaves, open_registered) for _, child in named)
    return Tree(type(tree), data, tuple(name for name, _ in named), children)


def map_leaves(f: Callable[[Any], Any], tree: Any) -> Any:
    """Return ``tree`` with ``f`` applied to each leaf."""
    leaves, structure = flatten(tree)
    return structure.build([f(leaf) for leaf in leaves])
