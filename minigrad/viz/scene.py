"""A scene: paths and texts with positions and colours, ready for any painter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Final, TypeAlias

from .placed import Point, Rect
from .sketch import Line, Span
from .theme import SIZE

__all__ = [
    "Item", "Path", "Scene", "Step", "Text", "arrow", "curve", "label", "legend_text", "outline",
]  # fmt: skip

#: One step of a path: a letter of SVG (M, L, C or Z) and its points.
Step: TypeAlias = tuple[str, tuple[Point, ...]]

_CORNER: Final = 6.0
_FOLD: Final = 8.0
_ROUND: Final = 0.5523  # of the radius: control points of a circle's quarter


@dataclass(frozen=True, slots=True)
class Path:
    """A line or an area. ``dash`` is a pair of lengths in pixels."""

    steps: tuple[Step, ...]
    fill: str | None = None
    stroke: str | None = None
    width: float = 1.0
    dash: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text at its baseline; ``anchor`` is start, middle or end."""

    x: float
    y: float
    spans: Line
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Item:
    """Parts that belong together; the id and the kind are written to the SVG."""

    id: str
    kind: str
    parts: tuple[Path | Text, ...]
    tooltip: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture of this size in pixels."""

    width: float
    height: float
    items: tuple[Item, ...]
    title: str = ""


def label(middle: Point, text: Line) -> Text:
    """Return a line of text whose middle is at a point."""
    size = max((s.size for s in text), default=SIZE)
    return Text(middle[0], middle[1] + 0.36 * size, text)


# Shapes ----------------------------------------------------------------------------


def _polygon(points: Iterable[Point]) -> tuple[Step, ...]:
    first, *rest = points
    return (("M", (first,)), *(("L", (p,)) for p in rest), ("Z", ()))


def _rounded(r: Rect, radius: float = _CORNER) -> tuple[Step, ...]:
    c = radius * (1 - _ROUND)
    x0, y0, x1, y1 = r.left, r.top, r.right, r.bottom
    return (
        ("M", ((x0 + radius, y0),)),
        ("L", ((x1 - radius, y0),)),
        ("C", ((x1 - c, y0), (x1, y0 + c), (x1, y0 + radius))),
        ("L", ((x1, y1 - radius),)),
        ("C", ((x1, y1 - c), (x1 - c, y1), (x1 - radius, y1))),
        ("L", ((x0 + radius, y1),)),
        ("C", ((x0 + c, y1), (x0, y1 - c), (x0, y1 - radius))),
        ("L", ((x0, y0 + radius),)),
        ("C", ((x0, y0 + c), (x0 + c, y0), (x0 + radius, y0))),
        ("Z", ()),
    )


def _cut(r: Rect, corner: float = _CORNER) -> tuple[Step, ...]:
    return _polygon(
        [
            (r.left + corner, r.top), (r.right - corner, r.top), (r.right, r.top + corner),
            (r.right, r.bottom - corner), (r.right - corner, r.bottom),
            (r.left + corner, r.bottom), (r.left, r.bottom - corner), (r.left, r.top + corner),
        ]
    )  # fmt: skip


def _corners(r: Rect) -> list[Point]:
    return [(r.left, r.top), (r.right, r.top), (r.right, r.bottom), (r.left, r.bottom)]


def outline(shape: str, r: Rect, fill: str, stroke: str, width: float = 1.1) -> tuple[Path, ...]:
    """Return the paths of a box of a shape."""
    if shape == "slanted":
        s = 5.0
        points = [
            (r.left + s, r.top),
            (r.right, r.top),
            (r.right - s, r.bottom),
            (r.left, r.bottom),
        ]
        return (Path(_polygon(points), fill, stroke, width),)
    if shape == "folded":
        f = _FOLD
        body = [(r.left, r.top), (r.right - f, r.top), (r.right, r.top + f), (r.right, r.bottom),
                (r.left, r.bottom)]  # fmt: skip
        ear: tuple[Step, ...] = (
            ("M", ((r.right - f, r.top),)),
            ("L", ((r.right - f, r.top + f),)),
            ("L", ((r.right, r.top + f),)),
        )
        return Path(_polygon(body), fill, stroke, width), Path(ear, None, stroke, width * 0.8)
    if shape == "tag":
        s = 7.0
        middle = (r.top + r.bottom) / 2
        points = [(r.left, r.top), (r.right - s, r.top), (r.right, middle),
                  (r.right - s, r.bottom), (r.left, r.bottom)]  # fmt: skip
        return (Path(_polygon(points), fill, stroke, width),)
    if shape == "dashed":
        return (Path(_polygon(_corners(r)), fill, stroke, width, (3.0, 2.0)),)
    if shape in ("double", "cut_double"):
        draw = _rounded if shape == "double" else _cut
        inner = draw(r.grown(-2.6), _CORNER - 2.0)
        return Path(draw(r), fill, stroke, width), Path(inner, None, stroke, width * 0.7)
    steps = (
        _cut(r) if shape == "cut" else _rounded(r) if shape == "round" else _polygon(_corners(r))
    )
    return (Path(steps, fill, stroke, width),)


def curve(points: Sequence[Point]) -> tuple[Step, ...]:
    """Return the steps of a cubic Bezier spline."""
    steps: list[Step] = [("M", (points[0],))]
    steps += [
        ("C", (points[i], points[i + 1], points[i + 2])) for i in range(1, len(points) - 2, 3)
    ]
    return tuple(steps)


def arrow(points: Sequence[Point], stroke: str, width: float) -> tuple[Path, ...]:
    """Return a spline that ends in an arrowhead."""
    tip = points[-1]
    back = next((p for p in reversed(points[:-1]) if hypot(p[0] - tip[0], p[1] - tip[1]) > 1), None)
    if back is None:
        return ()
    distance = hypot(tip[0] - back[0], tip[1] - back[1])
    ux, uy = (tip[0] - back[0]) / distance, (tip[1] - back[1]) / distance
    long, wide = 5.5 + 0.8 * width, 2.4 + 0.6 * width
    foot = (tip[0] - ux * long, tip[1] - uy * long)
    head = _polygon(
        [
            tip,
            (foot[0] - uy * wide, foot[1] + ux * wide),
            (foot[0] + uy * wide, foot[1] - ux * wide),
        ]
    )
    end = (tip[0] - ux * (long - 1), tip[1] - uy * (long - 1))
    near = hypot(points[-2][0] - tip[0], points[-2][1] - tip[1]) < long
    line = [*points[:-2], end if near else points[-2], end]
    return Path(curve(line), None, stroke, width), Path(head, stroke, None)


def legend_text(text: str) -> Line:
    """Return a line in the style of the legend."""
    return (Span(text, "soft", small=True),)
