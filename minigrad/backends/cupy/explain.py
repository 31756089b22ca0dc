"""What a compiled graph does on a device: a ``Plan`` for people."""

from __future__ import annotations

from collections import defaultdict

from minigrad.backends.report import Plan, PlanBuffer, PlanStep
from minigrad.core.node import Node
from minigrad.ops.costs import flops
from minigrad.passes.covered import covered, extent

from .emit import Kernel
from .products import Multiply
from .program import Flags, Program

__all__ = ["explain"]


def explain(program: Program, target: str) -> Plan:
    """Return the plan of a program; the steps are not timed."""
    layout = program.layout
    holds: dict[int, list[Node]] = defaultdict(list)
    for node, place in layout.places():
        holds[place.buffer].append(node)
    arena = [b for b in layout.buffers if b.kind == "arena" and b.last >= 0]
    return Plan(
        name=program.graph.name,
        backend="cupy",
        target=target,
        steps=tuple(_step(program, i) for i in range(len(program.steps))),
        buffers=tuple(
            PlanBuffer(b.kind, b.nbytes, b.first, b.last, b.offset, tuple(holds[i]))
            for i, b in enumerate(layout.buffers)
        ),
        memory=max([b.offset + b.nbytes for b in arena], default=0)
        - min([b.offset for b in arena], default=0),
        unshared=sum(b.nbytes for b in arena),
    )


def _step(program: Program, i: int) -> PlanStep:
    step, kernel = program.steps[i], program.kernels[i]
    computes, reads, writes = covered(program.schedule, kernel) if kernel else ((), (), ())
    buffers = tuple(dict.fromkeys(step.slots))
    if isinstance(step, Kernel):
        what, source = step.what, step.text.replace("NAME", step.name, 1)
        x, y, z = step.grid
        parts = x * y * z
    elif isinstance(step, Multiply):
        what, source, parts = "library", step.function, 1
    elif isinstance(step, Flags):
        what, source, parts = "flags", "cudaMemcpyAsync", 1
    else:
        function = step.node.primitive.reference
        what, source, parts = "reference", f"{function.__module__}.{function.__qualname__}", 1
    return PlanStep(
        what=what, over=extent(kernel) if kernel else (), computes=computes, reads=reads,
        writes=writes,
        buffers=buffers, nbytes=sum(program.layout.buffers[b].nbytes for b in buffers),
        flops=sum(map(flops, computes)), parts=parts, estimated=None, measured=None, source=source,
    )  # fmt: skip
