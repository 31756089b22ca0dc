"""Running a compiled graph: memory, pointers, and one call for all native steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain, repeat, starmap
from operator import call
from threading import Lock, get_ident
from time import perf_counter_ns
from typing import Any
from weakref import WeakSet

import numpy as np

from minigrad.backends.layout import value_of
from minigrad.backends.memory import pack
from minigrad.backends.reference import Program as Reference
from minigrad.backends.report import Plan
from minigrad.core.graph import Graph
from minigrad.core.primitive import defined
from minigrad.dtypes import Array
from minigrad.errors import MinigradError

from . import pool
from .bound import layout as memory_layout
from .explain import explain
from .layout import ALIGN
from .plan import CHECK, RELEASE, SERIAL, PlanHandle, StepSpec, aligned, make_plan
from .program import Program, Step, program_of
from .recycler import Recycler

__all__ = ["Executable", "compile_graph"]

#: Nanoseconds of estimated work above which other Python threads may run meanwhile.
_LONG = 20_000.0
_all: WeakSet[Executable] = WeakSet()


def _free_all() -> None:
    """Forget, in a child of a fork, the calls that threads of its parent had under way."""
    for executable in _all:
        executable.forget_calls()


os.register_at_fork(after_in_child=_free_all)


def compile_graph(graph: Graph) -> Executable:
    """Return the executable of a final graph."""
    return Executable(program_of(graph))


@dataclass(frozen=True, slots=True)
class Native:
    """A plan that is called with arrays: those of the inputs, then of the results.

    ``arguments`` are the inputs that it takes, ``takes`` make the arrays of the results that
    are not written over an input. ``outputs`` and ``updates`` say which of them is each
    output and each new state; -1 for state that is written over the old one.
    """

    call: Callable[..., int]
    plan: PlanHandle
    arguments: Sequence[int]
    takes: Sequence[Callable[[], Any]]
    outputs: Sequence[int]
    updates: Sequence[int]


class Executable:
    """A compiled graph: a function from the arrays of its inputs to its outputs and new state."""

    def __init__(self, program: Program) -> None:
        self.program = program
        layout = program.layout
        #: The inputs whose arrays results may be written over.
        self.reusable = frozenset(program.reuse.values())
        self._run = pool.run
        self._error = aligned(1)
        self.arena = pack(layout.buffers, ALIGN)
        self._memory = aligned(self.arena.nbytes, np.uint8)
        self._table = aligned(len(layout.buffers), np.uint64)
        self._inputs: list[tuple[int, int]] = []
        made = {number: node.aval for node, number in layout.results.items()}
        self._outputs: list[tuple[int, Recycler, int]] = []
        base = self._memory.ctypes.data
        for i, buffer in enumerate(layout.buffers):
            match buffer.kind:
                case "arena":
                    self._table[i] = base + buffer.offset
                case "input":
                    if buffer.last >= 0:
                        self._inputs.append((i, buffer.number))
                case "result":
                    kind = made[buffer.number]
                    reused = program.reuse.get(buffer.number, -1)
                    self._outputs.append((i, Recycler(kind.shape, kind.dtype), reused))
                case "error":
                    self._table[i] = self._error.ctypes.data
                case _:
                    assert buffer.value is not None
                    self._table[i] = buffer.value.ctypes.data
        self.segments: list[PlanHandle | Step] = self._cut()
        #: Whether a second thread waits: a step that is done with other threads must not keep
        #: them from it.
        self.waits = all(
            s.operands[-1].primitive.kind != "collective"
            for s in self.segments
            if isinstance(s, Step)
        )
        self._users: dict[str, Any] = {}
        self._lock = Lock()
        _all.add(self)
        self._sources = [self._source(i) for i in range(len(program.results))]
        self.native = self._native()

    def _cut(self) -> list[PlanHandle | Step]:
        """Return the steps in stretches of native code, and the others by themselves."""
        found: list[PlanHandle | Step] = []
        run: list[StepSpec] = []
        work = 0.0
        for step in (*self.program.steps, None):
            if step is not None and step.code is not None:
                code = step.code
                flags = (CHECK if self.program.checks(step) else 0) | (
                    SERIAL if code.chunks == 1 else 0
                )
                address = self.program.addresses[step.name]
                run.append((address, code.slots, code.extent, code.grain, flags))
                work += code.cost
                continue
            if run:
                flags = RELEASE if work > _LONG else 0
                found.append(make_plan(run, self._table, flags=flags, error=self._error))
                run, work = [], 0.0
            if step is not None:
                found.append(step)
        return found

    def _native(self) -> Native | None:
        """Return how to call the plan with arrays directly, if it is all native code."""
        call, known = pool.default_pool().call, memory_layout()
        if call is None or known is None or len(self.segments) != 1:
            return None
        (plan,) = self.segments
        layout = self.program.layout
        if isinstance(plan, Step) or any(kind != "result" for kind, _ in self._sources):
            return None
        over = {reused: i for i, _, reused in self._outputs if reused >= 0}
        fresh = [(i, recycler) for i, recycler, reused in self._outputs if reused < 0]
        given = {number: i for i, number in self._inputs}
        arguments = sorted({*given, *over})
        # An input that no step reads has no place in the table but its result's.
        slots = [given.get(number, over.get(number, -1)) for number in arguments]
        plan.bind(
            [*slots, *[i for i, _ in fresh]],
            [*[over.get(number, -1) for number in arguments], *[-1] * len(fresh)],
            known, pool.held_count(),
        )  # fmt: skip
        number = {i: n for n, (i, _) in enumerate(fresh)}
        places = [number.get(layout.place(node).buffer, -1) for node in self.program.results]
        count = len(self.program.graph.outputs)
        if -1 in places[:count]:
            return None
        takes = [recycler.taker for _, recycler in fresh]
        return Native(call, plan, arguments, takes, places[:count], places[count:])

    def _source(self, i: int) -> tuple[str, Any]:
        """Return where a result comes from: computed, an input, or a constant."""
        node = self.program.results[i]
        if node in self.program.layout.results:
            return "result", self.program.layout.results[node]
        inputs = self.program.schedule.graph.inputs
        if node in inputs:
            return "input", inputs.index(node)
        return "constant", value_of(node)

    def explain(self, arrays: Sequence[Any] | None = None) -> Plan:
        """Return what runs, timed on arrays if there are any. State is left as it is."""
        return explain(self, arrays)

    def __call__(
        self,
        *arrays: Any,
        owned: Collection[int] = (),
        cells: Sequence[Any] = (),
        ticks: list[float] | None = None,
    ) -> list[Any]:
        """Run on arrays, one for each input of the graph.

        ``owned`` are the inputs whose arrays nobody but the caller holds: results that
        replace them may be written over them. ``cells`` then get the new values of all state
        without a moment between, in which Ctrl-C could come. ``ticks`` takes the nanoseconds
        of the steps that are not native.

        One thread at a time has the memory of the executable. Another one waits, unless it
        would wait for ever: then it goes through the graph node by node.
        """
        if self.waits and self._users.get("thread") != get_ident():
            with self._lock:
                return self._alone(arrays, owned, cells, ticks)
        return self._alone(arrays, owned, cells, ticks)

    def _alone(
        self, arrays: Sequence[Any], owned: Collection[int], cells: Sequence[Any], ticks: Any
    ) -> list[Any]:
        """Run, unless a call is under way: what may end at any moment leaves nothing behind."""
        me = object()
        try:
            if self._users.setdefault("call", me) is not me:
                return Reference(self.program.graph)(*arrays)
            self._users["thread"] = get_ident()
            if self.native is not None:
                self.native.plan.keep()
            return self._calculate(arrays, owned, cells, ticks)
        finally:
            if self._users.get("call") is me:
                if self.native is not None:
                    self.native.plan.free()
                self._users.clear()

    def _calculate(
        self, arrays: Sequence[Any], owned: Collection[int], cells: Sequence[Any], ticks: Any
    ) -> list[Any]:
        held, made = self._bind(arrays, owned)
        results = [
            made[what] if kind == "result" else arrays[what] if kind == "input" else np.array(what)
            for kind, what in self._sources
        ]
        for number, segment in enumerate(self.segments, 1):
            if isinstance(segment, Step):
                start = perf_counter_ns()
                self._reference(segment, held, made)
                if ticks is not None:
                    ticks.append(perf_counter_ns() - start)
            elif owned and number == len(self.segments):
                new = results[len(self.program.graph.outputs) :]
                given = zip(repeat(setattr), cells, repeat("_held"), new, strict=False)
                work = chain([(self._run, segment.address)], given)
                if any(starmap(call, work)):  # stops at the first that is not None or 0
                    self._failed(arrays)
            elif self._run(segment.address):
                self._failed(arrays)
        return results

    def _bind(self, arrays: Sequence[Any], owned: Collection[int]) -> tuple[list[Any], list[Any]]:
        """Put the addresses of inputs and results into the table; return their arrays."""
        table = self._table
        held = list(arrays)
        for i, number in self._inputs:
            array = arrays[number]
            if type(array) is not np.ndarray:
                self._away(number)
            if not array.flags.c_contiguous or not array.flags.aligned:
                array = held[number] = np.ascontiguousarray(array)
            table[i] = array.ctypes.data
        made: list[Any] = []
        for i, recycler, reused in self._outputs:
            if reused in owned and held[reused] is arrays[reused]:
                made.append(arrays[reused])
                table[i] = arrays[reused].ctypes.data
            else:
                array, address = recycler.take()
                made.append(array)
                table[i] = address
        return held, made

    def _away(self, number: int) -> None:
        """Raise the error for an input that is not in the host's memory."""
        graph = self.program.graph
        raise MinigradError(
            f"{graph.name}: compiled for the CPU, but {graph.inputs[number].describe()} is on "
            "another device",
            fix='mg.compile(..., backend="cupy"), or move it: x.to("numpy")',
        )

    def forget_calls(self) -> None:
        """Let the memory be free: whoever used it is not in this process."""
        self._lock = Lock()
        self._users.clear()
        if self.native is not None:
            self.native.plan.reset()

    def _failed(self, arrays: Sequence[Any]) -> None:
        """Raise the error of a check, as the reference words it."""
        self._error[0] = 0
        Reference(self.program.graph)(*arrays)
        raise MinigradError("an index is out of range, but the reference finds none")

    def _reference(self, step: Step, arrays: Sequence[Any], made: Sequence[Any]) -> None:
        node = step.operands[-1]
        views = [self.view(n, arrays, made) for n in step.operands]
        with np.errstate(all="ignore"):
            views[-1][...] = defined(node.primitive, views[:-1], node.params)

    def view(self, node: Any, arrays: Sequence[Any], made: Sequence[Any]) -> Array:
        """Return the elements of a node as an array."""
        place = self.program.layout.place(node)
        buffer = self.program.layout.buffers[place.buffer]
        if buffer.kind == "input":
            flat = arrays[buffer.number].reshape(-1)
        elif buffer.kind == "result":
            flat = made[buffer.number].reshape(-1)
        elif buffer.value is not None:
            flat = buffer.value.reshape(-1)
        else:
            flat = self._memory[buffer.offset : buffer.offset + buffer.nbytes].view(node.aval.dtype)
        strides = [s * node.aval.dtype.itemsize for s in place.strides]
        return np.lib.stride_tricks.as_strided(flat[place.offset :], node.aval.shape, strides)
