"""What the machine itself can do: multiply-adds in registers, and a sum of two arrays."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad.backends.cpu import jit, pool
from minigrad.backends.cpu.plan import aligned, make_plan
from minigrad.backends.cpu.target import current_target
from minigrad.dtypes import float32

from .timing import repeated

__all__ = ["arithmetic", "traffic"]

#: Independent chains of multiply-adds: more than the latency of two units needs, and few
#: enough for 16 registers.
CHAINS = 12

#: Parts that each thread computes, and rounds of a part.
PARTS, ROUNDS = 8, 100_000


def arithmetic(seconds: float = 0.2, rounds: int = ROUNDS) -> float:
    """Return float32 operations per second of multiply-adds in registers, on all threads.

    A multiply-add counts two. The fastest of many runs: this is what the machine can do, not
    what it does while other programs run.
    """
    target = current_target()
    lanes = target.vector_bytes // 4
    address = jit.load(_text(lanes, rounds), ["registers"], target=target)["registers"]
    parts = PARTS * pool.get_num_threads()
    out, table = aligned(parts * lanes, float32), aligned(1, np.uint64)
    table[0] = out.ctypes.data
    plan = make_plan([(address, [0], parts, 1, 0)], table)
    best = min(repeated(lambda: pool.run(plan.address), seconds))
    assert np.isfinite(out).all()
    return 2.0 * CHAINS * lanes * rounds * parts / best


def _text(lanes: int, rounds: int) -> str:
    """Return a function that runs chains of multiply-adds, and stores their sum."""
    kind = f"<{lanes} x float>"
    spread = f"shufflevector ({kind} insertelement ({kind} poison, float {{}}, i32 0), "
    spread += f"{kind} poison, <{lanes} x i32> zeroinitializer)"
    factor, term = spread.format("0x3FEFF00000000000"), spread.format("0x3F60000000000000")
    phis, steps, sums = [], [], []
    for i in range(CHAINS):
        phis.append(f"  %x{i} = phi {kind} [ %start{i}, %entry ], [ %y{i}, %loop ]")
        steps.append(
            f"  %y{i} = call {kind} @llvm.fmuladd.v{lanes}f32"
            f"({kind} %x{i}, {kind} {factor}, {kind} {term})"
        )
        before = f"%s{i - 1}" if i else "zeroinitializer"
        sums.append(f"  %s{i} = fadd {kind} {before}, %y{i}")
    starts = [f"  %start{i} = fadd {kind} zeroinitializer, {term}" for i in range(CHAINS)]
    return "\n".join([
        f"declare {kind} @llvm.fmuladd.v{lanes}f32({kind}, {kind}, {kind})",
        "define void @registers(ptr %table, ptr %map, i64 %low, i64 %high, i64 %chunk) nounwind {",
        "entry:",
        *starts,
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
        *phis,
        *steps,
        "  %next = add i64 %i, 1",
        f"  %more = icmp ult i64 %next, {rounds}",
        "  br i1 %more, label %loop, label %end",
        "end:",
        *sums,
        "  %base = load ptr, ptr %table",
        f"  %place = getelementptr {kind}, ptr %base, i64 %chunk",
        f"  store {kind} %s{CHAINS - 1}, ptr %place",
        "  ret void",
        "}",
        "",
    ])  # fmt: skip


def traffic(nbytes: int, seconds: float = 0.2) -> float:
    """Return bytes per second of ``x + 0.5 * y``, compiled, that moves so many bytes in all."""
    size = max(1, nbytes // 12)
    x, y = mg.tensor(np.ones(size, float32)), mg.tensor(np.full(size, 2, float32))
    add = mg.compile(lambda x, y: x + 0.5 * y, backend="cpu")
    return 12 * size / min(repeated(lambda: add(x, y), seconds))
