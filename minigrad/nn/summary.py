"""A table of a model's layers: parameters, and from a trace without values shapes and work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minigrad.core.aval import Aval
from minigrad.core.door import as_tensor
from minigrad.core.late import call
from minigrad.core.node import Node, ancestors
from minigrad.core.tape import Tape, placeholder, recorder
from minigrad.core.tensor import Tensor
from minigrad.ops.costs import flops
from minigrad.shapes import Shape
from minigrad.trees import flatten

if TYPE_CHECKING:
    from .module import Module

__all__ = ["Row", "Summary", "note_call", "summarise"]


@dataclass(frozen=True, slots=True)
class Row:
    """One layer.

    Attributes
    ----------
    shapes
        The name and shape of each parameter.
    output
        The shapes of the layer's result; None if the model was not traced.
    operations
        Estimated arithmetic operations of one forward pass, a multiply-add counting two;
        what the layers within it do is counted there. None if the model was not traced.
    """

    path: str
    kind: str
    shapes: tuple[tuple[str, Shape], ...]
    parameters: int
    output: tuple[Shape, ...] | None
    operations: int | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words, in the order of ``Summary.head``."""
        shapes = ", ".join(f"{name} {_sizes(shape)}" for name, shape in self.shapes)
        count = f"{self.parameters:,}" if self.shapes else ""
        name = self.path or "(model)"
        if self.operations is None:
            return (name, self.kind, shapes, count)
        output = ", ".join(map(_sizes, self.output or ()))
        return (name, self.kind, output, shapes, count, f"{self.operations:,}")


@dataclass(frozen=True, slots=True)
class Summary:
    """The layers of a model, and totals. Shared parameters are counted once."""

    title: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    buffers: int
    nbytes: int  # of parameters and buffers
    operations: int | None  # of one forward pass; None if the model was not traced

    @property
    def head(self) -> tuple[str, ...]:
        """The titles of the columns."""
        if self.operations is None:
            return ("layer", "kind", "parameters", "count")
        return ("layer", "kind", "output", "parameters", "count", "operations")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which columns are numbers."""
        return tuple(i for i, title in enumerate(self.head) if title in ("count", "operations"))

    @property
    def totals(self) -> str:
        """The totals in one line."""
        text = (
            f"{self.parameters:,} parameters, {self.trainable:,} of them trainable; "
            f"{self.buffers:,} numbers in buffers; {self.nbytes:,} bytes"
        )
        if self.operations is not None:
            text += f"; {self.operations:,} operations in a forward pass"
        return text

    def __str__(self) -> str:
        table = [self.head, *(row.cells for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                f"{c:>{w}}" if i in self.numbers else f"{c:<{w}}"
                for i, (c, w) in enumerate(zip(cells, widths, strict=True))
            )
            for cells in table
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, lines[0], rule, *lines[1:], rule, self.totals])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]


def _sizes(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


@dataclass(slots=True)
class _Seen:
    """What was seen of the calls of modules: results by module, modules by scope."""

    results: dict[int, Any] = field(default_factory=dict)
    scopes: dict[tuple[str, ...], int] = field(default_factory=dict)


class _Calls(threading.local):
    """The calls of modules on this thread, while somebody wants to know."""

    seen: _Seen | None = None


_calls = _Calls()


def note_call(module: Module, out: Any) -> None:
    """Keep a module's result if a summary is being made; of several calls the last."""
    seen = _calls.seen
    if seen is not None:
        original = id(module._info.original or module)
        seen.results[original] = out
        seen.scopes[*recorder.scope, module._label] = original


def summarise(model: Module, example_args: Sequence[Any]) -> Summary:
    """Return the table of a model; see ``Module.summary``."""
    outputs, work = _traced(model, example_args) if example_args else ({}, {})
    rows, counted = [], set()
    for path, module in model.named_modules():
        shapes, count, own = [], 0, work.get(id(module), 0)
        for name, parameter in module._slots("parameter"):
            shapes.append((name, parameter.shape))
            count += parameter.size if id(parameter) not in counted else 0
            counted.add(id(parameter))
        if shapes or own or not list(module.children()):
            output = outputs.get(id(module))
            operations = own if example_args else None
            kind = type(module).__name__
            rows.append(Row(path, kind, tuple(shapes), count, output, operations))
    parameters, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        title=model._title,
        rows=tuple(rows),
        parameters=sum(p.size for p in parameters),
        trainable=sum(p.size for p in parameters if p.requires_grad),
        buffers=sum(b.size for b in buffers),
        nbytes=sum(cell.node.aval.nbytes for cell in (*parameters, *buffers)),
        operations=sum(work.values()) if example_args else None,
    )


def _traced(
    model: Module, example_args: Sequence[Any]
) -> tuple[dict[int, tuple[Shape, ...]], dict[int, int]]:
    """Return the shapes of each module's result, and its work, from a trace thrown away."""
    before, _calls.seen = _calls.seen, _Seen()
    try:
        leaves, tree = flatten(tuple(example_args))
        with Tape():
            out = model(*tree.build([_abstract(leaf) for leaf in leaves]))
        seen = _calls.seen
        shapes = {
            i: tuple(t.shape for t in flatten(result)[0] if isinstance(t, Tensor))
            for i, result in seen.results.items()
        }
        results = [t.node for t in flatten(out)[0] if isinstance(t, Tensor)]
        return shapes, _work(seen, results, id(model._info.original or model))
    finally:
        _calls.seen = before


def _work(seen: _Seen, results: Sequence[Node], model: int) -> dict[int, int]:
    """Return the operations of each module itself: those of the innermost one around a node."""
    work = {model: 0}
    for node in ancestors(results):
        cost = flops(node) if node.inputs else 0
        if cost:
            scope = node.scope
            while scope and scope not in seen.scopes:
                scope = scope[:-1]
            owner = seen.scopes.get(scope, model)
            work[owner] = work.get(owner, 0) + cost
    return work


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, Aval):
        return Tensor(placeholder(leaf))
    if isinstance(leaf, Tensor) or hasattr(leaf, "__array__"):
        return Tensor(placeholder(as_tensor(leaf).node.aval))
    return leaf
