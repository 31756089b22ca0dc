"""What the native driver, its pool and the loader cost: ``python tests/benchmarks/native.py``.

Medians; the smallest of the repetitions in brackets. Other processes disturb these numbers.
"""

# ruff: noqa: T201
from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import repeat

import numpy as np

from minigrad.backends.cpu import jit, pool, threads
from minigrad.backends.cpu.plan import RELEASE, SERIAL, aligned, make_plan

NOTHING = """
define void @nothing(ptr %table, ptr %map, i64 %low, i64 %high, i64 %chunk) nounwind {
  ret void
}
"""
#: A chain of multiply-adds, one a row: 4 cycles each.
WORK = """
declare double @llvm.fmuladd.f64(double, double, double)
define void @work(ptr %table, ptr %map, i64 %low, i64 %high, i64 %chunk) nounwind {
entry:
  br label %loop
loop:
  %i = phi i64 [ %low, %entry ], [ %next, %loop ]
  %x = phi double [ 1.0, %entry ], [ %y, %loop ]
  %y = call double @llvm.fmuladd.f64(double %x, double 0x3FEFFFFFFFFFFFFF, double 0x3E000000)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %high
  br i1 %more, label %loop, label %end
end:
  %k = load i64, ptr %map
  %t = getelementptr ptr, ptr %table, i64 %k
  %b = load ptr, ptr %t
  %p = getelementptr double, ptr %b, i64 %chunk
  store double %y, ptr %p
  ret void
}
""".replace("0x3E000000", "0x3E00000000000000")


def vector_function(name: str, operations: int) -> str:
    """A kernel's size in instructions: a chain of vector operations."""
    lines = [f"  %v{i + 1} = fmul <8 x float> %v{i}, %v{i // 2}" for i in range(operations)]
    head = f"define void @{name}(ptr %p) {{\n  %v0 = load <8 x float>, ptr %p\n"
    return (
        head + "\n".join(lines) + f"\n  store <8 x float> %v{operations}, ptr %p\n  ret void\n}}\n"
    )


def line(what: str, times: list[float], scale: float, unit: str) -> None:
    """Print one result."""
    ordered = sorted(times)
    middle = ordered[len(ordered) // 2]
    print(f"{what:58s} {middle * scale:9.3g} {unit}  ({ordered[0] * scale:.3g})")


def times(work: Callable[[], object], n: int) -> list[float]:
    """Return how long each of n repetitions took."""
    found = []
    for _ in range(n):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def calls(function: Callable[[int], int], argument: int, n: int = 50_000) -> list[float]:
    """Return the time of one call, without that of a loop in Python."""
    loop = [t / n for t in times(lambda: deque(repeat(argument, n), maxlen=0), 15)]
    all = [t / n for t in times(lambda: deque(map(function, repeat(argument, n)), maxlen=0), 15)]
    return [t - min(loop) for t in all]


def plans() -> None:
    """Time the driver: a call, a step, fork and join, waking up."""
    nothing = jit.load(NOTHING, ["nothing"])["nothing"]
    work = jit.load(WORK, ["work"])["work"]
    buffer = aligned(64, np.float64)
    table = aligned(1, np.uint64)
    table[0] = buffer.ctypes.data
    portable = pool.Pool(futex=False, python=False)
    workers = pool.default_pool()
    empty, released = make_plan([], table), make_plan([], table, flags=RELEASE)
    line("a plan without steps", calls(workers.run, empty.address), 1e9, "ns")
    line("  the GIL released and taken again", calls(workers.run, released.address), 1e9, "ns")
    line("  through ctypes", calls(portable.run, empty.address, 5000), 1e9, "ns")
    steps = 2000
    for chunks, flags, what in (
        (1, 0, "a step without chunks"),
        (2, SERIAL, "a step of 2 chunks, on the calling thread"),
        (1, 0, ""),
        (2, 0, "fork and join, 2 empty chunks"),
        (8, 0, "fork and join, 8 empty chunks"),
    ):
        plan = make_plan([(nothing, [0], chunks, 1, flags)] * steps, table)
        workers.run(plan.address)
        found, joined = [], []
        for _ in range(301):
            before = sum(workers.taken)
            (spent,) = times(lambda p=plan: workers.run(p.address), 1)  # type: ignore[misc]
            share = (sum(workers.taken) - before) / (steps * chunks)
            (joined if share > 0.02 else found).append(spent / steps)
        if what and found:
            line(f"{what}, no worker came", found, 1e9, "ns")
        if what and joined:
            line(f"{what}, workers took over 2 %", joined, 1e9, "ns")
    for rows, chunks in ((4600, 32), (4600, 8), (4600, 2)):
        serial = make_plan([(work, [0], rows * chunks, rows, SERIAL)], table)
        shared = make_plan([(work, [0], rows * chunks, rows, 0)], table)
        what = f"{chunks} chunks of {rows} multiply-adds"
        line(f"{what}, one thread", times(lambda p=serial: workers.run(p.address), 101), 1e6, "us")  # type: ignore[misc]
        line(f"{what}, shared", times(lambda p=shared: workers.run(p.address), 301), 1e6, "us")  # type: ignore[misc]
        cold = []
        for _ in range(60):
            time.sleep(0.002)
            cold += times(lambda p=shared: workers.run(p.address), 1)  # type: ignore[misc]
        line(f"{what}, shared after 2 ms of idleness", cold, 1e6, "us")
    before_cpu = time.process_time()
    time.sleep(1)
    line(
        "processor time of the pool in 1 s of idleness",
        [time.process_time() - before_cpu],
        1e3,
        "ms",
    )


def loading() -> None:
    """Time the compiler, and the caches on the disk and in memory."""
    arch, system = jit.host_target().arch, os.uname().sysname.lower()
    driver = pool.driver.driver_text(
        arch, system, futex=pool.driver.has_futex(arch, system), python=True
    )
    texts = {
        "the driver": (driver, "plan_run"),
        "30 kernels of 100 operations": (
            "".join(vector_function(f"f{i}", 100) for i in range(30)), "f0",
        ),
        "400 kernels of 100 operations": (
            "".join(vector_function(f"f{i}", 100) for i in range(400)), "f0",
        ),
    }  # fmt: skip
    for what, (text, name) in texts.items():

        def load(text: str = text, name: str = name) -> None:
            jit.load(text, [name])

        def forgotten() -> None:
            jit._loaded.clear()
            load()

        for n in sorted({1, threads.get_num_threads()}):
            threads.choose(n)
            cold = []
            for _ in range(3):
                with tempfile.TemporaryDirectory() as empty:
                    os.environ["MINIGRAD_CACHE_DIR"] = empty
                    cold += times(forgotten, 1)
                    kept = times(forgotten, 9)
            line(f"{what}: compiled by {n} thread(s)", cold, 1e3, "ms")
        threads.choose(None)
        line(f"{what}: from the disk", kept, 1e3, "ms")
        line(f"{what}: from memory", times(load, 9), 1e3, "ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINIGRAD_CACHE_DIR"] = folder
        cpu, load = jit.host_target().cpu, os.getloadavg()[0]
        print(f"{cpu}, {pool.get_num_threads()} threads; load {load:.1f}")
        plans()
        loading()
        assert threading.active_count() == pool.default_pool().workers + 1
