"""In which order the steps of a program run, and which of them side by side.

A device runs steps side by side if they are given to it in several lanes (streams). A step
waits for those before it that use the same memory, where one of both writes: what a step
needs, and what it writes over. Lanes are filled as a list scheduler does, by what is on the
longest way to the end: there the gradient of a weight is not, nor is its update.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

__all__ = ["LANES", "Timetable", "Use", "dependencies", "timetable", "waits"]

#: With more lanes, the training steps measured would not be done earlier.
LANES = 2
#: Steps above which there is one lane: it would take long to find out what waits for what.
_MANY = 5000


@dataclass(frozen=True, slots=True)
class Use:
    """A stretch of memory that a step uses: from ``low`` on, up to but without ``high``."""

    low: int
    high: int
    writes: bool


@dataclass(frozen=True, slots=True)
class Timetable:
    """The steps in the order in which they are given to the device, and the lane of each.

    ``begins`` and ``ends`` are when they are thought to run, by the number of the step, in the
    order of all these moments: 0, 1, ...
    """

    order: list[int]
    lanes: list[int]
    begins: list[int]
    ends: list[int]


def dependencies(uses: Sequence[Collection[Use]]) -> list[set[int]]:
    """Return for each step the steps that it comes after; not those that follow from others."""
    edges = sorted({edge for mine in uses for u in mine for edge in (u.low, u.high)})
    place = {edge: n for n, edge in enumerate(edges)}
    writer = [-1] * len(edges)  # of each piece between two edges: who wrote it last,
    readers: list[list[int]] = [[] for _ in edges]  # and who has read that
    found: list[set[int]] = []
    before: list[int] = []  # all that a step comes after, as bits
    for i, mine in enumerate(uses):
        candidates: set[int] = set()
        for use in mine:
            for piece in range(place[use.low], place[use.high]):
                candidates.add(writer[piece])
                if use.writes:
                    candidates.update(readers[piece])
        for use in mine:
            for piece in range(place[use.low], place[use.high]):
                if use.writes:
                    writer[piece], readers[piece] = i, []
                else:
                    readers[piece].append(i)
        direct: set[int] = set()
        reached = 0
        for j in sorted(candidates - {-1, i}, reverse=True):
            if not reached >> j & 1:
                direct.add(j)
                reached |= before[j] | 1 << j
        found.append(direct)
        before.append(reached)
    return found


def timetable(
    uses: Sequence[Collection[Use]], times: Sequence[float], lanes: int = LANES
) -> Timetable:
    """Return when each step runs, and where, by what each is thought to take."""
    count = len(uses)
    if lanes == 1 or count > _MANY:
        numbers = list(range(count))
        return Timetable(numbers, [0] * count, numbers, [i + 1 for i in numbers])
    before = dependencies(uses)
    after: list[list[int]] = [[] for _ in range(count)]
    for i, steps in enumerate(before):
        for j in steps:
            after[j].append(i)
    rest = [0.0] * count  # the longest way to the end
    for i in reversed(range(count)):
        rest[i] = times[i] + max([rest[j] for j in after[i]], default=0.0)
    begins, ends, lane_of = [0.0] * count, [0.0] * count, [0] * count
    free, last = [0.0] * lanes, [-1] * lanes
    missing = [len(b) for b in before]
    ready = {i: 0.0 for i in range(count) if not missing[i]}  # since when
    order: list[int] = []
    while ready:
        now = max(min(free), min(ready.values()))
        i = min((i for i, since in ready.items() if since <= now), key=lambda i: (-rest[i], i))
        del ready[i]
        # the lane of what it comes after, where it need not wait, or the first one
        idle = (n for n in range(lanes) if free[n] <= now)
        lane = min(idle, key=lambda n: (last[n] not in before[i], n))
        lane_of[i], last[lane] = lane, i
        begins[i], ends[i] = now, now + times[i]
        free[lane] = ends[i]
        order.append(i)
        for j in after[i]:
            missing[j] -= 1
            if not missing[j]:
                ready[j] = max(ends[k] for k in before[j])
    moments = {t: n for n, t in enumerate(sorted({*begins, *ends}))}
    return Timetable(
        order, [lane_of[i] for i in order], [moments[t] for t in begins], [moments[t] for t in ends]
    )


def waits(uses: Sequence[Collection[Use]], lanes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return for each step the steps of other lanes that it waits for; all in their order."""
    if not any(lanes):
        return [()] * len(lanes)
    found = []
    for i, steps in enumerate(dependencies(uses)):
        newest: dict[int, int] = {}
        for j in sorted(steps):
            if lanes[j] != lanes[i]:
                newest[lanes[j]] = j
        found.append(tuple(newest.values()))
    return found
