"""The built-in layout, first half: which row each box is in, and the order within a row.

After Sugiyama, Tagawa and Toda (1981): rows by longest path, long edges cut by dummies,
crossings reduced by repeated barycentre sweeps. Pure Python, for up to a few hundred boxes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .sketch import Sketch, Wire

__all__ = ["Vertex", "assign_rows", "order_rows", "upper_lower", "vertices"]

_SWEEPS = 16


@dataclass(slots=True, eq=False)
class Vertex:
    """A box, or a dummy through which an edge passes: in a row, with room to both sides.

    ``wire`` is the index of the edge of a dummy; ``label`` whether its label is here.
    """

    row: int
    left: float
    right: float
    height: float
    box: str | None = None
    wire: int | None = None
    label: bool = False
    frames: tuple[str, ...] = ()
    above: list[Vertex] = field(default_factory=list)
    below: list[Vertex] = field(default_factory=list)
    at: float = 0.0  # position across the row
    hangs: bool = False  # a box with one edge, or on that edge


def upper_lower(sketch: Sketch, wire: Wire) -> tuple[str, str]:
    """Return the ends of a wire, the one that is drawn higher first."""
    upward = sketch.upward[sketch.box(wire.tail).column]
    return (wire.head, wire.tail) if upward else (wire.tail, wire.head)


def assign_rows(sketch: Sketch) -> dict[str, int]:
    """Return the row of each box: below all it depends on, level with its link's other end."""
    edges = [upper_lower(sketch, w) for w in sketch.wires]
    names = [b.id for b in sketch.boxes]
    stands = {n: n for n in names}
    for link in sketch.links:
        trial = _merged(stands, link.forward, link.backward)
        if _longest(names, edges, trial) is not None:
            stands = trial
    rows = _longest(names, edges, stands)
    if rows is None:  # a sketch of an acyclic graph has none; keep drawing if it had
        return {n: i for i, n in enumerate(names)}
    _pull_down(names, edges, stands, rows)
    used = {r: i for i, r in enumerate(sorted(set(rows.values())))}
    return {n: used[rows[stands[n]]] for n in names}


def _merged(stands: dict[str, str], a: str, b: str) -> dict[str, str]:
    keep, drop = stands[a], stands[b]
    return {n: keep if s == drop else s for n, s in stands.items()}


def _longest(
    names: Sequence[str], edges: Iterable[tuple[str, str]], stands: dict[str, str]
) -> dict[str, int] | None:
    """Return longest-path rows of the merged graph, or None if it has a cycle."""
    below: dict[str, set[str]] = {stands[n]: set() for n in names}
    for upper, lower in edges:
        if stands[upper] == stands[lower]:
            return None
        below[stands[upper]].add(stands[lower])
    waiting = dict.fromkeys(below, 0)
    for found in below.values():
        for n in found:
            waiting[n] += 1
    ready = [n for n, count in waiting.items() if count == 0]
    rows = dict.fromkeys(below, 0)
    done = 0
    while ready:
        n = ready.pop()
        done += 1
        for lower in below[n]:
            rows[lower] = max(rows[lower], rows[n] + 1)
            waiting[lower] -= 1
            if waiting[lower] == 0:
                ready.append(lower)
    return rows if done == len(below) else None


def _pull_down(
    names: Sequence[str],
    edges: Sequence[tuple[str, str]],
    stands: dict[str, str],
    rows: dict[str, int],
) -> None:
    """Move what has as many edges below as above down to just above the first of them."""
    above: dict[str, set[str]] = {stands[n]: set() for n in names}
    below: dict[str, set[str]] = {stands[n]: set() for n in names}
    for upper, lower in edges:
        above[stands[lower]].add(stands[upper])
        below[stands[upper]].add(stands[lower])
    for n in sorted(rows, key=lambda n: -rows[n]):
        if below[n] and len(below[n]) >= len(above[n]):
            rows[n] = max(rows[n], min(rows[m] for m in below[n]) - 1)


