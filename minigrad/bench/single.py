"""One workload in one process: ``python -m minigrad.bench.single W1 [seconds] [--tiny]``.

A process of its own, because the first call, the caches and the largest memory of a
process can be measured only once. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import minigrad as mg
from minigrad.ops.costs import flops

from . import timing
from .workloads import WORKLOADS

__all__ = ["Result", "measure"]

#: Bytes below which a step is not compared with the machine's bandwidth: starting it takes longer.
LITTLE = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of a workload; seconds and bytes.

    ``operations`` counts a multiply-add as two and a function as one; ``moved`` are the bytes
    of arguments, state and results, each once: what any program must move. ``arithmetic`` and
    ``traffic`` are the machine's rates, measured beside it; ``traffic`` for as many bytes, or
    None where they are too few. ``plan`` is the memory of the plan's intermediate values,
    ``unshared`` what it would be if none were used again; ``process`` the process's largest,
    ``imported`` before the model was built.
    """

    name: str
    trace: float
    clean: float
    compile: float
    first_run: float
    step: timing.Spread
    operations: int
    moved: int
    arithmetic: float
    traffic: float | None
    plan: int
    unshared: int
    imported: int
    process: int

    @classmethod
    def read(cls, line: str) -> Result:
        """Return the result that a process has printed."""
        found: dict[str, Any] = json.loads(line)
        return cls(**{**found, "step": timing.Spread(**found["step"])})

    @property
    def first_call(self) -> float:
        """Seconds from nothing to the first result: trace, gradient, clean-up, compile, run."""
        return self.trace + self.clean + self.compile + self.first_run


def measure(name: str, seconds: float = 2.0, *, tiny: bool = False) -> Result:
    """Build a workload, call it for the first time, then many times, and measure the machine."""
    imported = timing.peak_memory()
    mg.random.seed(0)
    job = WORKLOADS[name].make(tiny)
    compiled = mg.compile(job.function, backend="cpu")
    ready, _ = timing.timed(lambda: compiled.graph(*job.arguments))
    first_run, _ = timing.timed(lambda: compiled(*job.arguments))
    step = timing.spread(timing.repeated(lambda: compiled(*job.arguments), seconds))
    process = timing.peak_memory()
    from . import peaks  # the compiler's modules belong to the first call

    ((entry,),) = compiled._entries.values()
    clean, compiling = entry.seconds
    final = entry.final
    moved = sum(n.aval.nbytes for n in (*final.inputs, *final.outputs))
    moved += sum(n.aval.nbytes for _, n in final.updates)
    rounds = 100 if tiny else peaks.ROUNDS
    return Result(
        name=name, trace=ready - clean - compiling, clean=clean,
        compile=compiling, first_run=first_run, step=step,
        operations=sum(flops(n) for n in final.nodes), moved=moved,
        arithmetic=peaks.arithmetic(seconds / 10, rounds),
        traffic=peaks.traffic(moved, seconds / 10) if moved >= LITTLE else None,
        plan=entry.execute.arena.nbytes, unshared=entry.execute.arena.unshared,
        imported=imported, process=process,
    )  # fmt: skip


def main(arguments: list[str]) -> None:
    """Print the JSON of one result."""
    numbers = [float(a) for a in arguments[1:] if not a.startswith("-")]
    result = measure(arguments[0], numbers[0] if numbers else 2.0, tiny="--tiny" in arguments)
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
