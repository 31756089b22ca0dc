"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from minigrad.errors import DataError

from .module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Row(Module):
    """Modules under the names "0", "1", ..."""

    def append(self, module: Module) -> Self:
        """Add a module at the end, and return the container."""
        taken = dict(self.named_children())
        number = len(taken)
        while str(number) in taken:
            number += 1
        setattr(self, str(number), _checked(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end, and return the container."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __iter__(self) -> Iterator[Module]:
        self._guard()
        return iter(list(self.children()))

    def __setitem__(self, index: int, module: Module) -> None:
        names = [name for name, _ in self.named_children()]
        setattr(self, names[index], _checked(self, module))


class Sequential(_Row):
    """Modules applied one after the other.

    Formula
    -------
    ``y = f_n(... f_1(f_0(x)))``

    Parameters
    ----------
    modules
        The modules, which are called "0", "1", ...; or one dict of names and modules.

    Raises
    ------
    DataError
        If something is not a module.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        named: Mapping[str, Any] = {str(i): module for i, module in enumerate(modules)}
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = modules[0]
        for name, module in named.items():
            setattr(self, name, _checked(self, module))

    def forward(self, input: Any) -> Any:
        """Return the last module's result."""
        for module in self.children():
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        """Return one module, or for a slice a Sequential of the same modules."""
        found = list(self)[index]
        return Sequential(*found) if isinstance(found, list) else found


class ModuleList(_Row):
    """A list of modules that the model sees: its parameters are trained and saved.

    It is not called itself: ``for layer in self.layers: x = layer(x)``.
    """

    _is_transparent = True

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        """Return one module, or for a slice a ModuleList of the same modules."""
        found = list(self)[index]
        return ModuleList(found) if isinstance(found, list) else found

    def insert(self, index: int, module: Module) -> None:
        """Insert a module before ``index``; those behind move up by one name."""
        kept = list(self)
        kept.insert(index, _checked(self, module))
        for name, _ in list(self.named_children()):
            delattr(self, name)
        self.extend(kept)


class ModuleDict(Module):
    """A dict of modules that the model sees: its parameters are trained and saved."""

    _is_transparent = True

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Set several modules."""
        for key, module in modules.items():
            self[key] = module

    def keys(self) -> list[str]:
        """Return the names."""
        return [name for name, _ in self.items()]

    def values(self) -> list[Module]:
        """Return the modules."""
        return [module for _, module in self.items()]

    def items(self) -> list[tuple[str, Module]]:
        """Return pairs of name and module."""
        self._guard()
        return list(self.named_children())

    def __getitem__(self, key: str) -> Module:
        return dict(self.items())[key]

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(key, str) or not key or "." in key or hasattr(type(self), key):
            raise DataError(
                f"{self._title}: {key!r} cannot be a name",
                rule="a non-empty string without dots that is not a method's name",
            )
        setattr(self, key, _checked(self, module))

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self.items())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: str) -> bool:
        return key in self.keys()


def _checked(container: Module, module: Any) -> Module:
    if not isinstance(module, Module):
        raise DataError(
            f"{container._title}: {type(module).__name__} is not a module",
            fix="pass instances of nn.Module: nn.ReLU(), not nn.ReLU"
            if isinstance(module, type)
            else "wrap a function in a module with a forward method",
        )
    return module
