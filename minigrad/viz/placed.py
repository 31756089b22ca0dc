"""A layout: where each box, wire and frame of a sketch is. In pixels, y downwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Layout", "Placed", "Point", "Rect"]

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle by its left, top, right and bottom."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> Point:
        """The centre."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def width(self) -> float:
        """The width."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """The height."""
        return self.bottom - self.top

    @property
    def corners(self) -> tuple[Point, Point]:
        """The corners at the top left and the bottom right."""
        return (self.left, self.top), (self.right, self.bottom)

    def grown(self, by: float) -> Rect:
        """Return the rectangle with a margin added on every side."""
        return Rect(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def moved(self, dx: float, dy: float) -> Rect:
        """Return the rectangle elsewhere."""
        return Rect(self.left + dx, self.top + dy, self.right + dx, self.bottom + dy)

    def meets(self, other: Rect) -> bool:
        """Whether two rectangles overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """One wire: the points of a cubic Bezier spline from tail to head, and its label's middle."""

    points: tuple[Point, ...]
    label: Point | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions for a sketch; wires in the order of the sketch."""

    boxes: dict[str, Rect]
    wires: tuple[Placed, ...]
    frames: dict[str, Rect]
    width: float
    height: float
    route: str
