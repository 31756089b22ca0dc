"""A sketch and its layout to a scene: boxes, wires, links, headings and the legend."""

from __future__ import annotations

from collections.abc import Sequence

from .placed import Layout, Placed, Point, Rect
from .scene import Item, Path, Scene, Text, arrow, curve, label, legend_text, outline
from .sketch import Box, Sketch, Span, line_height
from .theme import ALARM, LINK, ROLES, SIZE, SMALL, WIRE, text_width

__all__ = ["paint"]

_MARGIN = 10.0
_HEADING = 20.0
_LEGEND = 20.0
_GRADIENT_WIRE = "#a58bc0"
_FRAME_LINE = "#cbd3db"
_MANY_LINKS = 40


def paint(sketch: Sketch, layout: Layout) -> Scene:
    """Return the scene of a sketch that was laid out."""
    headed = any(sketch.headings)
    top = _MARGIN + (_HEADING + 4 if sketch.title else 0.0) + (_HEADING if headed else 0.0)
    boxes = {n: r.moved(_MARGIN, top) for n, r in layout.boxes.items()}
    entries = _legend_entries(sketch)
    lines = _legend_lines(entries, max(layout.width, 260.0))
    width = max(layout.width, _legend_width(lines), _title_width(sketch)) + 2 * _MARGIN
    bottom = top + layout.height + 8.0
    height = bottom + _LEGEND * len(lines) + _MARGIN / 2
    items = [
        *_frames(sketch, layout, top),
        *_links(sketch, boxes),
        *_wires(sketch, layout, top),
        *(_box(b, boxes[b.id]) for b in sketch.boxes),
        *_words(sketch, layout, boxes, top),
        *_legend(lines, bottom),
    ]
    return Scene(width, height, tuple(items), sketch.title or sketch.name)


def _frames(sketch: Sketch, layout: Layout, top: float) -> list[Item]:
    items = []
    for frame in sketch.frames:
        if frame.id not in layout.frames:
            continue
        r = layout.frames[frame.id].moved(_MARGIN, top)
        tone = "gradient" if sketch.upward[frame.column] else "soft"
        text = Text(
            r.left + 7, r.top + 12, (Span(frame.label, tone, bold=True, small=True),), "start"
        )
        (border,) = outline("round", r, "none", _FRAME_LINE)
        items.append(Item(frame.id, "frame", (border, text)))
    return items


def _links(sketch: Sketch, boxes: dict[str, Rect]) -> list[Item]:
    if len(sketch.links) > _MANY_LINKS:
        return []
    items = []
    for link in sketch.links:
        a, b = boxes[link.forward], boxes[link.backward]
        if sketch.direction == "LR":
            upper, lower = (a, b) if a.top < b.top else (b, a)
            start, end = (upper.middle[0], upper.bottom), (lower.middle[0], lower.top)
            middle = (start[1] + end[1]) / 2
            points = [start, (start[0], middle), (end[0], middle), end]
        else:
            start, end = (a.right, a.middle[1]), (b.left, b.middle[1])
            half = (start[0] + end[0]) / 2
            points = [start, (half, start[1]), (half, end[1]), end]
        line = Path(curve(points), None, LINK, 1.0, (1.5, 3.0))
        items.append(Item(f"{link.forward}--{link.backward}", "link", (line,)))
    return items


def _wires(sketch: Sketch, layout: Layout, top: float) -> list[Item]:
    items = []
    for wire, placed in zip(sketch.wires, layout.wires, strict=True):
        moved = _moved(placed, _MARGIN, top)
        backward = sketch.upward[sketch.box(wire.tail).column]
        colour = ALARM if wire.alarm else _GRADIENT_WIRE if backward else WIRE
        parts: list[Path | Text] = [*arrow(moved.points, colour, 1.0 + 2.4 * wire.strength)]
        if wire.label and moved.label is not None:
            parts.append(label(moved.label, legend_text(wire.label)))
        items.append(Item(f"{wire.tail}-{wire.head}", "wire", tuple(parts), wire.tooltip))
    return items


def _moved(placed: Placed, dx: float, dy: float) -> Placed:
    points: Sequence[Point] = [(x + dx, y + dy) for x, y in placed.points]
    at = placed.label
    return Placed(tuple(points), None if at is None else (at[0] + dx, at[1] + dy))


