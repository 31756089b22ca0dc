"""The built-in layout: nothing overlaps, everything flows one way, frames enclose their own."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viz_samples import gradient_graph, random_graph

import minigrad as mg
from minigrad.viz.anatomy import anatomy
from minigrad.viz.builder import build
from minigrad.viz.fold import deepest, grouping
from minigrad.viz.groups import Fold
from minigrad.viz.layered import _isotonic, layered
from minigrad.viz.placed import Layout
from minigrad.viz.rows import upper_lower
from minigrad.viz.sketch import Sketch
from minigrad.viz.theme import SMALL, text_width

CHOICES = st.lists(
    st.tuples(st.integers(0, 10), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=18
)


def sketched(graph: mg.Graph, fold: Fold, direction: str = "TB") -> Sketch:
    read = anatomy(graph)
    return build(read, grouping(read, fold), direction=direction)


def check(sketch: Sketch, layout: Layout) -> None:
    """Raise unless the layout is sound; the rules a reader relies on."""
    rects = list(layout.boxes.items())
    for (a, r), (b, s) in itertools.combinations(rects, 2):
        assert not r.grown(-0.5).meets(s), f"{a} overlaps {b}"
    along = 0 if sketch.direction == "LR" else 1
    for wire, placed in zip(sketch.wires, layout.wires, strict=True):
        upper, lower = upper_lower(sketch, wire)
        assert layout.boxes[upper].middle[along] < layout.boxes[lower].middle[along]
        assert len(placed.points) % 3 == 1
        start, end = placed.points[0], placed.points[-1]
        assert layout.boxes[wire.tail].grown(3.0).meets(_point(start))
        assert layout.boxes[wire.head].grown(3.0).meets(_point(end))
        if wire.label:
            assert placed.label is not None
            half = text_width(wire.label, SMALL) / 2
            assert placed.label[0] - half >= -0.5
            assert placed.label[0] + half <= layout.width + 0.5
    for name, rect in rects:
        column = sketch.box(name).column
        for other, beside in rects:
            if sketch.box(other).column > column and sketch.direction == "TB":
                assert rect.right < beside.left, "columns do not mix"
        assert rect.left >= 0
        assert rect.right <= layout.width + 0.5
        assert rect.bottom <= layout.height + 0.5


def _point(p: tuple[float, float]):
    from minigrad.viz.placed import Rect

    return Rect(p[0], p[1], p[0], p[1]).grown(0.1)


@settings(max_examples=30, deadline=None)
@given(CHOICES, st.sampled_from(["TB", "LR"]), st.booleans())
def test_viz_layered_is_sound_on_random_graphs(
    choices: list[tuple[int, int, int]], direction: str, backward: bool
) -> None:
    graph = random_graph(choices)
    sketch = sketched(graph.grad() if backward else graph, Fold(), direction)
    check(sketch, layered(sketch))


@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_viz_layered_is_sound_with_frames_and_folded(direction: str) -> None:
    graph = gradient_graph(4)
    for depth in (None, *range(1, deepest(anatomy(graph)) + 1)):
        sketch = sketched(graph, Fold(depth), direction)
        layout = layered(sketch)
        check(sketch, layout)
        for name, rect in layout.frames.items():
            inside = {b.id for b in sketch.boxes if b.frame == name}
            for box in sketch.boxes:
                if box.id in inside:
                    assert rect.meets(layout.boxes[box.id])


def test_viz_layered_check_notices_an_overlap() -> None:
    sketch = sketched(gradient_graph(), Fold(1))
    layout = layered(sketch)
    first, second = list(layout.boxes)[:2]
    moved = {**layout.boxes, first: layout.boxes[second]}
    broken = Layout(moved, layout.wires, layout.frames, layout.width, layout.height, "builtin")
    with pytest.raises(AssertionError, match="overlaps"):
        check(sketch, broken)


def test_viz_layered_puts_both_ends_of_a_link_into_one_row() -> None:
    sketch = sketched(gradient_graph(), Fold(1))
    layout = layered(sketch)
    for link in sketch.links:
        y = layout.boxes[link.forward].middle[1]
        assert abs(layout.boxes[link.backward].middle[1] - y) < 0.5


def test_viz_layered_draws_a_chain_as_a_straight_line() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        for _ in range(6):
            x = mg.tanh(x)
        return mg.sum(x)

    sketch = sketched(mg.trace(f, mg.spec((3,))), Fold())
    layout = layered(sketch)
    middles = {round(r.middle[0], 3) for r in layout.boxes.values()}
    assert len(middles) == 1


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.1, 9)), min_size=1, max_size=12))
def test_viz_isotonic_regression_is_optimal(pairs: list[tuple[float, float]]) -> None:
    wishes, weights = [p[0] for p in pairs], [p[1] for p in pairs]
    found = _isotonic(wishes, weights)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(found))
    # the optimum of the min-max formula (Robertson, Wright and Dykstra, 1988)
    n = len(wishes)
    for i in range(n):
        best = max(
            min(
                sum(w * v for w, v in zip(weights[a:b], wishes[a:b], strict=True))
                / sum(weights[a:b])
                for b in range(i + 1, n + 1)
            )
            for a in range(i + 1)
        )
        assert abs(found[i] - best) < 1e-6
