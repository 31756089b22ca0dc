"""Sketch to DOT, the language of Graphviz, and its answer back to a layout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from minigrad.errors import BackendUnavailable

from .placed import Layout, Placed, Point, Rect
from .sketch import Box, FrameBox, Line, Sketch, Span, box_size
from .theme import ALARM, PAPER, ROLES, SMALL, SOFT, TONES, WIRE

__all__ = ["clean", "dot_text", "parse"]

_POINTS = 72.0  # to the inch; a pixel of the picture is drawn as one point
_FACE = "Helvetica,Arial,DejaVu Sans,sans-serif"


def clean(text: str) -> str:
    """Return text without the control characters that XML and Graphviz refuse."""
    return "".join(c if c >= " " and c not in "\x7f￾￿" else " " for c in text)


def dot_text(sketch: Sketch) -> str:
    """Return the sketch as DOT, built with the ``graphviz`` package.

    Forward and backward are joined by rows of equal rank only: edges between them would
    cost the layout minutes.

    Raises
    ------
    BackendUnavailable
        If the package is not installed.
    """
    try:
        import graphviz
    except ImportError as error:
        raise BackendUnavailable(
            "DOT text needs the Python package graphviz",
            fix="pip install 'minigrad[notebook]'; pictures are drawn without it too",
        ) from error
    sides = "LR" if sketch.direction == "LR" else "TB"
    graph = graphviz.Digraph(
        name=_name(clean(sketch.name)),
        graph_attr={
            "rankdir": sides, "newrank": "true", "nodesep": "0.22", "ranksep": "0.3",
            "fontname": _FACE, "fontsize": "10", "fontcolor": SOFT, "bgcolor": PAPER,
            "outputorder": "edgesfirst",
        },
        node_attr={"fontname": _FACE, "fontsize": "11", "fixedsize": "true", "penwidth": "1.1"},
        edge_attr={
            "fontname": _FACE, "fontsize": str(SMALL), "fontcolor": SOFT, "color": WIRE,
            "arrowsize": "0.6",
        },
    )  # fmt: skip
    columns = range(len(sketch.headings))
    for column in reversed(columns) if sides == "LR" else columns:  # LR stacks upwards
        with graph.subgraph(name=f"cluster_column{column}") as part:
            part.attr(peripheries="0", margin="14" if sides == "LR" else "6")
            _nested(part, sketch, column, None)
    for wire in sketch.wires:
        _edge(graph, sketch, wire.tail, wire.head, wire)
    for link in sketch.links:
        with graph.subgraph() as row:
            row.attr(rank="same")
            row.node(link.forward)
            row.node(link.backward)
    return str(graph.source)


def _name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text) or "graph"


def _nested(part: Any, sketch: Sketch, column: int, parent: str | None) -> None:
    """Write the boxes of a frame, then the frames within it."""
    for box in sketch.boxes:
        if box.column == column and box.frame == parent:
            part.node(box.id, **_box_attributes(box))
    for frame in sketch.frames:
        if frame.column == column and frame.parent == parent:
            with part.subgraph(name=f"cluster_{frame.id}") as inner:
                inner.attr(**_frame_attributes(frame))
                _nested(inner, sketch, column, frame.id)


def _frame_attributes(frame: FrameBox) -> dict[str, str]:
    label = f"<{_rich(((Span(frame.label, 'soft', bold=True, small=True)),))}>"
    return {
        "label": label, "labeljust": "l", "style": "rounded", "color": "#ccd4dc",
        "peripheries": "1", "margin": "9",
    }  # fmt: skip


def _box_attributes(box: Box) -> dict[str, str]:
    look = ROLES[box.role]
    width, height = box_size(box)
    label = '<br align="center"/>'.join(_rich(line) for line in box.lines)
    return {
        "label": f"<{label}>",
        "shape": look.dot_shape,
        "style": look.dot_style,
        "fillcolor": look.fill,
        "color": ALARM if box.alarm else look.stroke,
        "width": f"{width / _POINTS:.4f}",
        "height": f"{height / _POINTS:.4f}",
        "peripheries": "2" if look.shape in ("double", "cut_double") else "1",
    }


def _rich(line: Line) -> str:
    return "".join(_span(span) for span in line if span.text)


def _span(span: Span) -> str:
    text = escape(clean(span.text))
    bold = f"<b>{text}</b>" if span.bold else text
    return f'<font point-size="{span.size}" color="{TONES[span.tone]}">{bold}</font>'


def _edge(graph: Any, sketch: Sketch, tail: str, head: str, wire: Any) -> None:
    upward = sketch.upward[sketch.box(tail).column]
    attributes = {"penwidth": f"{1.0 + 2.5 * wire.strength:.2f}"}
    if sketch.degree(tail) > 1 and sketch.degree(head) > 1:
        attributes["weight"] = "5"  # what hangs on one edge only gives way to the others
    if wire.label:
        label = Span(wire.label, "soft", small=True)
        margin = Span("\u2003")  # an em space: other faces than Graphviz's own are wider
        attributes["label"] = f"<{_rich((margin, label, margin))}>"
    if wire.alarm:
        attributes["color"] = ALARM
    if upward:
        graph.edge(head, tail, dir="back", **attributes)
    else:
        graph.edge(tail, head, **attributes)


# The answer --------------------------------------------------------------------


def parse(answer: str, sketch: Sketch, route: str) -> Layout:
    """Return the layout that Graphviz wrote as JSON (``-Tjson0``)."""
    data = json.loads(answer)
    _, _, right, top = _numbers(data["bb"])
    objects = data.get("objects", [])
    names = {o["_gvid"]: o["name"] for o in objects}
    boxes: dict[str, Rect] = {}
    frames: dict[str, Rect] = {}
    for o in objects:
        if "pos" in o:
            x, y = _numbers(o["pos"])
            w, h = float(o["width"]) * _POINTS, float(o["height"]) * _POINTS
            boxes[o["name"]] = Rect(x - w / 2, top - y - h / 2, x + w / 2, top - y + h / 2)
        elif o["name"].startswith("cluster_") and "bb" in o:
            x0, y0, x1, y1 = _numbers(o["bb"])
            frames[o["name"].removeprefix("cluster_")] = Rect(x0, top - y1, x1, top - y0)
    found: dict[tuple[str, str], Placed] = {}
    for edge in data.get("edges", []):
        points = _spline(edge["pos"], top)
        label = None
        if "lp" in edge:
            x, y = _numbers(edge["lp"])
            label = (x, top - y)
        tail, head = names[edge["tail"]], names[edge["head"]]
        if edge.get("dir") == "back":
            tail, head, points = head, tail, points[::-1]
        found[tail, head] = Placed(points, label)
    wires = tuple(found[w.tail, w.head] for w in sketch.wires)
    return Layout(boxes, wires, frames, right, top, route)


def _numbers(text: str) -> list[float]:
    return [float(x) for x in text.split(",")]


def _spline(text: str, top: float) -> tuple[Point, ...]:
    """Return the points of an edge, arrow tips included, in the direction of writing."""
    first: list[Point] = []
    last: list[Point] = []
    middle: list[Point] = []
    for piece in text.split():
        if piece.startswith("s,"):
            first = _flip([_numbers(piece[2:])], top)
        elif piece.startswith("e,"):
            last = _flip([_numbers(piece[2:])], top)
        else:
            middle += _flip([_numbers(piece)], top)
    return tuple(_extended(first, middle, last))


def _flip(pairs: Iterable[list[float]], top: float) -> list[Point]:
    return [(p[0], top - p[1]) for p in pairs]


def _extended(first: list[Point], middle: list[Point], last: list[Point]) -> list[Point]:
    """Return the spline prolonged straight to the tips of its arrows."""
    points = list(middle)
    if first:
        tip = first[0]
        points = [tip, tip, points[0], *points]
    if last:
        tip = last[0]
        points = [*points, points[-1], tip, tip]
    return points
