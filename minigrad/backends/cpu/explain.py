"""What a compiled graph does: a ``Plan`` for people, with times where it can be run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.backends.report import Plan, PlanBuffer, PlanStep
from minigrad.core.node import Node
from minigrad.dtypes import Array
from minigrad.ops.costs import flops
from minigrad.passes.covered import covered, extent

from .plan import TIME, PlanHandle
from .pool import get_num_threads
from .program import Program, Step

if TYPE_CHECKING:
    from .executable import Executable

__all__ = ["explain"]

#: How often a plan is run to be timed, and for how long at the most, in nanoseconds.
_RUNS, _LONG = 9, 2e9


def explain(executable: Executable, arrays: Sequence[Any] | None) -> Plan:
    """Return the plan of an executable, timed on arrays if there are any."""
    program = executable.program
    times = None if arrays is None else _measure(executable, arrays)
    return Plan(
        name=program.graph.name or "graph",
        backend="cpu",
        target=_target(program),
        steps=tuple(
            _step(program, step, None if times is None else float(times[i]))
            for i, step in enumerate(program.steps)
        ),
        buffers=_buffers(program),
        memory=executable.arena.nbytes,
        unshared=executable.arena.unshared,
    )


def _target(program: Program) -> str:
    target, threads = program.target, get_num_threads()
    bits = target.vector_bytes * 8
    return f"{target.cpu or target.arch}, vectors of {bits} bits, {threads} threads"


def _step(program: Program, step: Step, measured: float | None) -> PlanStep:
    computes, reads, writes = covered(program.schedule, step.kernel)
    if step.what in ("pack", "transpose"):
        computes, reads, writes = (), (), ()
    buffers = tuple(dict.fromkeys(program.slots(step)))
    code = step.code
    return PlanStep(
        what=step.what,
        over=extent(step.kernel),
        computes=computes,
        reads=reads,
        writes=writes,
        buffers=buffers,
        nbytes=sum(program.layout.buffers[b].nbytes for b in buffers),
        flops=sum(map(flops, computes)),
        parts=code.chunks if code is not None else 1,
        estimated=code.cost * 1e-9 if code is not None else None,
        measured=measured,
        source=_source(step),
    )


def _source(step: Step) -> str:
    if step.code is None:
        function = step.operands[-1].primitive.reference
        return f"{function.__module__}.{function.__qualname__}"
    return f"define void @{step.name}(...) {{\n{step.code.text}\n}}"


def _buffers(program: Program) -> tuple[PlanBuffer, ...]:
    holds: dict[int, list[Node]] = defaultdict(list)
    for node, place in program.layout.places():
        holds[place.buffer].append(node)
    return tuple(
        PlanBuffer(b.kind, b.nbytes, b.first, b.last, b.offset, tuple(holds[i]))
        for i, b in enumerate(program.layout.buffers)
    )


def _measure(executable: Executable, arrays: Sequence[Any]) -> Array:
    """Return the seconds of each step: the median of some runs. No state is changed."""
    handles = [s for s in executable.segments if isinstance(s, PlanHandle)]
    executable(*arrays)
    runs: list[Array] = []
    start = perf_counter_ns()
    for handle in handles:
        handle.flags |= TIME
    try:
        while len(runs) < _RUNS and (not runs or perf_counter_ns() - start < _LONG):
            for handle in handles:
                handle.ticks[:] = 0
            others: list[float] = []
            executable(*arrays, ticks=others)
            runs.append(_ticks(executable, others))
    finally:
        for handle in handles:
            handle.flags &= ~TIME
    found: Array = np.median(runs, axis=0) * 1e-9
    return found


def _ticks(executable: Executable, others: Sequence[float]) -> Array:
    """Return the nanoseconds of each step of the last run, native or not."""
    rest = iter(others)
    parts = [s.ticks if isinstance(s, PlanHandle) else [next(rest)] for s in executable.segments]
    return np.concatenate([np.asarray(p, np.float64) for p in parts] or [np.zeros(0)])
