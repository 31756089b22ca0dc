"""A module as a tree: its leaves are its trainable parameters.

A transformation puts other tensors in the leaves' places. It gets a stand-in: a copy of
the modules, not of what they hold, with the tensors as parameters. Buffers are the very
same ones, so running statistics go on being updated. Frozen parameters are no leaves: they
stand in the result as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MethodType
from typing import Any

from minigrad.core.state import Parameter
from minigrad.trees import register

from .module import Module

__all__ = ["stand_in"]


def stand_in(module: Module, instead: Mapping[int, Any]) -> Module:
    """Return a copy of the modules with some parameters replaced; ``instead`` is by ``id``."""
    return _copied(module, instead, {})


def _copied(module: Module, instead: Mapping[int, Any], made: dict[int, Module]) -> Module:
    found = made.get(id(module))
    if found is not None:
        return found
    twin: Module = object.__new__(type(module))
    made[id(module)] = twin
    info = module._info
    attributes = dict(vars(module))
    original = info.original or module
    attributes["_info"] = replace(info, roles=dict(info.roles), original=original)
    for name, value in module._slots():
        if isinstance(value, Module):
            attributes[name] = _copied(value, instead, made)
        else:
            attributes[name] = instead.get(id(value), value)
    for name, value in attributes.items():
        if isinstance(value, MethodType) and id(value.__self__) in made:
            attributes[name] = MethodType(value.__func__, made[id(value.__self__)])
    vars(twin).update(attributes)
    return twin


class _Shape:
    """What is static in a module: everything but the values of its trainable parameters."""

    def __init__(self, module: Module, leaves: Sequence[tuple[str, Any]]) -> None:
        self.module = module
        self.leaves = leaves

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shape) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        original = self.module._info.original or self.module
        return original, tuple(path for path, _ in self.leaves)


def _flatten(module: Module) -> tuple[list[tuple[str, Any]], _Shape]:
    leaves = [
        (path, value)
        for path, value in module.named_parameters()
        if not isinstance(value, Parameter) or value.requires_grad
    ]
    return leaves, _Shape(module, leaves)


def _unflatten(shape: _Shape, children: list[Any]) -> Module:
    instead = {id(leaf): child for (_, leaf), child in zip(shape.leaves, children, strict=True)}
    return stand_in(shape.module, instead)


register(Module, _flatten, _unflatten)
