"""From a graph to the steps of a device: kernels in one translation unit, products, the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.passes.bodies import bodies
from minigrad.passes.kernels import Contraction, Loops, Options, Special
from minigrad.passes.kernels import Kernel as Scheduled
from minigrad.passes.lower import lower

from .commit import commits
from .emit import Kernel
from .layout import Layout, allocate
from .loops import kernels_of
from .prelude import prelude
from .products import Multiply, product_steps
from .rows import rows
from .special import special

__all__ = ["Program", "Reference", "Step"]


@dataclass(frozen=True, slots=True)
class Reference:
    """An operation that runs by itself, by its function for arrays on a device."""

    node: Node
    slots: tuple[int, ...]

    @property
    def writes(self) -> frozenset[int]:
        """The buffer of the result."""
        return frozenset(self.slots[-1:])


Step = Kernel | Multiply | Reference


def parts(operand: int, result: int) -> int:
    """Return into how many parts a reduction is divided: two for each processor of a large GPU.

    Each has at least 16 elements to add up; sums to few elements have more parts. A number
    that depended on the device would give other bits on another device.
    """
    most = 264 if result > 32 else 1056
    return max(1, min(most, operand // max(result, 1) // 16))


#: A row may have up to 128 KiB: it fits the registers of a block. Products have no epilogues:
#: they are cuBLAS's. Small equal kernels are not worth keeping apart: one module has them all.
OPTIONS = Options(row_bytes=1 << 17, parts=parts, epilogues=False, separate=1 << 30)


class Program:
    """The steps of a graph, their memory and their text.

    ``results`` are the graph's outputs and new states; ``states`` says for each new state that
    is computed which input it replaces; ``flags`` tell of an index out of range.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        lowered = lower(graph, moments_beyond=OPTIONS.row_bytes)
        count = len(graph.outputs)
        self.flags = lowered.outputs[count:]
        self.results = (*lowered.outputs[:count], *(n for _, n in lowered.updates))
        self.schedule, found = bodies(lowered, OPTIONS)
        self.layout = Layout(self.schedule)
        self.steps: list[Step] = []
        #: The kernel of the schedule that each step belongs to; none for the copies at the end.
        self.kernels: list[Scheduled | None] = []
        for kernel, body in zip(self.schedule.kernels, found, strict=True):
            if isinstance(kernel, Special):
                self.steps.append(self._special(kernel.node))
            elif isinstance(kernel, Contraction):
                assert body is not None
                self.steps += product_steps(body, self.layout)
            else:
                assert isinstance(kernel, Loops) and body is not None
                self.steps += [rows(body, self.layout)] if body.rows else kernels_of(
                    body, self.layout
                )  # fmt: skip
            self.kernels += [kernel] * (len(self.steps) - len(self.kernels))
        for node in self.schedule.graph.results:
            self.layout.place(node)
        self.checks = self._checks_first()
        self.states = self._replaced()
        self._commit()
        for number, step in enumerate(self.steps):
            for slot in step.slots:
                self.layout.buffers[slot].touch(number)
        self.nbytes = allocate(self.layout.buffers)
        self.source = self._named()

    def _checks_first(self) -> int:
        """Move what the flags are computed from to the front; return how many steps that is."""
        needed = {self.layout.place(n).buffer for n in self.flags if n.inputs}
        first: list[int] = []
        for i in reversed(range(len(self.steps))):
            if self.steps[i].writes & needed:
                first.insert(0, i)
                needed |= set(self.steps[i].slots)
        order = [*first, *(i for i in range(len(self.steps)) if i not in first)]
        self.steps = [self.steps[i] for i in order]
        self.kernels = [self.kernels[i] for i in order]
        return len(first)

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

    def _commit(self) -> None:
        """Add the steps that copy new state over the old."""
        inputs = self.schedule.graph.inputs
        pairs = [(self.results[number], inputs[i]) for number, i in self.states.items()]
        self.steps += commits(self.layout, pairs, [n for n in self.flags if n.inputs])
        self.kernels += [None] * (len(self.steps) - len(self.kernels))

    def _special(self, node: Node) -> Step:
        found = special(node, self.layout)
        if found is not None:
            return found
        slots = tuple(self.layout.place(n).buffer for n in (*node.inputs, node))
        return Reference(node, slots)

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
