"""From a graph to the steps of a device: kernels in one translation unit, products, the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.passes.bodies import Body, bodies
from minigrad.passes.kernels import Contraction, Loops, Options, Special
from minigrad.passes.kernels import Kernel as Scheduled
from minigrad.passes.lower import lower

from .commit import commits
from .emit import Kernel
from .inplace import guarded, may_replace
from .layout import Layout, allocate
from .loops import kernels_of
from .order import LANES, Use, timetable, waits
from .prelude import prelude
from .products import Multiply, product_steps
from .rows import rows
from .special import special

__all__ = ["Flags", "Program", "Reference", "Step"]


@dataclass(frozen=True, slots=True)
class Reference:
    """An operation that runs by itself, by its function for arrays on a device."""

    node: Node
    slots: tuple[int, ...]

    @property
    def writes(self) -> frozenset[int]:
        """The buffer of the result."""
        return frozenset(self.slots[-1:])


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags, which tell of an index out of range, are sent to the host."""

    slots: tuple[int, ...]
    writes: frozenset[int] = frozenset()


Step = Kernel | Multiply | Reference | Flags

#: What a step takes, thought of in microseconds: to start, and by bytes and operations.
_START, _PRODUCT, _BYTES, _FLOPS = 1.5, 4.0, 3e6, 3e7


