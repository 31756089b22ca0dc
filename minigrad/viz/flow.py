"""``mg.viz.gradient_flow``: how large the gradients are, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log10
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tensor import Tensor
from minigrad.errors import MinigradError

from .anatomy import leaf_gradient
from .pairing import cotangents, default_targets, derived, level
from .picture import Picture
from .placed import Rect
from .scene import Item, Path, Scene, Text, outline
from .sketch import Span
from .stats import Stats, number, statistics
from .table import text_table
from .theme import ALARM, SMALL, fitted, text_width

__all__ = ["FlowRow", "gradient_flow"]

_BAR = "#8a66ad"
_ROW = 17.0  # pixels from one bar to the next
_LENGTH = 260.0  # pixels of the longest bar
_DECADES = 2.0  # shown at least
_MANY = 200  # bars


@dataclass(frozen=True, slots=True)
class FlowRow:
    """The gradient of one parameter.

    Attributes
    ----------
    gradient
        Euclidean norm of the gradient; of its finite elements, if some are not.
    value
        Euclidean norm of the parameter itself.
    ratio
        Gradient over value: how large a step of learning rate 1 would be, relatively.
    zeros
        Share of the gradient's elements that are zero, in [0, 1].
    nans
        How many of them are NaN or infinite.
    reached
        Whether there is a gradient at all.
    """

    name: str
    shape: tuple[int, ...]
    gradient: float
    value: float
    ratio: float
    zeros: float
    nans: int
    reached: bool

    @property
    def remark(self) -> str:
        """What is wrong, in a word, or nothing."""
        if not self.reached:
            return "no gradient"
        if self.nans:
            return f"{self.nans} not finite"
        return "dead" if self.zeros == 1.0 else ""


def gradient_flow(source: Any, *, title: str | None = None) -> Picture:
    """Return a bar chart of gradient norms, one bar per parameter, in the model's order.

    Vanishing and exploding gradients show as bars that shrink or grow from layer to layer:
    the axis is logarithmic. Dead (all zero), missing and non-finite gradients are named.

    Parameters
    ----------
    source
        A model (anything with ``named_parameters()``) after ``backward``; or a scalar
        tensor, whose gradients are derived; or a graph from ``graph.grad()`` after a run.
    title
        Written above the chart.

    Raises
    ------
    MinigradError
        If there are no gradients to show; the message says how to get them.
    """
    name, pairs = _collected(source)
    rows = tuple(_row(label, value, gradient) for label, value, gradient in pairs)
    if not any(row.reached for row in rows):
        raise MinigradError(
            "gradient_flow: there are no gradients",
            fix="call loss.backward() first, or pass the loss itself",
        )
    return Picture(
        _chart(rows[:_MANY], title or f"gradient flow of {name}"),
        name=name,
        text=_text(rows),
        route="chart",
        note=f"{len(rows) - _MANY} parameters more in .rows" if len(rows) > _MANY else "",
        rows=rows,
    )


# Where the gradients come from -------------------------------------------------------

_Triple = tuple[str, Any, Any]  # name, value, gradient; arrays or None


def _collected(source: Any) -> tuple[str, list[_Triple]]:
    if isinstance(source, Tensor):
        return _of_loss(source)
    if isinstance(source, Graph):
        return source.name, _of_graph(source)
    if hasattr(source, "named_parameters"):
        found = [
            (path, p.value, None if p.grad is None else p.grad.value)
            for path, p in source.named_parameters()
        ]
        return type(source).__name__, found
    raise MinigradError(
        f"gradient_flow: cannot find gradients in a {type(source).__name__}",
        fix="pass a model after loss.backward(), a scalar loss, or a graph after a run",
    )


def _of_loss(loss: Tensor) -> tuple[str, list[_Triple]]:
    """Derive the gradients of a scalar made at the prompt; nothing is left in ``.grad``."""
    graph = loss.graph()
    if loss.shape != () or loss.node.aval.kind != "f":
        raise MinigradError(
            f"gradient_flow: the tensor is {loss.node.aval!r}, not a floating scalar",
            fix="pass the loss, e.g. y.mean()",
        )
    wanted = _trained(default_targets(graph))
    found = derived(graph, loss.node, wanted)
    triples = [(_name(n, i), n.value, _array(found.get(n))) for i, n in enumerate(wanted)]
    return graph.name, triples


def _of_graph(graph: Graph) -> list[_Triple]:
    if not any(level(n) for n in graph.nodes):
        wanted = _trained(default_targets(graph))
        values = graph.values
        return [
            (_name(n, i), values.get(n, n.value), leaf_gradient(n)) for i, n in enumerate(wanted)
        ]
    pairs = cotangents(graph)
    if not graph.values:
        raise MinigradError(
            f"gradient_flow: {graph.name} was not run, so it has no values",
            fix="call the graph with its arguments first: graph(x, y)",
        )
    wanted = _trained([n for n in graph.inputs if n in pairs])
    return [
        (_name(n, i), graph.values.get(n), graph.values.get(pairs[n])) for i, n in enumerate(wanted)
    ]


def _trained(nodes: list[Node]) -> list[Node]:
    """Return those that are trained; all, if none says so."""
    return [n for n in nodes if "cell" in n.params or "owner" in n.params] or nodes


def _name(node: Node, position: int) -> str:
    return node.name or node.origin.target or f"in{position}"


def _array(node: Node | None) -> Any:
    return None if node is None else node.value


def _row(name: str, value: Any, gradient: Any) -> FlowRow:
    own = _norm(value)
    shape = tuple(value.shape) if value is not None else ()
    if gradient is None:
        return FlowRow(name, shape, 0.0, own, 0.0, 1.0, 0, reached=False)
    s: Stats = statistics(gradient)
    ratio = s.norm / own if own > 0.0 else float("inf") if s.norm > 0.0 else 0.0
    return FlowRow(name, shape, s.norm, own, ratio, s.zeros, s.nans + s.infinities, reached=True)


def _norm(value: Any) -> float:
    return 0.0 if value is None else statistics(value).norm


# Text ------------------------------------------------------------------------------

_HEAD = ("parameter", "shape", "gradient", "value", "ratio", "zero", "")


def _cells(row: FlowRow) -> tuple[str, ...]:
    numbers = (
        (number(row.gradient), number(row.value), number(row.ratio), f"{100 * row.zeros:.3g} %")
        if row.reached
        else ("", number(row.value), "", "")
    )
    return (fitted(row.name, 40), str(row.shape), *numbers, row.remark)


def _text(rows: Iterable[FlowRow]) -> str:
    return text_table(_HEAD, [_cells(r) for r in rows], (2, 3, 4, 5))


# The chart ---------------------------------------------------------------------------


def _chart(rows: Sequence[FlowRow], title: str) -> Scene:
    names = [fitted(r.name, 34) for r in rows]
    left = 12.0 + max((text_width(n, SMALL) for n in names), default=0.0) + 10.0
    columns = ("norm", "ratio", "zero")
    top = 50.0
    low, high = _range(rows)
    height = top + _ROW * len(rows) + 34.0
    numbers = left + _LENGTH + 58.0
    remarks = [text_width(r.remark, SMALL, bold=True) + 10.0 for r in rows if r.remark]
    width = numbers + 2 * 62.0 + 14.0 + max(remarks, default=0.0)
    parts: list[Path | Text] = [
        Text(12.0, 20.0, (Span(title, bold=True),), "start"),
        *_axis(low, high, left, top, height - 34.0),
    ]
    for i, column in enumerate(columns):
        parts.append(_label(column, numbers + 62.0 * i, top - 8.0, "soft"))
    items = [Item("axis", "axis", tuple(parts))]
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = top + _ROW * (i + 0.5)
        items.append(_bar(i, row, name, y, left, low, high, numbers))
    return Scene(width, height, tuple(items), title)


def _range(rows: Sequence[FlowRow]) -> tuple[float, float]:
    """Return the decades that the axis spans."""
    found = [log10(r.gradient) for r in rows if r.reached and r.gradient > 0.0]
    if not found:
        return -_DECADES, 0.0
    low, high = float(int(min(found) // 1)), float(-int(-max(found) // 1))
    return (low, high) if high - low >= _DECADES else (high - _DECADES, high)


def _axis(low: float, high: float, left: float, top: float, bottom: float) -> list[Path | Text]:
    step = max(1, round((high - low) / 6))
    parts: list[Path | Text] = []
    decade = int(low)
    while decade <= high:
        x = left + _LENGTH * (decade - low) / (high - low)
        parts.append(Path((("M", ((x, top),)), ("L", ((x, bottom),))), None, "#e3e7eb", 1.0))
        parts.append(
            Text(x, bottom + 14.0, (Span(number(10.0**decade), "soft", small=True),), "middle")
        )
        decade += step
    return parts


def _label(text: str, right: float, y: float, tone: str) -> Text:
    return Text(right, y, (Span(text, tone, small=True),), "end")


def _bar(
    index: int,
    row: FlowRow,
    name: str,
    y: float,
    left: float,
    low: float,
    high: float,
    numbers: float,
) -> Item:
    alarm = row.nans > 0
    parts: list[Path | Text] = [_label(name, left - 8.0, y + 3.4, "alarm" if alarm else "ink")]
    share = 0.0
    if row.reached and row.gradient > 0.0 and isfinite(row.gradient):
        share = min(max((log10(row.gradient) - low) / (high - low), 0.01), 1.0)
    track = Rect(left, y - 5.0, left + _LENGTH, y + 5.0)
    parts += outline("box", track, "#f5f3f7", "#f5f3f7", 0.1)
    if share > 0.0:
        bar = Rect(left, y - 5.0, left + _LENGTH * share, y + 5.0)
        parts += outline("box", bar, ALARM if alarm else _BAR, ALARM if alarm else _BAR, 0.1)
    if row.reached:
        cells = (number(row.gradient), number(row.ratio), f"{100 * row.zeros:.3g} %")
        for i, text in enumerate(cells):
            parts.append(_label(text, numbers + 62.0 * i, y + 3.4, "soft"))
    if row.remark:
        at = numbers + 2 * 62.0 + 10.0
        tone = "alarm" if alarm else "dead"
        parts.append(Text(at, y + 3.4, (Span(row.remark, tone, bold=True, small=True),), "start"))
    tooltip = (
        f"{row.name} {row.shape}: gradient norm {number(row.gradient, 4)}, value norm "
        f"{number(row.value, 4)}"
    )
    return Item(f"p{index}", "bar", tuple(parts), tooltip)
