"""What a compiled graph does, for people: its steps, its memory, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigrad.core.late import call
from minigrad.core.node import Node

__all__ = ["Plan", "PlanBuffer", "PlanStep", "operations"]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step: a kernel, a library call, or a reference function.

    Attributes
    ----------
    what
        "loops" (elementwise, also with sums on the way), "rows" (reductions row by row),
        "columns" (likewise, of what is reduced across memory),
        "tiles" (a matrix product or convolution with what is done to its result), "pack" and
        "transpose" (a copy in another order), "library" or "reference".
    over
        The shape that it goes through.
    computes
        The graph's nodes that it computes, in order. Their ``origin`` is the user's line.
    reads, writes
        Names of what it loads and stores; ``buffers`` are the numbers of the buffers.
    nbytes, flops
        Bytes of what it loads and stores, each once; estimated arithmetic operations.
    parts
        Into how many calls it is divided, for threads to share.
    estimated, measured
        Seconds; ``measured`` is None when the plan was asked for types only.
    source
        Its code.
    """

    what: str
    over: tuple[int, ...]
    computes: tuple[Node, ...]
    reads: tuple[Node, ...]
    writes: tuple[Node, ...]
    buffers: tuple[int, ...]
    nbytes: int
    flops: int
    parts: int
    estimated: float | None
    measured: float | None
    source: str

    @property
    def name(self) -> str:
        """The operations that it does, in short: ``matmul, add, maximum``."""
        return operations(self.computes) or self.what

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose work it does, each once."""
        return tuple(dict.fromkeys(n.origin.layer for n in self.computes if n.origin.layer))

    @property
    def lines(self) -> tuple[str, ...]:
        """The user's lines that it computes, each once: ``model.py, line 12: y = x @ w``."""
        places = [n.origin for n in self.computes if n.origin.code is not None]
        return tuple(dict.fromkeys(f"{p.label}: {p.text}" if p.text else p.label for p in places))


@dataclass(frozen=True, slots=True)
class PlanBuffer:
    """A stretch of memory: what lies there, and from which step to which.

    ``kind`` is "input", "result", "constant", "arena" (shared with others at other times),
    "own" (filled once) or "error" (where a failed check is noted).
    """

    kind: str
    nbytes: int
    first: int
    last: int
    offset: int
    holds: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a compiled function runs for one signature. Shows itself as a table in a notebook.

    Attributes
    ----------
    target
        For which machine it was compiled.
    memory
        Bytes of all temporary results together, in the memory that they share.
    unshared
        What they would take without sharing.
    """

    name: str
    backend: str
    target: str
    steps: tuple[PlanStep, ...]
    buffers: tuple[PlanBuffer, ...]
    memory: int
    unshared: int

    @property
    def source(self) -> str:
        """The code of all steps, each text once."""
        return "\n\n".join(dict.fromkeys(s.source for s in self.steps if s.source))

    @property
    def fallbacks(self) -> tuple[PlanStep, ...]:
        """The steps that run by the reference functions."""
        return tuple(s for s in self.steps if s.what == "reference")

    @property
    def peak_bytes(self) -> int:
        """Bytes that a call takes beside its inputs: temporary and constant memory, results."""
        kept = sum(b.nbytes for b in self.buffers if b.kind in ("result", "constant", "own"))
        return kept + self.memory

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        return call("plan.text", self)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<Plan of {self.name}: {len(self.steps)} steps on {self.backend}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]


_MOST = 6  # operations in a name


def operations(nodes: Sequence[Node]) -> str:
    """Return the names of operations in short: ``3 add, mul, tanh, …``."""
    counts: dict[str, int] = {}
    for node in nodes:
        if node.primitive.kind not in ("creation", "movement") and node.inputs:
            counts[node.primitive.name] = counts.get(node.primitive.name, 0) + 1
    if not counts:
        counts = {n.primitive.name: 1 for n in nodes}
    words = [name if n == 1 else f"{n} {name}" for name, n in counts.items()]
    more = len(words) - _MOST
    return ", ".join(words[:_MOST]) + (f", {more} more" if more > 0 else "")