def parts(operand: int, result: int) -> int:
    """Return into how many parts a reduction is divided: two for each processor of a large GPU.

    Each has at least 16 elements to add up; sums to few elements have more parts. A number
    that depended on the device would give other bits on another device.
    """
    most = 264 if result > 32 else 1056
    return max(1, min(most, operand // max(result, 1) // 16))


#: A row may have up to 128 KiB: it fits the registers of a block. So do 8 columns of 8 KiB: a
#: block reads 64 KiB in less time than another kernel takes to start, so 256 columns, 32 blocks,
#: are enough, though a GPU has room for four times as many. One row of up to 16 KiB is likewise
#: a block's. Products have no epilogues: they are cuBLAS's. Small equal kernels are not worth
#: keeping apart: one module has them all.
OPTIONS = Options(
    row_bytes=1 << 17, short_bytes=1 << 14, column_bytes=1 << 13, columns=256, parts=parts,
    epilogues=False, separate=1 << 30,
)  # fmt: skip


class Program:
    """The steps of a graph, their memory and their text.

    ``results`` are the graph's outputs and new states; ``states`` says for each new state that
    is computed which input it replaces; ``flags`` tell of an index out of range. Steps are in
    the order in which they are given to the device, each in its lane, ``lanes``; ``waits`` are
    the steps of other lanes that each waits for.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        lowered = lower(graph, one_sweep=OPTIONS)
        count = len(graph.outputs)
        self.flags = lowered.outputs[count:]
        self.results = (*lowered.outputs[:count], *(n for _, n in lowered.updates))
        self.schedule, found = bodies(lowered, OPTIONS)
        self.layout = Layout(self.schedule)
        self.steps: list[Step] = []
        #: The kernel of the schedule that each step belongs to; none for what is added here.
        self.kernels: list[Scheduled | None] = []
        for kernel, body in zip(self.schedule.kernels, found, strict=True):
            self.steps += self._steps(kernel, body)
            self.kernels += [kernel] * (len(self.steps) - len(self.kernels))
        for node in self.schedule.graph.results:
            self.layout.place(node)
        self._send_flags()
        self.states = self._replaced()
        self._write_over(dict(zip(self.schedule.kernels, found, strict=True)))
        self._order()
        self.source = self._named()

    def _steps(self, kernel: Scheduled, body: Body | None) -> Sequence[Step]:
        if isinstance(kernel, Special):
            return [self._special(kernel.node)]
        assert body is not None
        if isinstance(kernel, Contraction):
            return product_steps(body, self.layout)
        assert isinstance(kernel, Loops)
        return [rows(body, self.layout)] if kernel.domain else kernels_of(body, self.layout)

    def _special(self, node: Node) -> Step:
        found = special(node, self.layout)
        if found is not None:
            return found
        slots = tuple(self.layout.place(n).buffer for n in (*node.inputs, node))
        return Reference(node, slots)

    def _send_flags(self) -> None:
        """Move what the flags are computed from to the front, and send them from there."""
        self.guards = [self.layout.place(n).buffer for n in self.flags if n.inputs]
        needed = set(self.guards)
        first: list[int] = []
        for i in reversed(range(len(self.steps))):
            if self.steps[i].writes & needed:
                first.insert(0, i)
                needed |= set(self.steps[i].slots)
        order = [*first, *(i for i in range(len(self.steps)) if i not in first)]
        self.steps = [self.steps[i] for i in order]
        self.kernels = [self.kernels[i] for i in order]
        self.checked = len(first)
        if self.guards:
            self.steps.insert(self.checked, Flags(tuple(self.guards)))
            self.kernels.insert(self.checked, None)

    # State ------------------------------------------------------------------------------

    def _replaced(self) -> dict[int, int]:
        """Return for each result that is a cell's computed new value the input of that cell."""
        graph, inputs = self.graph, self.schedule.graph.inputs
        cells = {n.params["cell"]: i for i, n in enumerate(graph.inputs) if "cell" in n.params}
        updates = enumerate(graph.updates, len(graph.outputs))
        return {
            number: cells[cell]
            for number, (cell, _) in updates
            if cell in cells and self.results[number].inputs and self.results[number] not in inputs
        }

    def _write_over(self, found: dict[Scheduled, Body | None]) -> None:
        """Let kernels write new state over the old where they may; copy the rest at the end."""
        inputs = self.schedule.graph.inputs
        copied = []
        for number, i in self.states.items():
            new, old = self.results[number], inputs[i]
            # what is an output as well, or another cell's new state, needs memory of its own
            if self.results.count(new) > 1 or not self._moves_over(new, old, found):
                copied.append((new, old))
        self.steps += commits(self.layout, copied, self.guards)
        self.kernels += [None] * (len(self.steps) - len(self.kernels))

    def _moves_over(self, new: Node, old: Node, found: dict[Scheduled, Body | None]) -> bool:
        """Write one new state over the old, if its kernel can run after all that reads the old."""
        n, o = self.layout.place(new).buffer, self.layout.place(old).buffer
        steps = self.steps
        using = [i for i, s in enumerate(steps) if n in s.slots]
        if len(using) != 1 or using[0] < self.checked:
            return False
        (i,) = using
        kernel = self.kernels[i]
        if not isinstance(kernel, Loops) or self.kernels.count(kernel) != 1:
            return False
        last = max([i, *(j for j, s in enumerate(steps) if o in s.slots)])
        mine, written = set(steps[i].slots), steps[i].writes
        if any(s.writes & mine or written & set(s.slots) for s in steps[i + 1 : last + 1]):
            return False
        body = found[kernel]
        if body is None or not may_replace(body, new, old, self.layout):
            return False
        self.layout.over(new, old)
        (step,) = self._steps(kernel, body)
        assert isinstance(step, Kernel)
        del steps[i]
        steps.insert(last, guarded(step, self.guards))
        self.kernels.insert(last, self.kernels.pop(i))
        return True

    # Memory, order and text -------------------------------------------------------------

    def _order(self) -> None:
        """Give the steps their order, their lanes, and all buffers their memory."""
        buffers = self.layout.buffers
        apart = [[Use(b, b + 1, b in s.writes) for b in set(s.slots)] for s in self.steps]
        table = timetable(apart, [self._time(s) for s in self.steps], self._lanes())
        for step, first, end in zip(self.steps, table.begins, table.ends, strict=True):
            for slot in step.slots:
                buffers[slot].touch(first)
                buffers[slot].touch(end - 1)
        self.nbytes = allocate(buffers)
        self.steps = [self.steps[i] for i in table.order]
        self.kernels = [self.kernels[i] for i in table.order]
        self.lanes = table.lanes
        uses = [
            [
                Use(b.offset, b.offset + b.nbytes, slot in step.writes)
                for slot in set(step.slots)
                for b in [buffers[slot]]
            ]
            for step in self.steps
        ]
        self.waits = waits(uses, table.lanes)
        for buffer in buffers:  # from moments to steps
            buffer.first, buffer.last = 1 << 60, -1
        for number, step in enumerate(self.steps):
            for slot in step.slots:
                buffers[slot].touch(number)

    def _lanes(self) -> int:
        return LANES if self.captured else 1

    def _time(self, step: Step) -> float:
        """Return what a step is thought to take, in microseconds."""
        if isinstance(step, Multiply):
            return _PRODUCT + 2 * step.batch * step.n * step.m * step.k / _FLOPS
        return _START + sum(self.layout.buffers[s].nbytes for s in set(step.slots)) / _BYTES

    def _named(self) -> str:
        """Name the kernels, equal ones alike, and return the translation unit."""
        names: dict[str, str] = {}
        helpers: set[str] = set()
        for step in self.steps:
            if isinstance(step, Kernel):
                key = step.text
                if key not in names:
                    names[key] = f"k{len(names)}_{step.what}"
                    helpers |= step.helpers
                step.name = names[key]
        texts = [re.sub(r"\bNAME\b", name, text, count=1) for text, name in names.items()]
        return prelude(helpers) + "".join(texts) if texts else ""

    @property
    def captured(self) -> bool:
        """Whether all steps may be part of a CUDA graph."""
        return not any(isinstance(s, Reference) for s in self.steps)
