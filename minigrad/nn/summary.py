"""A table of a model's layers: parameters, and output shapes from a trace without values."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigrad.core.aval import Aval
from minigrad.core.door import as_tensor
from minigrad.core.tape import Tape, placeholder
from minigrad.core.tensor import Tensor
from minigrad.shapes import Shape
from minigrad.trees import flatten

if TYPE_CHECKING:
    from .module import Module

__all__ = ["Row", "Summary", "note_call", "summarise"]


@dataclass(frozen=True, slots=True)
class Row:
    """One layer. ``output`` holds the shapes of its result, None if it was not traced."""

    path: str
    kind: str
    shapes: tuple[tuple[str, Shape], ...]
    parameters: int
    output: tuple[Shape, ...] | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The layers of a model, and totals. Shared parameters are counted once."""

    title: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    buffers: int
    nbytes: int  # of parameters and buffers

    def __str__(self) -> str:
        traced = any(row.output is not None for row in self.rows)
        head = ("layer", "kind", *(("output",) if traced else ()), "parameters", "count")
        table = [head, *(_cells(row, traced) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([*(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True))][:-1])
            + f"  {cells[-1]:>{widths[-1]}}"
            for cells in table
        ]
        rule = "-" * max(map(len, lines))
        totals = (
            f"{self.parameters:,} parameters, {self.trainable:,} of them trainable; "
            f"{self.buffers:,} numbers in buffers; {self.nbytes:,} bytes"
        )
        return "\n".join([self.title, lines[0], rule, *lines[1:], rule, totals])

    __repr__ = __str__


def _cells(row: Row, traced: bool) -> tuple[str, ...]:
    shapes = ", ".join(f"{name} {_sizes(shape)}" for name, shape in row.shapes)
    output = ", ".join(map(_sizes, row.output or ()))
    outputs = (output,) if traced else ()
    return (row.path, row.kind, *outputs, shapes, f"{row.parameters:,}" if row.shapes else "")


def _sizes(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


class _Calls(threading.local):
    """The calls of modules on this thread, while somebody wants to know."""

    seen: dict[int, Any] | None = None


_calls = _Calls()


def note_call(module: Module, out: Any) -> None:
    """Keep a module's result if a summary is being made; of several calls the last."""
    if _calls.seen is not None:
        _calls.seen[id(module)] = out


def summarise(model: Module, example_args: Sequence[Any]) -> Summary:
    """Return the table of a model; see ``Module.summary``."""
    outputs = _outputs(model, example_args) if example_args else {}
    rows, counted = [], set()
    for path, module in model.named_modules():
        shapes, count = [], 0
        for name, parameter in module._slots("parameter"):
            shapes.append((name, parameter.shape))
            count += parameter.size if id(parameter) not in counted else 0
            counted.add(id(parameter))
        if shapes or not list(module.children()):
            row = Row(path, type(module).__name__, tuple(shapes), count, outputs.get(id(module)))
            rows.append(row)
    parameters, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        title=model._title,
        rows=tuple(rows),
        parameters=sum(p.size for p in parameters),
        trainable=sum(p.size for p in parameters if p.requires_grad),
        buffers=sum(b.size for b in buffers),
        nbytes=sum(cell.node.aval.nbytes for cell in (*parameters, *buffers)),
    )


def _outputs(model: Module, example_args: Sequence[Any]) -> dict[int, tuple[Shape, ...]]:
    """Return the shapes of each module's result, from a trace that is thrown away."""
    before, _calls.seen = _calls.seen, {}
    try:
        leaves, tree = flatten(tuple(example_args))
        with Tape():
            model(*tree.build([_abstract(leaf) for leaf in leaves]))
        return {
            i: tuple(t.shape for t in flatten(out)[0] if isinstance(t, Tensor))
            for i, out in _calls.seen.items()
        }
    finally:
        _calls.seen = before


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, Aval):
        return Tensor(placeholder(leaf))
    if isinstance(leaf, Tensor) or hasattr(leaf, "__array__"):
        return Tensor(placeholder(as_tensor(leaf).node.aval))
    return leaf
