"""``graph.table()``: a row per node, with totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tensor import Tensor
from minigrad.dtypes import short
from minigrad.ops.costs import flops

from .anatomy import anatomy
from .labels import byte_text, place_text
from .scopes import path_text
from .symbols import VIEWS
from .theme import fitted

__all__ = ["Row", "Table", "count_text", "html_table", "table", "text_table"]

_SHORT = 30  # rows that are shown without being asked
_MOST = 400  # rows that are written into a notebook
_HEAD = ("", "name", "operation", "shape", "dtype", "bytes", "flops", "role", "layer", "origin")
_RIGHT = (5, 6)  # columns of numbers


@dataclass(frozen=True, slots=True)
class Row:
    """One node of a graph.

    Attributes
    ----------
    id
        ``%7`` as in the graph's text; empty for an input.
    name
        The user's name, or nothing.
    nbytes
        Size of the result in bytes.
    flops
        Estimated arithmetic operations; a multiply-add counts two.
    role
        What the node is: "input", "parameter", "state", "constant", "operation",
        "output", "gradient", "gradient_output" or "update".
    saved
        Whether a backward node reads it, so that it is kept.
    """

    id: str
    name: str
    operation: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    flops: int
    role: str
    layer: str
    origin: str
    saved: bool
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    """The nodes of a graph with what they cost. Shows itself as a table in a notebook."""

    name: str
    rows: tuple[Row, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all computed results together; views and literals have no memory."""
        return sum(
            row.nbytes
            for row in self.rows
            if row.node.inputs and row.node.primitive.name not in VIEWS
        )

    @property
    def flops(self) -> int:
        """Estimated arithmetic operations of the whole graph."""
        return sum(row.flops for row in self.rows)

    @property
    def saved_bytes(self) -> int:
        """Bytes of the forward results that the backward pass reads."""
        return sum(row.nbytes for row in self.rows if row.saved)

    @property
    def totals(self) -> str:
        """The totals in one line."""
        operations = sum(1 for row in self.rows if row.node.inputs)
        text = (
            f"{operations} operations, {count_text(self.flops)} flops, "
            f"{byte_text(self.nbytes)} of results"
        )
        saved = self.saved_bytes
        return text + (f", {byte_text(saved)} kept for the backward pass" if saved else "")

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return f"{text_table(_HEAD, [_cells(r) for r in self.rows], _RIGHT)}\n{self.totals}"

    def __repr__(self) -> str:
        return f"<Table of {self.name}: {self.totals}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        cells = [_cells(r) for r in self.rows]
        clipped = cells if len(cells) <= _MOST else [*cells[: _MOST // 2], *cells[-_MOST // 2 :]]
        body = html_table(_HEAD, clipped, _RIGHT)
        left = len(cells) - len(clipped)
        more = f"<p>{left} rows in the middle are left out; .rows has them all.</p>" if left else ""
        totals = escape(self.totals)
        if len(cells) <= _SHORT:
            html = f"{body}<p>{totals}</p>"
        else:
            title = f"{escape(self.name)}: {len(cells)} rows; {totals}"
            html = f"<details><summary>{title}</summary>{body}{more}</details>"
        text = text_table(_HEAD, clipped, _RIGHT)
        return {"text/plain": f"{text}\n{self.totals}", "text/html": html}


def table(graph: Graph | Tensor) -> Table:
    """Return a table of a graph with a row for each input, constant and operation."""
    if isinstance(graph, Tensor):
        graph = graph.graph()
    read = anatomy(graph, values=False)
    inputs = set(graph.inputs)
    rows = [
        Row(
            id="" if node in inputs else f"%{read.ids[node][1:]}",
            name=read.names.get(node, ""),
            operation=node.primitive.name if node not in inputs else "input",
            shape=node.aval.shape,
            dtype=short(node.aval.dtype),
            nbytes=node.aval.nbytes,
            flops=flops(node) if node.inputs else 0,
            role=read.roles[node],
            layer=path_text(node.scope),
            origin=place_text(node),
            saved=node in read.saved,
            node=node,
        )
        for node in read.order
    ]
    return Table(graph.name, tuple(rows))


def count_text(count: float) -> str:
    """Return a large number in short: ``1.2 M``."""
    for unit in ("", " k", " M", " G", " T"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} P"


def _cells(row: Row) -> tuple[str, ...]:
    shape = ", ".join(map(str, row.shape))
    role = row.role.replace("_", " ") + (", kept" if row.saved else "")
    return (
        row.id, fitted(row.name, 28), row.operation, f"({shape})", row.dtype,
        byte_text(row.nbytes), count_text(row.flops) if row.flops else "", role,
        fitted(row.layer, 28), row.origin,
    )  # fmt: skip


# Tables in general -----------------------------------------------------------------


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> str:
    """Return rows as aligned text under a header; ``right`` columns are numbers."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    texts = [
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def html_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> str:
    """Return rows as a plain HTML table: no styles of its own, no scripts."""

    def row(cells: Sequence[str], tag: str) -> str:
        inside = "".join(
            f'<{tag} align="{"right" if i in right else "left"}">{escape(c)}</{tag}>'
            for i, c in enumerate(cells)
        )
        return f"<tr>{inside}</tr>"

    body = "".join(row(r, "td") for r in rows)
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"