def _box(box: Box, r: Rect) -> Item:
    look = ROLES[box.role]
    stroke = ALARM if box.alarm else look.stroke
    width = 2.0 if box.alarm else 1.1
    parts: list[Path | Text] = []
    for k in range(min(box.times - 1, 2), 0, -1):
        parts += outline(look.shape, r.moved(3.0 * k, -3.0 * k), look.fill, look.stroke)
    parts += outline(look.shape, r, look.fill, stroke, width)
    if box.saved:
        parts.append(_saved_mark(r.right - 4.0, r.bottom - 4.0, look.stroke))
    heights = [line_height(line) for line in box.lines]
    at = r.middle[1] - sum(heights) / 2
    for line, height in zip(box.lines, heights, strict=True):
        parts.append(label((r.middle[0], at + height / 2), line))
        at += height
    return Item(box.id, f"box {box.role}", tuple(parts), box.tooltip)


def _saved_mark(x: float, y: float, colour: str) -> Path:
    (mark,) = outline("box", Rect(x - 2.2, y - 2.2, x + 2.2, y + 2.2), colour, colour, 0.1)
    return mark


def _words(sketch: Sketch, layout: Layout, boxes: dict[str, Rect], top: float) -> list[Item]:
    parts: list[Path | Text] = []
    if sketch.title:
        parts.append(Text(_MARGIN, _MARGIN + 12, (Span(sketch.title, bold=True),), "start"))
    for column, heading in enumerate(sketch.headings):
        rects = [boxes[b.id] for b in sketch.boxes if b.column == column]
        if not heading or not rects:
            continue
        tone = "gradient" if sketch.upward[column] else "soft"
        if sketch.direction == "LR":
            frames = [f.id for f in sketch.frames if f.column == column]
            rects += [layout.frames[f].moved(_MARGIN, top) for f in frames if f in layout.frames]
            middle = min(r.left for r in rects) + 26
            y = min(r.top for r in rects) - 6
            heading = heading.replace("↓", "→").replace("↑", "←")
        else:
            middle = (min(r.left for r in rects) + max(r.right for r in rects)) / 2
            y = top - 8
        parts.append(Text(middle, y, (Span(heading, tone, bold=True, small=True),)))
    return [Item("headings", "headings", tuple(parts))] if parts else []


# The legend --------------------------------------------------------------------------


def _legend_entries(sketch: Sketch) -> list[tuple[str, str]]:
    """Return kind and text of each entry; a picture of one role needs no legend."""
    roles = {b.role for b in sketch.boxes}
    entries = [(role, look.meaning) for role, look in ROLES.items() if role in roles]
    if any(b.saved for b in sketch.boxes):
        entries.append(("saved", "kept for backward"))
    if any(w.strength for w in sketch.wires):
        entries.append(("width", "width: size of the gradient"))
    return entries if len(entries) > 2 else []


def _legend_lines(entries: Sequence[tuple[str, str]], width: float) -> list[list[tuple[str, str]]]:
    lines: list[list[tuple[str, str]]] = []
    room = 0.0
    for entry in entries:
        need = 30.0 + text_width(entry[1], SMALL)
        if not lines or room < need:
            lines.append([])
            room = width
        lines[-1].append(entry)
        room -= need
    return lines


def _legend_width(lines: Sequence[Sequence[tuple[str, str]]]) -> float:
    return max((sum(30.0 + text_width(t, SMALL) for _, t in line) for line in lines), default=0.0)


def _title_width(sketch: Sketch) -> float:
    return text_width(sketch.title, SIZE, bold=True) if sketch.title else 0.0


def _legend(lines: Sequence[Sequence[tuple[str, str]]], top: float) -> list[Item]:
    parts: list[Path | Text] = []
    for i, line in enumerate(lines):
        x, y = _MARGIN, top + _LEGEND * i + 8.0
        for kind, text in line:
            parts += _sample(kind, x, y)
            parts.append(Text(x + 20, y + 3.4, legend_text(text), "start"))
            x += 30.0 + text_width(text, SMALL)
    return [Item("legend", "legend", tuple(parts))] if parts else []


def _sample(kind: str, x: float, y: float) -> list[Path]:
    if kind == "saved":
        return [_saved_mark(x + 8, y, ROLES["operation"].stroke)]
    if kind == "width":
        return [
            Path((("M", ((x, y),)), ("L", ((x + 8, y),))), None, _GRADIENT_WIRE, 1.0),
            Path((("M", ((x + 8, y),)), ("L", ((x + 16, y),))), None, _GRADIENT_WIRE, 3.4),
        ]
    look = ROLES[kind]
    return list(outline(look.shape, Rect(x, y - 5.5, x + 16, y + 5.5), look.fill, look.stroke, 1.0))
