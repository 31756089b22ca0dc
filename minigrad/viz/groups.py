"""The words of folding: ways to fold, frames, groups."""

from __future__ import annotations

from dataclasses import dataclass

from minigrad.core.node import Node

__all__ = ["REST", "SHARED", "Fold", "Frame", "Group"]

#: The paths of the group that serves several updates, and of what serves none.
SHARED = ("shared",)
REST = ("rest",)


@dataclass(frozen=True, slots=True)
class Fold:
    """How far to fold: layers from this depth on; also source lines; also plain sequences.

    ``depth`` None leaves all layers open. ``steps`` is the number of boxes per column
    into which what is left is cut. ``repeats`` folds equal layers in a row into one.
    """

    depth: int | None = None
    lines: bool = False
    steps: int | None = None
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a layer that is drawn open: a frame around its operations."""

    id: str
    label: str
    depth: int


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that share a box.

    ``kind`` is "layer", "line", "steps" or "update". ``path`` names the layer, from the
    outside. ``serves`` is the forward group of a backward one. ``times`` is the number of
    equal layers folded into one, and ``ends`` names the first and the last of them.
    """

    id: str
    column: int
    kind: str
    path: tuple[str, ...]
    nodes: tuple[Node, ...]
    serves: str | None = None
    times: int = 1
    ends: tuple[str, str] = ("", "")
