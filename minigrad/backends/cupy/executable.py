"""Running a compiled graph on a device: one allocation, launches, one CUDA graph.

Arguments are copied to memory of the executable's own, whose addresses the captured graph
knows; state that it returned in the last call is there already. New state is written over
the old, unless a check has found an index out of range: a call that fails changes nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from minigrad.backends.layout import value_of
from minigrad.backends.reference import Program as ReferenceProgram
from minigrad.backends.report import Plan
from minigrad.core.graph import Graph
from minigrad.dtypes import DType
from minigrad.errors import MinigradError
from minigrad.shapes import Shape

from .emit import Kernel
from .explain import explain
from .products import Multiply
from .program import Flags, Program, Reference, Step
from .resident import Resident

__all__ = ["Device", "Executable", "Kind", "Passage", "Run", "Work"]

#: A piece of work that can be repeated.
Run = Callable[[], None]
#: Where an array lies in a stretch of memory, its shape and dtype.
Kind = tuple[int, Shape, DType]


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a step: its lane, and by number the steps of other lanes that it waits for."""

    run: Run
    lane: int
    waits: tuple[int, ...]


@dataclass(slots=True)
class Passage:
    """All work of a call; ``replay`` is its launch once it is captured.

    ``flagged()`` waits for the flags of a call and tells if one is set.
    """

    work: list[Work]
    flagged: Callable[[], bool]
    replay: Run | None = None


class Device(Protocol):
    """What an executable needs of a device; CuPy's is in ``device``, the tests have another."""

    def allocate(self, nbytes: int, what: str) -> int:
        """Return the address of new memory, which lives as long as this object."""

    def upload(self, address: int, array: Any) -> None:
        """Copy a host array to memory."""

    def view(self, address: int, shape: Shape, dtype: DType, strides: Sequence[int] = ()) -> Any:
        """Return memory as an array; strides are in elements."""

    def same(self, view: Any, array: Any) -> bool:
        """Return whether an array is the memory of a view."""

    def take(self, view: Any, array: Any) -> None:
        """Copy an array, on the host or the device, to a view."""

    def copy(self, view: Any) -> Any:
        """Return an array of its own with the elements of a view."""

    def prepare(self, source: str, names: Collection[str]) -> None:
        """Compile a translation unit."""

    def kernel(self, step: Kernel, addresses: Sequence[int], lane: int) -> Run:
        """Return the launch of a kernel."""

    def product(self, step: Multiply, addresses: Sequence[int], lane: int) -> Run:
        """Return the call of a matrix product."""

    def compute(self, node: Any, operands: Sequence[Any]) -> Any:
        """Return the result of one operation on arrays of the device."""

    def enter(self) -> None:
        """Let the work that follows wait for what others began."""

    def leave(self) -> None:
        """Let others wait for the work that was begun."""

    def play(self, work: Sequence[Work]) -> None:
        """Begin some work, its lanes side by side."""

    def captured(self, work: Sequence[Work]) -> Run:
        """Return the launch of a graph of some work, after it was done once."""

    def watch(self, views: Sequence[Any], lane: int) -> tuple[Run, Callable[[], bool]]:
        """Return what begins to fetch flags, and what waits for them and tells if any is set."""

    def room(self, nbytes: int, kinds: Sequence[Kind]) -> list[Any]:
        """Return arrays in new memory, each by its offset there."""

    def address(self, array: Any) -> int:
        """Return where an array lies."""

    def outputs(self, address: int, nbytes: int, kinds: Sequence[Kind]) -> list[Any]:
        """Return arrays in a copy of a stretch of memory, each by its offset there."""


#: One thread at a time launches kernel by kernel and captures: cuBLAS's handle is shared.
_capturing = Lock()


@contextmanager
def _others_may_launch() -> Iterator[None]:
    _capturing.release()
    try:
        yield
    finally:
        _capturing.acquire()