def vertices(
    sketch: Sketch,
    column: int,
    rows: dict[str, int],
    sizes: dict[str, tuple[float, float]],
    labels: dict[int, float],
) -> tuple[list[list[Vertex]], dict[int, list[Vertex]]]:
    """Return the rows of a column, and the chain of vertices along each of its wires.

    Boxes are in even rows; odd rows hold labels. ``sizes`` are (across, along);
    ``labels`` the extent of each wire's label across the row.
    """
    frames = _frame_paths(sketch)
    found: dict[str, Vertex] = {}
    count = 2 * max(rows.values(), default=0) + 1
    table: list[list[Vertex]] = [[] for _ in range(count)]
    for box in sketch.boxes:
        if box.column == column:
            across, along = sizes[box.id]
            found[box.id] = Vertex(
                2 * rows[box.id], across / 2, across / 2, along, box.id,
                frames=frames.get(box.frame or "", ()),
            )  # fmt: skip
            table[2 * rows[box.id]].append(found[box.id])
    chains: dict[int, list[Vertex]] = {}
    for i, wire in enumerate(sketch.wires):
        upper, lower = upper_lower(sketch, wire)
        if upper not in found:
            continue
        first, last = found[upper], found[lower]
        chain = [first]
        shared = tuple(a for a, b in zip(first.frames, last.frames, strict=False) if a == b)
        for row in range(first.row + 1, last.row):
            labelled = row == first.row + 1 and i in labels
            right = labels[i] if labelled else 2.0
            dummy = Vertex(row, 2.0, right, 0.0, wire=i, label=labelled, frames=shared)
            table[row].append(dummy)
            chain.append(dummy)
        chain.append(last)
        for a, b in pairwise(chain):
            a.below.append(b)
            b.above.append(a)
        chains[i] = chain
    return table, chains


def _frame_paths(sketch: Sketch) -> dict[str, tuple[str, ...]]:
    paths: dict[str, tuple[str, ...]] = {}
    for frame in sketch.frames:  # parents come first
        paths[frame.id] = (*paths.get(frame.parent or "", ()), frame.id)
    return paths


# Order within rows ---------------------------------------------------------------


def order_rows(table: list[list[Vertex]]) -> None:
    """Reorder each row in place so that few edges cross and frames stay together."""
    _first_order(table)
    best, fewest = [list(row) for row in table], _crossings(table)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for row in table if down else reversed(table):
            _reorder(row, down)
        crossings = _crossings(table)
        if crossings < fewest:
            best, fewest = [list(row) for row in table], crossings
    for row, kept in zip(table, best, strict=True):
        row[:] = kept
        _number(row)


def _first_order(table: list[list[Vertex]]) -> None:
    """Sort rows in the order in which a walk down from the top meets the vertices."""
    seen: dict[Vertex, None] = {}
    starts = [v for row in table for v in row if not v.above]
    todo = starts[::-1]
    while todo:
        v = todo.pop()
        if v not in seen:
            seen[v] = None
            todo += [w for w in reversed(v.below) if w not in seen]
    place = {v: i for i, v in enumerate(seen)}
    for row in table:
        row.sort(key=place.__getitem__)
        _number(row)


def _number(row: Sequence[Vertex]) -> None:
    for i, v in enumerate(row):
        v.at = float(i)


def _reorder(row: list[Vertex], down: bool) -> None:
    """Sort a row by the mean place of each vertex's neighbours, frame by frame."""
    wish: dict[Vertex, float] = {}
    for v in row:
        near = v.above if down else v.below
        wish[v] = sum(n.at for n in near) / len(near) if near else v.at
    around: dict[tuple[str, ...], list[float]] = {}
    for v in row:
        for depth in range(1, len(v.frames) + 1):
            around.setdefault(v.frames[:depth], []).append(wish[v])
    mean = {path: sum(w) / len(w) for path, w in around.items()}

    def key(v: Vertex) -> tuple[tuple[float, str], ...]:
        paths = [v.frames[:depth] for depth in range(1, len(v.frames) + 1)]
        return (*((mean[p], p[-1]) for p in paths), (wish[v], ""))

    row.sort(key=key)
    _number(row)


def _crossings(table: Sequence[Sequence[Vertex]]) -> int:
    """Count the pairs of edges that cross between neighbouring rows."""
    total = 0
    for row in table:
        ends = [at for v in row for at in sorted(w.at for w in v.below)]
        seen: list[float] = []
        for end in ends:
            total += len(seen) - bisect_left(seen, end + 0.5)
            insort(seen, end)
    return total
