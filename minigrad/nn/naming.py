"""Where modules and cells are in a model: paths, homes, and what an attribute may hold."""

from __future__ import annotations

from itertools import islice
from typing import Any

from minigrad.core.state import Buffer, Cell, Parameter
from minigrad.errors import MinigradError

__all__ = ["home_of", "join", "line_of", "name_cell", "refuse_plain_container", "role_of"]

_LOOKED_AT = 1000  # items of a container; what is longer holds data


def join(path: str, name: str) -> str:
    """Return the path of an attribute."""
    return f"{path}.{name}" if path else name


def role_of(value: Any, module_type: type) -> str | None:
    """Return what an attribute's value is to a model; None if it is no part of it."""
    if isinstance(value, Parameter):
        return "parameter"
    if isinstance(value, Buffer):
        return "buffer"
    return "module" if isinstance(value, module_type) else None


def home_of(module: Any) -> Any:
    """Return the module that holds this one, or None."""
    reference = module._info.home
    return None if reference is None else reference()


def line_of(module: Any) -> list[Any]:
    """Return a module and those that hold it, up to the root."""
    line = [module]
    while (above := home_of(line[-1])) is not None:
        line.append(above)
    return line


def name_cell(module: Any, cell: Cell, path: str) -> None:
    """Give a cell its path as a name, unless its name already leads to it: tied cells have two."""
    found: Any = line_of(module)[-1]
    for part in (cell.name or "").split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if found is not cell:
        cell.name = path


def refuse_plain_container(module: Any, name: str, value: Any, module_type: type) -> None:
    """Raise if a plain list, tuple, set or dict hides modules or cells from the model."""
    hidden = _hidden(value, module_type)
    if hidden is None:
        return
    if isinstance(hidden, module_type):
        kind = "ModuleDict" if isinstance(value, dict) else "ModuleList"
        fix = f"self.{name} = nn.{kind}(...)"
    else:
        fix = "give each its own attribute, or put them in modules in an nn.ModuleList"
    raise MinigradError(
        f"{module._title}: the {type(value).__name__} {name!r} hides a {type(hidden).__name__}: "
        "it would be neither trained nor saved",
        rule="parameters and modules are attributes of their own, or in an nn.ModuleList",
        fix=fix,
    )


def _hidden(value: Any, module_type: type) -> Any:
    """Return the first module or cell inside plain containers, or None."""
    if not isinstance(value, list | tuple | dict | set):
        return None
    items = value.values() if isinstance(value, dict) else value
    for item in islice(items, _LOOKED_AT):
        if isinstance(item, Cell | module_type):
            return item
        found = _hidden(item, module_type)
        if found is not None:
            return found
    return None