class Executable:
    """A compiled graph: a function from the arrays of its inputs to its outputs and new state.

    Its memory serves one call at a time: threads that share it wait for each other.
    """

    def __init__(self, graph: Graph, device: Device) -> None:
        self.lock = Lock()
        self.program = program = Program(graph)
        self.device = device
        names = {s.name for s in program.steps if isinstance(s, Kernel)}
        if names:
            device.prepare(program.source, names)
        self._make()
        #: The inputs whose arrays new state may be written over.
        self.reusable = frozenset(program.states.values())
        self.native = Resident.of(self)
        self.calls = 0  # the general way

    # Making it --------------------------------------------------------------------------

    def _make(self) -> None:
        """Take memory, fill what is constant, and prepare the work on it."""
        program, device = self.program, self.device
        self.base = device.allocate(program.nbytes, f"the buffers of {program.graph.name}")
        for buffer in program.layout.buffers:
            if buffer.value is not None:
                device.upload(self.base + buffer.offset, buffer.value)
        self.inputs = [self._view(n) for n in program.schedule.graph.inputs]
        #: State that was returned in its place, by its input.
        self.given: dict[int, weakref.ref[Any]] = {}
        self._sources = [self._source(n) for n in program.results]
        outputs = self._sources[: len(program.graph.outputs)]
        self.plain = [i for i, (kind, _) in enumerate(outputs) if kind == "result"]
        self.passage = self.passage_to({})
        self._made = self.stretch(self.plain)

    def passage_to(self, moved: Mapping[int, int]) -> Passage:
        """Return the work of a call; some buffers are at other addresses."""
        program, device = self.program, self.device
        for slot, address in moved.items():
            value = program.layout.buffers[slot].value
            if value is not None:
                device.upload(address, value)
        passage = Passage([], lambda: False)
        for step, lane, waits in zip(program.steps, program.lanes, program.waits, strict=True):
            if isinstance(step, Flags):
                flags = [self._view(n) for n in program.flags if n.inputs]
                run, passage.flagged = device.watch(flags, lane)
            else:
                at = [moved.get(s) or self._address(s) for s in step.slots]
                run = self._run(step, at, lane)
            passage.work.append(Work(run, lane, waits))
        return passage

    def _address(self, slot: int) -> int:
        return self.base + self.program.layout.buffers[slot].offset

    def slot(self, number: int) -> int:
        """Return the buffer of a result."""
        return self.program.layout.place(self.program.results[number]).buffer

    def _view(self, node: Any) -> Any:
        place = self.program.layout.place(node)
        address = self._address(place.buffer) + place.offset * place.dtype.itemsize
        return self.device.view(address, node.aval.shape, node.aval.dtype, place.strides)

    def _source(self, node: Any) -> tuple[str, Any]:
        """Return where a result comes from: computed, an input, or a constant."""
        inputs = self.program.schedule.graph.inputs
        if node in inputs:
            return "input", inputs.index(node)
        if not node.inputs:
            return "constant", value_of(node)
        return "result", self._view(node)

    def _run(self, step: Step, at: Sequence[int], lane: int) -> Run:
        if isinstance(step, Kernel):
            return self.device.kernel(step, at, lane)
        if isinstance(step, Multiply):
            return self.device.product(step, at, lane)
        assert isinstance(step, Reference)
        operands = [self._view(n) for n in step.node.inputs]
        goal, device, node = self._view(step.node), self.device, step.node

        def reference() -> None:
            with _others_may_launch():  # it may wait for other threads: a sum over workers does
                result = device.compute(node, operands)
            device.take(goal, result)

        return reference

    # Running it -------------------------------------------------------------------------

    def __call__(
        self,
        *arrays: Any,
        owned: Collection[int] = (),
        cells: Sequence[Any] = (),  # noqa: ARG002
    ) -> list[Any]:
        """Run on arrays, one for each input of the graph.

        ``owned`` are the inputs whose arrays nobody but the caller holds: new state may be
        given in the memory of the old.

        Raises
        ------
        DataError
            If an index was out of range; nothing has changed then.
        """
        with self.lock:
            return self._called(arrays, owned)

    def _called(self, arrays: Sequence[Any], owned: Collection[int]) -> list[Any]:
        device, states = self.device, self.program.states
        self.calls += 1
        kept = {n: i for n, i in states.items() if i in owned}
        stays = {i for i, a in enumerate(arrays) if device.same(self.inputs[i], a)}
        if self._is_held(stays, owned):
            stays = set()  # the memory of old state is left to who holds it
            self._make()
        device.enter()
        try:
            for i, (view, array) in enumerate(zip(self.inputs, arrays, strict=True)):
                if i not in stays:
                    device.take(view, array)
            same = {  # before they may be written over
                n: device.copy(self.inputs[what])
                for n, (kind, what) in enumerate(self._sources)
                if kind == "input"
            }
            self._launch()
            if self.passage.flagged():
                self._failed(arrays)
            results: list[Any] = []
            made = iter(device.outputs(*self._made) if self.plain else ())
            for number, (kind, what) in enumerate(self._sources):
                if number in kept:
                    i = kept[number]
                    results.append(arrays[i] if i in stays else self._resident(i))
                elif number in self.plain:
                    results.append(next(made))
                else:
                    results.append(same[number] if kind == "input" else device.copy(what))
        finally:
            device.leave()
        return results

    def _is_held(self, stays: Collection[int], owned: Collection[int]) -> bool:
        """Whether anybody but the caller has the memory of state that will be written over."""
        away = (given() for i, given in self.given.items() if i not in stays)
        return any(a is not None for a in away) or any(
            i in stays and i not in owned for i in self.reusable
        )

    def explain(self, arrays: Sequence[Any] | None = None) -> Plan:  # noqa: ARG002
        """Return what runs. The steps are not timed: they are one launch."""
        return explain(self.program, "CUDA, one graph" if self.program.captured else "CUDA")

    def _resident(self, i: int) -> Any:
        """Return the memory of an input, in which the new state will be, as a new array."""
        view = self._view(self.program.schedule.graph.inputs[i])
        self.given[i] = weakref.ref(view)
        return view

    def stretch(self, numbers: Sequence[int]) -> tuple[int, int, list[Kind]]:
        """Return where some outputs lie, side by side, so that they are copied as one."""
        program = self.program
        buffers = [program.layout.buffers[self.slot(i)] for i in numbers]
        low = min([b.offset for b in buffers], default=0)
        high = max([b.offset + b.nbytes for b in buffers], default=0)
        kinds = [
            (b.offset - low, program.results[i].aval.shape, program.results[i].aval.dtype)
            for i, b in zip(numbers, buffers, strict=True)
        ]
        return self.base + low, high - low, kinds

    def _launch(self) -> None:
        """Begin the work; from the second time on that is one launch, if it can be."""
        if self.passage.replay is not None:
            self.passage.replay()
            return
        with _capturing:
            self.device.play(self.passage.work)
        if self.program.captured:
            self.capture(self.passage)

    def capture(self, passage: Passage) -> None:
        """Let work be one launch."""
        with _capturing:
            passage.replay = self.device.captured(passage.work)

    def _failed(self, arrays: Sequence[Any]) -> None:
        """Raise the error of a check, as the reference words it."""
        ReferenceProgram(self.program.graph)(*arrays)
        raise MinigradError("an index is out of range, but the reference finds none")
