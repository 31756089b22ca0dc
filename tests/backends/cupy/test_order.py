"""Lanes of a device: what may run side by side, and that it cannot be told from one by one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.backends.cupy.order import Use, dependencies, timetable, waits

memory = st.integers(0, 11)
use = st.builds(
    lambda a, b, writes: Use(min(a, b), max(a, b) + 1, writes), memory, memory, st.booleans()
)
programs = st.lists(st.lists(use, min_size=1, max_size=3), max_size=14)


def run(uses: list[list[Use]], order: list[int]) -> tuple[list[object], list[object]]:
    """Run steps that write down what they read; return what was read, and what is left."""
    cells: list[object] = [None] * 12
    seen: list[object] = [None] * len(uses)
    for i in order:
        seen[i] = hash((i, *(cells[k] for u in uses[i] for k in range(u.low, u.high))))
        for u in uses[i]:
            if u.writes:
                cells[u.low : u.high] = [(seen[i], k) for k in range(u.low, u.high)]
    return seen, cells


@given(programs, st.randoms(use_true_random=False), st.integers(2, 4))
def test_any_order_that_lanes_allow_gives_the_same(
    uses: list[list[Use]], chance: Random, lanes: int
) -> None:
    times = [chance.uniform(1, 9) for _ in uses]
    table = timetable(uses, times, lanes)
    assert sorted(table.order) == list(range(len(uses)))
    ordered = [uses[i] for i in table.order]
    waiting = waits(ordered, table.lanes)
    left = {n: [i for i, lane in enumerate(table.lanes) if lane == n] for n in range(lanes)}
    played: list[int] = []
    while any(left.values()):
        can = [n for n, line in left.items() if line and set(waiting[line[0]]) <= set(played)]
        played.append(left[chance.choice(can)].pop(0))
    assert run(uses, [table.order[i] for i in played]) == run(uses, list(range(len(uses))))


@given(programs)
def test_dependencies_are_those_of_memory_and_no_more(uses: list[list[Use]]) -> None:
    found = dependencies(uses)
    reached: list[set[int]] = []
    for i, direct in enumerate(found):
        reached.append(direct | {k for j in direct for k in reached[j]})
        for j in range(i):
            meet = any(
                (a.writes or b.writes) and a.low < b.high and b.low < a.high
                for a in uses[i] for b in uses[j]
            )  # fmt: skip
            assert not meet or j in reached[i]
            assert j not in direct or meet
            assert j not in direct or not any(j in reached[k] for k in direct - {j})


def test_what_is_off_the_longest_way_runs_beside_it() -> None:
    # 0 makes 1 and 2; 3 needs 1; 2 is needed by nobody else
    uses = [
        [Use(0, 1, True)], [Use(0, 1, False), Use(1, 2, True)],
        [Use(0, 1, False), Use(2, 3, True)], [Use(1, 2, False), Use(3, 4, True)],
    ]  # fmt: skip
    table = timetable(uses, [1.0, 1.0, 5.0, 1.0], 2)
    lanes = dict(zip(table.order, table.lanes, strict=True))
    assert lanes[2] != lanes[1] == lanes[3]
    assert waits([uses[i] for i in table.order], table.lanes).count(()) == 3
    assert timetable(uses, [1.0] * 4, 1).order == [0, 1, 2, 3]


def test_a_missing_wait_is_seen() -> None:
    uses = [[Use(0, 1, True)], [Use(0, 1, False)]]
    with pytest.raises(AssertionError):
        assert run(uses, [1, 0]) == run(uses, [0, 1])
