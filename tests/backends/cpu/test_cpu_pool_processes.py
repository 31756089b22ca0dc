"""The pool and the life of a process: its end, forks, Ctrl-C, what an import does."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import pytest

from .texts import finish, process, run

SETUP = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
import numpy as np
from minigrad.backends.cpu import pool
from minigrad.backends.cpu.plan import RELEASE, aligned, make_plan
from tests.backends.cpu.kernels import COUNT, MEET, kernel, table, until
pool.set_num_threads(3)
counts = aligned(6)
row = table(counts, aligned(6), aligned(6))
plan = make_plan([(kernel("count", COUNT), [0, 1, 2], 6, 1, 0)] * 50, row, flags=RELEASE)
workers = pool.default_pool()
def works():
    counts[:] = 0
    pool.run(plan.address)
    return counts.tolist() == [50] * 6
assert works() and workers.workers == 2
"""

ENDINGS = {
    "right after a run": "",
    "with sleeping workers": "assert until(lambda: workers.asleep == 2)",
    "by an exception": "try:\n    raise SystemExit(0)\nfinally:\n    works()",
    "with a run at the very end": "import atexit; atexit.register(works)",
    "with a run after the pool was closed": (
        "workers.close(); assert works() and workers.workers == 0"
    ),
    "with a plan running in a daemon thread": """
def forever():
    while True:
        pool.run(plan.address)
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.01)
""",
    "after a fork": """
if os.fork() == 0:
    assert works()
    sys.exit(0)
assert works() and os.wait()[1] == 0
""",
}


@pytest.mark.parametrize("how", ENDINGS)
def test_the_end_of_a_process(how: str) -> None:
    with ExitStack() as stack:
        code = SETUP + ENDINGS[how]
        for child in [stack.enter_context(process(code)) for _ in range(3)]:
            assert finish(child) == ""


def test_importing_starts_no_thread_and_compiles_nothing() -> None:
    code = """
import sys, threading
from minigrad.backends.cpu import pool
assert "llvmlite" not in sys.modules
assert pool.get_num_threads() >= 1
pool.set_num_threads(2)
assert "llvmlite" not in sys.modules
pool.run
assert threading.active_count() == 1
"""
    assert run(code) == ""


FORKS = """
def child(codes, again):
    pid = os.fork()
    if pid == 0:
        alone = workers.workers == 0
        right = works() and works()
        both = workers.workers == 2 and len(threading.enumerate()) == 3
        if right and again:
            inner = []
            child(inner, False)
            right = inner == [0]
        os._exit(0 if alone and right and both else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
codes = []
child(codes, True)                                  # workers awake
assert until(lambda: workers.asleep == 2)
child(codes, True)                                  # workers asleep
stop = []
def busy():
    mine = aligned(6)
    row = table(mine, aligned(6), aligned(6))
    plan = make_plan([(kernel("count", COUNT), [0, 1, 2], 6, 1, 0)] * 5000, row, flags=RELEASE)
    while not stop:
        pool.run(plan.address)
other = threading.Thread(target=busy)
other.start()
for _ in range(20):
    child(codes, False)                             # most often with a region open
stop.append(1)
other.join()
assert works() and workers.workers == 2
print(codes == [0] * 22)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_workers_of_its_own_and_the_parent_keeps_its() -> None:
    assert run(SETUP + FORKS) == "True\n"


INTERRUPTED = """
caught = 0
while caught < 3:
    try:
        print("ready", flush=True)
        while True:
            pool.run(plan.address)
    except KeyboardInterrupt:
        caught += 1
assert works()
print("works")
"""


def test_ctrl_c_between_runs_leaves_the_pool_whole() -> None:
    with process(SETUP + INTERRUPTED) as child:
        assert child.stdout is not None
        for _ in range(3):
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
        assert finish(child) == "works\n"


def test_the_environment_sets_the_number_of_threads() -> None:
    code = SETUP.replace("pool.set_num_threads(3)", "assert pool.get_num_threads() == 3")
    assert run(code, MINIGRAD_NUM_THREADS="3") == ""
