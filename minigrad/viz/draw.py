"""``mg.viz.draw``: the picture of a graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tensor import Tensor
from minigrad.errors import MinigradError

from . import layout as routes
from .anatomy import Anatomy, anatomy
from .builder import build
from .dot import dot_text
from .fold import Grouping, deepest, grouping
from .groups import Fold
from .layout import LayoutFailed, builtin_layout, graphviz_bytes, graphviz_layout
from .paint import paint
from .picture import Picture
from .placed import Layout
from .sketch import Sketch

__all__ = ["draw"]

_COMFORTABLE = 40  # boxes, up to which layers are drawn open
_OPEN = 400  # boxes of a picture whose folding the user chose
_MOST = 500  # boxes of any picture: more can be neither laid out in time nor read
_TELLING = 8  # boxes, below which folding by source line says too little
_LINES = 80  # of text beside a picture
_TRIES = 3  # ways of folding that Graphviz is tried with
_FIRST_SHARE = 0.6  # of the time, for the folding that was wished


def draw(
    graph: Graph | Tensor,
    *,
    fold: bool | int | None = None,
    repeats: bool | None = None,
    values: bool | None = None,
    gradients: bool | None = None,
    backward: str = "both",
    constants: bool = False,
    direction: str = "TB",
    format: str | None = None,
    timeout: float = 5.0,
    max_nodes: int = 150,
    highlight: Iterable[Node | Tensor | str] | Node | Tensor | str = (),
    title: str | None = None,
) -> Picture:
    """Return a picture of a graph: forward in one column, backward in the next.

    Parameters
    ----------
    graph
        A graph, or a tensor made at the prompt, whose history is drawn.
    fold
        True folds layers, False opens them all, a number folds layers from that depth on.
        By default a small graph is open and a large one folded.
    repeats
        Draw equal layers in a row as one; by default if there are too many boxes otherwise.
    values
        Show values and norms; by default if the graph was run, or has a history.
    gradients
        Show the gradient of each value of a history that ends in one number; by default
        if ``backward`` was called on it.
    backward
        "both", "hide" or "only".
    constants
        Draw literals too, instead of writing them into the operations that use them.
    direction
        "TB" or "LR": the forward pass from top to bottom, or from left to right.
    format
        What a notebook gets: "svg", "png" or "pdf"; by default SVG and PNG.
    timeout
        Seconds for the layout; after them the graph is folded further, then laid out by
        the built-in engine.
    max_nodes
        How many boxes are drawn at most, up to 500.
    highlight
        Nodes, or names of nodes, to paint red.
    title
        Written above the picture.

    Raises
    ------
    MinigradError
        If an option has a value that it cannot have.
    KeyError
        If a name in ``highlight`` is not in the graph.
    """
    if isinstance(graph, Tensor):
        graph = graph.graph()
    _check(fold, max_nodes, backward, direction, format)
    guilty = _nodes(graph, highlight)
    options = _Options(guilty, backward, direction, title)
    text = _clipped(graph.text())
    try:
        read = anatomy(graph, values=values, gradients=gradients, constants=constants, shown=guilty)
        plans = list(_plans(read, fold, repeats, max_nodes, backward))
        sketch, layout, note = _arranged(read, plans, options, timeout)
        scene = paint(sketch, layout)
    except Exception as error:  # a picture is never worth an exception: the text remains
        reason = f"drawing failed: {type(error).__name__}: {error}"
        return Picture(None, name=graph.name, text=text, route="text", note=reason)
    return Picture(
        scene,
        name=graph.name,
        text=text,
        route=layout.route,
        note=note,
        dot=lambda: dot_text(sketch),
        graphviz=_renderer(sketch, layout.route, timeout),
        formats=("svg", "png") if format is None else (format,),
    )


def _renderer(sketch: Sketch, route: str, timeout: float) -> Callable[[str], bytes] | None:
    """Return what draws a PNG or PDF where matplotlib is missing: Graphviz, if it is there."""
    if route == "builtin":
        return None
    return lambda kind: graphviz_bytes(dot_text(sketch), kind, route, timeout)


@dataclass(frozen=True, slots=True)
class _Options:
    guilty: frozenset[Node]
    backward: str
    direction: str
    title: str | None


def _check(
    fold: object, max_nodes: object, backward: str, direction: str, format: str | None
) -> None:
    if not isinstance(fold, int | None):
        raise MinigradError(
            f"draw: fold={fold!r}",
            rule="fold is True, False, a number or None",
            fix="leave it out to choose by the size of the graph",
        )
    if not isinstance(max_nodes, int) or max_nodes < 1:
        raise MinigradError(
            f"draw: max_nodes={max_nodes!r}",
            rule="max_nodes is at least 1",
            fix="use a number of nodes that you can read, e.g. 200",
        )
    for name, value, allowed in (
        ("backward", backward, ("both", "hide", "only")),
        ("direction", direction, ("TB", "LR")),
        ("format", format, (None, "svg", "png", "pdf")),
    ):
        if value not in allowed:
            listed = ", ".join(repr(a) for a in allowed)
            raise MinigradError(
                f"draw: {name}={value!r}",
                rule=f"{name} is one of {listed}",
                fix="choose one of these",
            )


def _nodes(graph: Graph, wanted: Any) -> frozenset[Node]:
    """Return the nodes that are named or given."""
    items = [wanted] if isinstance(wanted, str | Node | Tensor) else list(wanted)
    found = set()
    for item in items:
        if isinstance(item, str):
            found.add(graph.node(item))
        else:
            found.add(item.node if isinstance(item, Tensor) else item)
    return frozenset(found)


def _clipped(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _LINES:
        return text
    half = _LINES // 2
    left = len(lines) - 2 * half
    return "\n".join([*lines[:half], f"  ... {left} lines more: graph.text()", *lines[-half:]])


# Folding -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    fold: Fold
    grouped: Grouping
    boxes: int
    note: str


def _plans(
    read: Anatomy, fold: bool | int | None, repeats: bool | None, most: int, backward: str
) -> Iterator[_Plan]:
    """Yield ways of folding, the wished one first, then coarser ones."""
    depth = deepest(read)
    most = min(most, _MOST)
    equal = (False, True) if repeats is None else (repeats,)
    layers = [Fold(d, repeats=r) for d in range(depth, 0, -1) for r in equal]
    rough = [Fold(d or None, lines=True) for d in (depth, 1 if depth > 1 else depth)]
    rough += [Fold(min(depth, 1) or None, steps=s) for s in (60, 30, 12, 4, 1)]
    if fold is False:
        folds, limit = [Fold(), *layers, *rough], max(most, _OPEN)
    elif fold is None:
        folds, limit = [Fold(), *layers, *rough], most
    elif fold is True:
        folds, limit = [*layers, *rough] if layers else [Fold(), *rough], most
    else:
        folds = [Fold(d, repeats=bool(repeats)) for d in range(fold, 0, -1)] or [Fold()]
        folds, limit = [*folds, *rough], max(most, _OPEN)
    plans = [_plan(read, f, backward, fold) for f in folds]
    fitting = [p for p in plans if p.boxes <= limit] or [min(plans, key=lambda p: p.boxes)]
    start = _first(fitting, fold is None)
    yield fitting[start]
    for plan in fitting[start + 1 :]:
        if plan.boxes < fitting[start].boxes:
            yield plan


def _first(fitting: list[_Plan], free: bool) -> int:
    """Return which of the plans that fit is drawn: layers folded if that is comfortable."""
    by_layer = [i for i, p in enumerate(fitting) if not p.fold.lines and p.fold.steps is None]
    if by_layer and free and fitting[0].boxes > _COMFORTABLE:
        return next((i for i in by_layer if fitting[i].boxes <= _COMFORTABLE), by_layer[-1])
    if not by_layer:
        return next((i for i, p in enumerate(fitting) if p.boxes >= _TELLING), 0)
    return 0


def _plan(read: Anatomy, fold: Fold, backward: str, asked: bool | int | None) -> _Plan:
    grouped = grouping(read, fold)
    wanted = [
        n
        for n in read.order
        if n not in read.hidden
        and (backward == "both" or (read.column[n] == 0) == (backward == "hide"))
    ]
    groups = {g.id for n in wanted if (g := grouped.of(n)) is not None}
    singles = sum(grouped.of(n) is None for n in wanted)
    boxes = len(groups) + singles
    note = "" if wanted else f"nothing to draw with backward={backward!r}"
    if groups:
        how = "layer" if fold.depth is not None else "source line"
        if fold.steps is not None:
            how = "sequence"
        elif fold.lines and fold.depth is not None:
            how = "layer and source line"
        note = f"{len(wanted)} values and operations folded by {how} into {boxes} boxes"
        if len(wanted) > _OPEN:
            note += f"; no picture has more than {_MOST}"
        elif asked is None:
            note += "; draw(fold=False) opens them"
    return _Plan(fold, grouped, boxes, note)


# Layout --------------------------------------------------------------------------


def _arranged(
    read: Anatomy, plans: list[_Plan], options: _Options, timeout: float
) -> tuple[Sketch, Layout, str]:
    """Return a sketch with its layout, and what to say about it.

    Each way of layout gets the wished folding and, if that takes too long, coarser ones;
    the built-in engine comes last.
    """
    end = time.monotonic() + timeout
    vain = routes.forced_in_vain()
    troubles = [f"{routes.FORCE}={vain} is not available here"] if vain else []
    sketch = _sketch(read, plans[0], options)
    for route in routes.routes():
        if route == "builtin":
            continue
        for i, plan in enumerate(plans[:_TRIES]):
            left = end - time.monotonic()
            if left <= 0:
                break
            tried = sketch if i == 0 else _sketch(read, plan, options)
            share = _FIRST_SHARE * left if i == 0 and len(plans) > 1 else left
            try:
                return tried, graphviz_layout(tried, route, share), _note(plan, troubles)
            except LayoutFailed as error:
                troubles.append(error.message)
                if not error.slow:
                    break
    return sketch, builtin_layout(sketch), _note(plans[0], troubles)


def _sketch(read: Anatomy, plan: _Plan, options: _Options) -> Sketch:
    return build(
        read,
        plan.grouped,
        guilty=options.guilty,
        backward=options.backward,
        direction=options.direction,
        title=options.title,
    )


def _note(plan: _Plan, troubles: list[str]) -> str:
    return "; ".join(t for t in (plan.note, *troubles) if t)
