"""The built-in layout, second half: coordinates. Needs nothing but Python.

Within a row, positions minimise the weighted squared distance to those of the
neighbours, in the given order and with room between: an isotonic regression, solved
exactly by pooling adjacent violators. Weights keep long edges straight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from .placed import Layout, Placed, Point, Rect
from .rows import Vertex, assign_rows, order_rows, vertices
from .sketch import Sketch, box_size
from .theme import SMALL, text_width

__all__ = ["layered"]

_APART = 16.0  # pixels between boxes of a row
_NEAR = 9.0  # beside an edge that passes
_FRAME = 14.0  # more, where a frame begins or ends
_BETWEEN = 13.0  # between a row of boxes and a row of labels
_COLUMNS = 46.0  # between columns
_LABEL = 12.0  # height of a label
_SWEEPS = 12
_LIGHT = 0.05  # weight of what only follows
_PORT = 9.0  # pixels between edges that leave a box on one side


def layered(sketch: Sketch) -> Layout:
    """Return positions for a sketch."""
    across = sketch.direction == "LR"
    sizes = {b.id: box_size(b) for b in sketch.boxes}
    if across:
        sizes = {n: (h, w) for n, (w, h) in sizes.items()}
    labels = {
        i: (_LABEL + 2 if across else text_width(w.label, SMALL) + 10)
        for i, w in enumerate(sketch.wires)
        if w.label
    }
    lengths = {i: text_width(sketch.wires[i].label, SMALL) if across else _LABEL for i in labels}
    rows = assign_rows(sketch)
    columns = []
    left = 0.0
    for column in range(len(sketch.headings)):
        table, chains = vertices(sketch, column, rows, sizes, labels)
        order_rows(table)
        _spread(table)
        left = _shift(table, left) + _COLUMNS
        columns.append((table, chains))
    tops, heights = _row_places(sketch, [t for t, _ in columns], lengths)
    boxes = _boxes([t for t, _ in columns], sizes, tops, heights)
    chains = {i: chain for _, found in columns for i, chain in found.items()}
    wires = [_route(sketch, i, chains[i], boxes, tops, heights) for i in range(len(sketch.wires))]
    frames = _frames(sketch, boxes)
    corners = [p for r in (*boxes.values(), *frames.values()) for p in r.corners]
    corners += [p for w in wires for p in w.points]
    for i, w in enumerate(wires):
        if w.label is not None:
            beside, half = (labels[i] - 4) / 2, lengths[i] / 2
            corners += [(w.label[0] + s * beside, w.label[1] + s * half) for s in (-1, 1)]
    width = max((x for x, _ in corners), default=0.0)
    height = max((y for _, y in corners), default=0.0)
    dx = -min((x for x, _ in corners), default=0.0)
    dy = -min((y for _, y in corners), default=0.0)
    turn: Callable[[Point], Point] = (
        (lambda p: (p[1] + dy, p[0] + dx)) if across else (lambda p: (p[0] + dx, p[1] + dy))
    )
    return Layout(
        boxes={n: _turned(r, turn) for n, r in boxes.items()},
        wires=tuple(
            Placed(tuple(map(turn, w.points)), None if w.label is None else turn(w.label))
            for w in wires
        ),
        frames={n: _turned(r, turn) for n, r in frames.items()},
        width=(height + dy) if across else (width + dx),
        height=(width + dx) if across else (height + dy),
        route="builtin",
    )


def _turned(rect: Rect, turn: Callable[[Point], Point]) -> Rect:
    (x0, y0), (x1, y1) = turn((rect.left, rect.top)), turn((rect.right, rect.bottom))
    return Rect(x0, y0, x1, y1)


# Across the rows -------------------------------------------------------------------


def _spread(table: Sequence[list[Vertex]]) -> None:
    """Give every vertex its position across its row."""
    _mark_hanging(table)
    for row in table:
        at = 0.0
        for i, v in enumerate(row):
            at += 0.0 if i == 0 else _room(row[i - 1], v)
            v.at = at
        middle = at / 2
        for v in row:
            v.at -= middle
    for sweep in range(_SWEEPS):
        last = sweep >= _SWEEPS - 4
        down = sweep % 2 == 0
        for row in table if down else reversed(table):
            _settle(row, down, both=last)


def _room(a: Vertex, b: Vertex) -> float:
    """Return the least distance between two neighbours of a row."""
    gap = _APART if a.box and b.box else _NEAR
    shared = sum(1 for p, q in zip(a.frames, b.frames, strict=False) if p == q)
    borders = len(a.frames) + len(b.frames) - 2 * shared
    return a.right + b.left + gap + borders * _FRAME


def _pull(v: Vertex, other: Vertex) -> float:
    """Return how strongly ``v`` is drawn to ``other``.

    Long edges are straight; what hangs on one edge only follows its other end.
    """
    dummies = (v.box is None) + (other.box is None)
    light = other.hangs and not v.hangs
    return (1.0, 2.0, 8.0)[dummies] * (_LIGHT if light else 1.0)


def _mark_hanging(table: Sequence[Sequence[Vertex]]) -> None:
    """Mark boxes with one edge, and the dummies along that edge."""
    for row in table:
        for v in row:
            if v.box is not None and len(v.above) + len(v.below) == 1:
                v.hangs = True
                at = (v.below or v.above)[0]
                while at.box is None:
                    at.hangs = True
                    at = (at.below if v.below else at.above)[0]


def _settle(row: Sequence[Vertex], down: bool, both: bool) -> None:
    if not row:
        return
    wishes, weights = [], []
    for v in row:
        near = [*v.above, *v.below] if both else v.above if down else v.below
        weight = sum(_pull(v, n) for n in near)
        wishes.append(sum(_pull(v, n) * n.at for n in near) / weight if near else v.at)
        weights.append((weight if near else _LIGHT) * (_LIGHT if v.hangs else 1.0))
    offsets = [0.0]
    for a, b in pairwise(row):
        offsets.append(offsets[-1] + _room(a, b))
    pooled = _isotonic([w - o for w, o in zip(wishes, offsets, strict=True)], weights)
    for v, z, offset in zip(row, pooled, offsets, strict=True):
        v.at = z + offset


def _isotonic(wishes: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the non-decreasing sequence nearest to ``wishes`` in weighted least squares."""
    blocks: list[list[float]] = []  # mean, weight, count
    for wish, weight in zip(wishes, weights, strict=True):
        blocks.append([wish, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, w, n = blocks.pop()
            other = blocks[-1]
            total = other[1] + w
            blocks[-1] = [(other[0] * other[1] + mean * w) / total, total, other[2] + n]
    return [mean for mean, _, n in blocks for _ in range(int(n))]


def _shift(table: Sequence[Sequence[Vertex]], left: float) -> float:
    """Move a column to the right of what is there; return its right border."""
    everyone = [v for row in table for v in row]
    border = _FRAME / 2 * max((len(v.frames) for v in everyone), default=0)
    least = min((v.at - v.left for v in everyone), default=0.0) - border
    for v in everyone:
        v.at += left - least
    return max((v.at + v.right for v in everyone), default=left) + border


# Along the rows --------------------------------------------------------------------


def _row_places(
    sketch: Sketch, tables: Sequence[Sequence[Sequence[Vertex]]], lengths: dict[int, float]
) -> tuple[list[float], list[float]]:
    """Return top and height of each row; a row is as high as its highest box."""
    count = max((len(t) for t in tables), default=0)
    heights = [0.0] * count
    labelled = [False] * count
    for table in tables:
        for r, row in enumerate(table):
            for v in row:
                labelled[r] |= v.label
                extent = lengths[v.wire] if v.label and v.wire is not None else v.height
                heights[r] = max(heights[r], extent)
    begins, ends = _frame_rows(tables)
    tops, at = [], 0.0
    for r in range(count):
        busiest = max((len(t[r]) for t in tables if r < len(t)), default=0)
        at += _FRAME * begins.get(r, 0)
        tops.append(at)
        at += heights[r] + (_BETWEEN if labelled[r] or r % 2 == 0 else 0.7 * _BETWEEN)
        at += 0.6 * _FRAME * ends.get(r, 0) + min(10.0, 0.6 * max(0, busiest - 4))
    del sketch
    return tops, heights


def _frame_rows(
    tables: Sequence[Sequence[Sequence[Vertex]]],
) -> tuple[dict[int, int], dict[int, int]]:
    """Return how many frames, one within another, begin and end at each row of boxes."""
    span: dict[tuple[str, ...], tuple[int, int]] = {}
    for table in tables:
        for r, row in enumerate(table):
            for v in row:
                for depth in range(1, len(v.frames) + 1 if v.box else 0):
                    low, high = span.get(v.frames[:depth], (r, r))
                    span[v.frames[:depth]] = min(low, r), max(high, r)
    begins: dict[int, dict[int, None]] = {}
    ends: dict[int, dict[int, None]] = {}
    for path, (low, high) in span.items():
        begins.setdefault(low, {})[len(path)] = None
        ends.setdefault(high, {})[len(path)] = None
    return {r: len(d) for r, d in begins.items()}, {r: len(d) for r, d in ends.items()}


def _boxes(
    tables: Sequence[Sequence[Sequence[Vertex]]],
    sizes: dict[str, tuple[float, float]],
    tops: Sequence[float],
    heights: Sequence[float],
) -> dict[str, Rect]:
    boxes = {}
    for table in tables:
        for row in table:
            for v in row:
                if v.box is not None:
                    w, h = sizes[v.box]
                    y = tops[v.row] + heights[v.row] / 2
                    boxes[v.box] = Rect(v.at - w / 2, y - h / 2, v.at + w / 2, y + h / 2)
    return boxes


def _route(
    sketch: Sketch,
    index: int,
    chain: Sequence[Vertex],
    boxes: dict[str, Rect],
    tops: Sequence[float],
    heights: Sequence[float],
) -> Placed:
    """Return the spline of a wire: straight down through rows, curved between them."""
    first, last = boxes[chain[0].box or ""], boxes[chain[-1].box or ""]
    stops: list[Point] = [(chain[0].at + _port(chain[0], chain[1], True), first.bottom)]
    label: Point | None = None
    for v in chain[1:-1]:
        top, bottom = tops[v.row], tops[v.row] + heights[v.row]
        if v.row % 2 and bottom == top:
            continue  # a row of labels without labels is no place to bend at
        stops += [(v.at, top), (v.at, bottom)] if bottom > top else [(v.at, top)]
        if v.label:
            label = (v.at + 6 + (v.right - 8) / 2, (top + bottom) / 2)
    stops.append((chain[-1].at + _port(chain[-1], chain[-2], False), last.top))
    stops = _thinned(stops)
    points = [stops[0]]
    for (x0, y0), (x1, y1) in pairwise(stops):
        half = (y1 - y0) / 2
        points += [(x0, y0 + half), (x1, y1 - half), (x1, y1)]
    upward = sketch.upward[sketch.box(sketch.wires[index].tail).column]
    return Placed(tuple(points[::-1] if upward else points), label)


def _thinned(stops: Sequence[Point]) -> list[Point]:
    """Return the stops without those in the middle of a straight line."""
    kept = [stops[0]]
    for before, at, after in zip(stops, stops[1:], stops[2:], strict=False):
        if not (abs(before[0] - at[0]) < 0.5 and abs(at[0] - after[0]) < 0.5):
            kept.append(at)
    kept.append(stops[-1])
    return kept


def _port(v: Vertex, other: Vertex, below: bool) -> float:
    """Return where on its side of the box an edge ends, from the middle."""
    side = sorted(v.below if below else v.above, key=lambda n: n.at)
    if len(side) < 2 or v.box is None:
        return 0.0
    step = min(_PORT, (v.left + v.right - 16) / (len(side) - 1))
    return (side.index(other) - (len(side) - 1) / 2) * max(step, 1.0)


def _frames(sketch: Sketch, boxes: dict[str, Rect]) -> dict[str, Rect]:
    """Return the frames that can be drawn without enclosing a stranger."""
    inside: dict[str, set[str]] = {f.id: set() for f in sketch.frames}
    parents = {f.id: f.parent for f in sketch.frames}
    for box in sketch.boxes:
        at = box.frame
        while at is not None:
            inside[at].add(box.id)
            at = parents[at]
    found: dict[str, Rect] = {}
    for frame in reversed(sketch.frames):  # children before parents
        members = inside[frame.id]
        rects = [boxes[n] for n in members]
        rects += [found[c.id] for c in sketch.frames if c.parent == frame.id and c.id in found]
        around = Rect(
            min(r.left for r in rects), min(r.top for r in rects), max(r.right for r in rects),
            max(r.bottom for r in rects),
        ).grown(6.0)  # fmt: skip
        if sketch.direction == "LR":  # rows are columns here, and will be turned
            around = Rect(around.left - _LABEL, around.top, around.right, around.bottom)
        else:
            around = Rect(around.left, around.top - _LABEL, around.right, around.bottom)
        strangers = [r for n, r in boxes.items() if n not in members]
        beside = [r for n, r in found.items() if not inside[n] <= members]
        if not any(around.meets(r) for r in (*strangers, *beside)):
            found[frame.id] = around
    return found
