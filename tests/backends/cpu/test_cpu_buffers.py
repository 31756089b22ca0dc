"""The memory of a plan is what the lifetimes of its buffers say: reported, and laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backends import memory
from minigrad.backends.cpu.layout import ALIGN
from minigrad.backends.memory import Buffer, pack
from minigrad.bench.workloads import WORKLOADS


def size(buffer: Buffer) -> int:
    return max(ALIGN, -(-buffer.nbytes // ALIGN) * ALIGN)


def alive(found: Sequence[Buffer]) -> int:
    """Return the largest sum of the buffers that are alive in one step."""
    steps = {b.first for b in found}  # the sum grows only where one begins
    return max((sum(size(b) for b in found if b.first <= s <= b.last) for s in steps), default=0)


def check(found: Sequence[Buffer], nbytes: int) -> None:
    """Check that nothing that is alive shares memory, and that the memory is what is used."""
    for i, a in enumerate(found):
        assert a.offset % ALIGN == 0 and a.offset >= 0
        for b in found[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert a.offset + size(a) <= b.offset or b.offset + size(b) <= a.offset
    assert nbytes == max((b.offset + size(b) for b in found), default=0)


LIVES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 12), st.integers(0, 6)), max_size=25
)


@pytest.mark.parametrize("many", [0, 3000])
@given(lives=LIVES)
@settings(deadline=None, max_examples=200)
def test_buffers_never_meet(many: int, lives: list[tuple[int, int, int]]) -> None:
    found = [Buffer("arena", n, first, first + more) for n, first, more in lives]
    others = [Buffer("arena", 640), Buffer("result", 64, 0, 9)]  # unused; not of the arena
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_MANY", many)  # beyond, they are placed in order
        arena = pack([*found, *others], ALIGN)
    check(found, arena.nbytes)
    assert alive(found) <= arena.nbytes <= arena.unshared == sum(map(size, found))


def test_a_chain_takes_the_two_that_meet() -> None:
    found = [Buffer("arena", n, i, i + 1) for i, n in enumerate([100, 200, 300, 60, 100])]
    assert pack(found, ALIGN).nbytes == alive(found) == 256 + 320
    found[0].last = 4  # one that lives on does not move
    assert pack(found, ALIGN).nbytes == alive(found) == 128 + 256 + 320


@pytest.mark.parametrize("name", WORKLOADS)
def test_reported_memory_is_the_sum_of_lifetimes(name: str) -> None:
    job = WORKLOADS[name].make(True)
    step = mg.compile(job.function, backend="cpu")
    plan = step.explain(*job.arguments)
    ((entry,),) = step._entries.values()
    program = entry.execute.program
    lives: dict[int, Buffer] = {}
    for number, one in enumerate(program.steps):
        for slot in program.slots(one):
            given = program.layout.buffers[slot]
            if given.kind == "arena":
                mine = lives.setdefault(slot, Buffer("arena", given.nbytes, offset=given.offset))
                mine.first, mine.last = min(mine.first, number), number
    found = list(lives.values())
    assert plan.memory == entry.execute.arena.nbytes
    check(found, plan.memory)
    assert alive(found) <= plan.memory <= 1.1 * alive(found), "hardly any gaps"
    assert plan.unshared == sum(map(size, found))
    kept = [b.nbytes for b in plan.buffers if b.kind in ("result", "constant", "own")]
    assert plan.peak_bytes == plan.memory + sum(kept)


@pytest.mark.parametrize("name", ["W1", "W2", "W8a"])
def test_nothing_is_read_of_what_an_earlier_call_left(name: str) -> None:
    def losses(poison: bool) -> list[Any]:
        mg.random.seed(1)
        job = WORKLOADS[name].make(True)
        step = mg.compile(job.function, backend="cpu")
        found = []
        for _ in range(3):
            found.append(np.asarray(step(*job.arguments)).tobytes())
            if poison:
                ((entry,),) = step._entries.values()
                entry.execute._memory[:] = 0xFF
        return found

    assert losses(True) == losses(False)
