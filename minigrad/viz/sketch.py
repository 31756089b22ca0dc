"""A sketch: boxes, wires and frames, with all their text, but without positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from minigrad.core.node import Node

from .theme import SIZE, SMALL, text_width

__all__ = ["Box", "FrameBox", "Line", "Link", "Sketch", "Span", "Wire", "box_size"]

_PAD_X = 9.0  # pixels between the text and the sides of a box
_PAD_Y = 5.0
_LEADING = 1.35  # line height over letter size


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text in one style."""

    text: str
    tone: str = "ink"
    bold: bool = False
    small: bool = False

    @property
    def size(self) -> float:
        """The letter size in pixels."""
        return SMALL if self.small else SIZE

    @property
    def width(self) -> float:
        """The width in pixels."""
        return text_width(self.text, self.size, self.bold)


Line: TypeAlias = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """One box. ``frame`` is the innermost frame around it; ``alarm`` paints it red."""

    id: str
    role: str
    column: int
    lines: tuple[Line, ...]
    tooltip: str
    nodes: tuple[Node, ...]
    frame: str | None = None
    saved: bool = False
    alarm: bool = False
    times: int = 1


@dataclass(frozen=True, slots=True)
class Wire:
    """Data that goes from one box to another of its column; ``strength`` is in [0, 1]."""

    tail: str
    head: str
    label: str = ""
    tooltip: str = ""
    strength: float = 0.0
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class FrameBox:
    """A frame around the operations of an open layer."""

    id: str
    label: str
    parent: str | None
    column: int


@dataclass(frozen=True, slots=True)
class Link:
    """A forward box and a backward box that serves it: same row, no edge in the layout."""

    forward: str
    backward: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """Everything that a picture shows, before layout.

    Wires of a backward column run against the reading direction: the layout gets them
    reversed, so that the column is read upwards.
    """

    name: str
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    frames: tuple[FrameBox, ...]
    links: tuple[Link, ...]
    headings: tuple[str, ...]
    upward: tuple[bool, ...]
    direction: str = "TB"
    title: str | None = None

    def box(self, name: str) -> Box:
        """Return the box with this id."""
        return next(b for b in self.boxes if b.id == name)

    def degree(self, name: str) -> int:
        """Return the number of wires at a box."""
        return sum(name in (w.tail, w.head) for w in self.wires)


def line_height(line: Sequence[Span]) -> float:
    """Return the height of a line in pixels."""
    return max((span.size for span in line), default=SIZE) * _LEADING


def box_size(box: Box) -> tuple[float, float]:
    """Return width and height of a box in pixels, from its text."""
    width = max((sum(span.width for span in line) for line in box.lines), default=0.0)
    height = sum(line_height(line) for line in box.lines)
    slant = 10.0 if box.role == "input" else 6.0 if box.role == "update" else 0.0
    return max(width + 2 * _PAD_X + slant, 26.0), height + 2 * _PAD_Y


__all__ += ["line_height"]
