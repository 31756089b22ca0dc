"""The pool: every chunk once, the same bits, order, errors, times, two callers at once."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from minigrad.backends.cpu import driver, pool
from minigrad.backends.cpu.plan import CHECK, RELEASE, SERIAL, TIME, aligned, make_plan
from minigrad.backends.cpu.pool import Pool
from minigrad.backends.cpu.threads import choose, get_num_threads
from minigrad.errors import DataError, GraphInvalid

from .kernels import COUNT, FAULT, MEET, NEXT, PARTIAL, kernel, table, until

SetThreads = Callable[[int], None]

linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
FORMS = [
    pytest.param(True, True, id="futex-python", marks=linux),
    pytest.param(True, False, id="futex-ctypes", marks=linux),
    pytest.param(False, True, id="nap-python"),
    pytest.param(False, False, id="nap-ctypes"),
]
_pools: dict[tuple[bool, bool], Pool] = {}


def pool_of(futex: bool, python: bool) -> Pool:
    key = (futex, python)
    if key not in _pools:
        _pools[key] = Pool(futex=futex, python=python)
    return _pools[key]


@pytest.fixture
def threads() -> Iterator[SetThreads]:
    """Set the number of threads of every pool, until the end of the test."""

    def restart(n: int) -> None:
        choose(n)
        for p in _pools.values():
            p.stop()

    yield restart
    choose(None)
    for p in _pools.values():
        p.stop()


def every_form(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with each way to sleep and each way to call."""
    mark: Callable[..., None] = pytest.mark.parametrize(("futex", "python"), FORMS)(test)
    return mark


@every_form
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_chunk_is_computed_once(
    n: int, futex: bool, python: bool, threads: SetThreads
) -> None:
    p = pool_of(futex, python)
    threads(n)
    address = kernel("count", COUNT)
    steps, runs, chunks = 200, 25, [1, 2, 3, 7, 16]
    counts, lows, highs = aligned(16), aligned(16), aligned(16)
    row = table(counts, lows, highs)
    for c in chunks:
        counts[:] = 0
        plan = make_plan([(address, [0, 1, 2], 10 * c - 3, 10, 0)] * steps, row)
        for _ in range(runs):
            assert p.run(plan.address) == 0
        assert counts[:c].tolist() == [steps * runs] * c
        assert counts[c:].tolist() == [0] * (16 - c)
        assert lows[:c].tolist() == [10 * i for i in range(c)]
        assert highs[:c].tolist() == [min(10 * i + 10, 10 * c - 3) for i in range(c)]
    assert p.workers == n - 1


@every_form
def test_all_threads_take_part(futex: bool, python: bool, threads: SetThreads) -> None:
    """Chunks that wait for each other end only if all run at once: none sleeps on."""
    p = pool_of(futex, python)
    address = kernel("meet", MEET.replace("PATIENCE", "2000000"))
    for n in (2, 4):
        threads(n)
        here, wanted, met = aligned(1), aligned(1), aligned(n)
        wanted[0] = n
        plan = make_plan([(address, [0, 1, 2], n, 1, 0)], table(here, wanted, met))
        for pause in (0.0, 0.0, 0.01, 0.0005, 0.01):
            here[0] = met[:] = 0
            time.sleep(pause)
            p.run(plan.address)
            assert met.tolist() == [1] * n, f"{n} threads after {pause} s"
        assert all(p.taken)


@every_form
def test_the_same_bits_with_any_number_of_threads(
    futex: bool, python: bool, threads: SetThreads
) -> None:
    p = pool_of(futex, python)
    address = kernel("partial", PARTIAL)
    x = np.random.default_rng(0).normal(size=20_011).astype(np.float32)
    partials, total = aligned(41, np.float32), aligned(1, np.float32)
    plan = make_plan(
        [(address, [0, 1], 20_011, 500, 0), (address, [2, 0], 41, 41, 0)],
        table(partials, x, total),
    )
    assert plan.chunks.tolist() == [41, 1]
    seen = set()
    for n in (1, 2, 3, 4):
        threads(n)
        for _ in range(20):
            partials[:] = total[:] = 0
            p.run(plan.address)
            seen.add((partials.tobytes(), total.tobytes()))
    assert len(seen) == 1
    expected = [np.add.accumulate(x[i : i + 500])[-1] for i in range(0, 20_011, 500)]
    np.testing.assert_array_equal(partials, np.array(expected))


@every_form
def test_a_step_sees_all_of_the_step_before(futex: bool, python: bool, threads: SetThreads) -> None:
    p = pool_of(futex, python)
    threads(3)
    size = 40
    address = kernel("next", NEXT.replace("SIZE", str(size)))
    a, b = aligned(size), aligned(size)
    steps = [(address, [i % 2, 1 - i % 2], size, 5, 0) for i in range(400)]
    plan = make_plan(steps, table(a, b))
    b[:] = np.arange(size)
    for _ in range(10):
        p.run(plan.address)
    expected = (np.arange(size) + 4000) % size + 4000
    assert b.tolist() == expected.tolist()


def test_chunks_that_are_too_short_to_share(threads: SetThreads) -> None:
    p = pool_of(False, True)
    threads(4)
    counts = aligned(8)
    row = table(counts, aligned(8), aligned(8))
    address = kernel("count", COUNT)
    before = threading.active_count()
    plan = make_plan([(address, [0, 1, 2], 8, 1, SERIAL), (address, [0, 1, 2], 8, 8, 0)], row)
    p.run(plan.address)
    assert counts.tolist() == [2, 1, 1, 1, 1, 1, 1, 1]
    assert (p.workers, threading.active_count()) == (0, before), "no thread was needed"
    plan = make_plan([(address, [0, 1, 2], 8, 4, 0)], row)
    p.run(plan.address)
    assert (p.workers, threading.active_count()) == (3, before + 3)


def test_nothing_to_do() -> None:
    p = pool_of(False, True)
    counts = aligned(1)
    row = table(counts, aligned(1), aligned(1))
    plan = make_plan([], row)
    assert p.run(plan.address) == 0
    plan = make_plan([(kernel("count", COUNT), [0, 1, 2], 0, 16, CHECK)], row)
    assert plan.chunks.tolist() == [0]
    assert p.run(plan.address) == 0
    assert counts.tolist() == [0]


@every_form
def test_a_failing_step_ends_the_run(futex: bool, python: bool, threads: SetThreads) -> None:
    p = pool_of(futex, python)
    threads(2)
    counts, which = aligned(4), aligned(1)
    row = table(counts, aligned(4), aligned(4), aligned(1), which)
    fault, count = kernel("fault", FAULT), kernel("count", COUNT)
    steps = [(count, [0, 1, 2], 4, 1, 0), (fault, [3, 4], 4, 1, 0), (count, [0, 1, 2], 4, 1, CHECK)]
    plan = make_plan([*steps, steps[0]], row)
    row[3] = plan.error.ctypes.data
    which[0] = 2
    assert p.run(plan.address) == plan.failed == 3, "the step with CHECK, not the faulty one"
    assert counts.tolist() == [2] * 4
    which[0], plan.error[0] = 4, 0  # no such chunk: no fault
    assert p.run(plan.address) == plan.failed == 0
    assert counts.tolist() == [5] * 4


def test_times_are_added_up_when_asked_for() -> None:
    p = pool_of(False, True)
    x, out = aligned(1_000_000, np.float32), aligned(8, np.float32)
    short, long = (kernel("partial", PARTIAL), [1, 0], 10, 10, 0), 1_000_000
    plan = make_plan([short, (short[0], [1, 0], long, long, 0)], table(x, out))
    p.run(plan.address)
    assert plan.ticks.tolist() == [0, 0]
    plan.flags = TIME
    p.run(plan.address)
    first = plan.ticks.copy()
    assert first[1] > first[0] > 0
    p.run(plan.address)
    assert (plan.ticks > first).all()
    plan.ticks[:] = 0
    plan.flags = 0
    p.run(plan.address)
    assert plan.ticks.tolist() == [0, 0]


@every_form
def test_two_callers_at_once(futex: bool, python: bool, threads: SetThreads) -> None:
    p = pool_of(futex, python)
    threads(3)
    address = kernel("count", COUNT)
    wrong: list[object] = []

    def caller(c: int) -> None:
        counts = aligned(c)
        row = table(counts, aligned(c), aligned(c))
        plan = make_plan([(address, [0, 1, 2], c, 1, 0)] * 500, row, flags=RELEASE)
        for i in range(20):
            p.run(plan.address)
            if counts.tolist() != [500 * (i + 1)] * c:
                wrong.append((c, counts.tolist()))

    callers = [threading.Thread(target=caller, args=(c,)) for c in (2, 3, 5, 8)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


@every_form
@pytest.mark.parametrize("release", [True, False])
def test_the_lock_of_the_interpreter(
    release: bool, futex: bool, python: bool, threads: SetThreads
) -> None:
    """A kernel waits for what another Python thread does: only with RELEASE does it happen."""
    p = pool_of(futex, python)
    threads(1)
    patience = "20000000" if release else "2000"
    address = kernel("meet", MEET.replace("PATIENCE", patience))
    here, wanted, met = aligned(1), aligned(1), aligned(1)
    wanted[0] = 2
    plan = make_plan(
        [(address, [0, 1, 2], 1, 1, 0)], table(here, wanted, met), flags=RELEASE * release
    )
    ready = threading.Event()

    def other() -> None:
        ready.set()
        while here[0] == 0:
            time.sleep(0)
        here[0] += 1

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    p.run(plan.address)
    assert met.tolist() == [int(release)]
    thread.join()


@every_form
def test_idle_workers_sleep(futex: bool, python: bool, threads: SetThreads) -> None:
    p = pool_of(futex, python)
    threads(3)
    counts = aligned(4)
    plan = make_plan(
        [(kernel("count", COUNT), [0, 1, 2], 4, 1, 0)], table(counts, aligned(4), aligned(4))
    )
    for i in range(5):
        p.run(plan.address)
        assert until(lambda: p.asleep == 2)
        assert counts.tolist() == [i + 1] * 4
    p.stop()
    assert (p.asleep, p.workers) == (0, 0)


@linux
def test_a_woken_worker_leaves_the_core_of_the_caller(threads: SetThreads) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two processor cores")
    p = pool_of(True, True)
    threads(2)
    plan = make_plan(
        [(kernel("count", COUNT), [0, 1, 2], 2, 1, 0)],
        table(aligned(2), aligned(2), aligned(2)),
    )
    p.run(plan.address)
    for _ in range(5):
        assert until(lambda: p.asleep == 1)
        p.run(plan.address)
        assert until(lambda: p.asleep == 1)
        thread = int(p._halves[(driver.SLOTS + driver.SLOT_THREAD) // 4])
        excluded = int(p._halves[(driver.SLOTS + driver.SLOT_EXCLUDED) // 4])
        assert excluded in cores
        assert os.sched_getaffinity(thread) == cores - {excluded}
    assert os.sched_getaffinity(0) == cores, "the caller's own is untouched"


@every_form
def test_what_is_not_an_address(futex: bool, python: bool) -> None:
    p = pool_of(futex, python)
    with pytest.raises(ValueError, match="not 0"):
        p.run(0)
    with pytest.raises((TypeError, ctypes.ArgumentError)):
        p.run("plan")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        p.run()  # type: ignore[call-arg]


def test_ctrl_c_while_the_workers_are_started(
    threads: SetThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception can leave the driver: the plan ends, alone, and then it is raised."""
    p = pool_of(False, True)
    q = pool_of(False, False)
    threads(2)
    counts = aligned(4)
    plan = make_plan(
        [(kernel("count", COUNT), [0, 1, 2], 4, 1, 0)], table(counts, aligned(4), aligned(4))
    )

    def interrupted() -> None:
        raise KeyboardInterrupt

    for n, each in enumerate((p, q), 1):
        with monkeypatch.context() as patch:
            patch.setattr(each, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                each.run(plan.address)
                until(lambda: False, 1.0)  # it is raised as soon as Python code runs
        assert counts.tolist() == [2 * n - 1] * 4
        each.run(plan.address)
        assert counts.tolist() == [2 * n] * 4
        assert each.workers == 1


def test_no_more_threads_to_be_had(threads: SetThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    p = pool_of(False, True)
    threads(4)
    counts = aligned(4)
    plan = make_plan(
        [(kernel("count", COUNT), [0, 1, 2], 4, 1, 0)], table(counts, aligned(4), aligned(4))
    )
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def scarce(self: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    p.run(plan.address)
    assert counts.tolist() == [1] * 4
    assert p.workers == 1


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: SetThreads) -> None:
    monkeypatch.delenv("MINIGRAD_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert pool.get_num_threads() == cores
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", "5")
    assert pool.get_num_threads() == 5
    pool.set_num_threads(3)
    assert pool.get_num_threads() == 3
    for bad in (0, -1, 1.5, "2"):
        with pytest.raises(DataError, match="set_num_threads"):
            pool.set_num_threads(bad)  # type: ignore[arg-type]
    assert pool.get_num_threads() == 3
    choose(None)
    for text in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", text)
        with pytest.raises(DataError, match="MINIGRAD_NUM_THREADS"):
            pool.get_num_threads()


def test_the_default_pool(threads: SetThreads) -> None:
    counts = aligned(4)
    plan = make_plan(
        [(kernel("count", COUNT), [0, 1, 2], 4, 1, 0)], table(counts, aligned(4), aligned(4))
    )
    for n in (2, 1, 3):
        pool.set_num_threads(n)
        assert pool.run(plan.address) == 0
        assert pool.default_pool().workers == n - 1
    assert counts.tolist() == [3] * 4
    assert pool.run is pool.default_pool().run
    pool.default_pool().stop()
    with pytest.raises(AttributeError, match="sprint"):
        pool.sprint  # noqa: B018


def test_changing_the_number_of_threads_while_plans_run(threads: SetThreads) -> None:
    p = pool_of(False, True)
    counts = aligned(4)
    address = kernel("count", COUNT)
    plan = make_plan(
        [(address, [0, 1, 2], 4, 1, 0)] * 200,
        table(counts, aligned(4), aligned(4)),
        flags=RELEASE,
    )
    runs = []

    def caller() -> None:
        for _ in range(100):
            p.run(plan.address)
            runs.append(1)

    thread = threading.Thread(target=caller)
    thread.start()
    while thread.is_alive():
        for n in (2, 1, 4):
            threads(n)
            time.sleep(0.001)
    thread.join()
    assert counts.tolist() == [200 * len(runs)] * 4 == [20_000] * 4


def test_plans_that_cannot_be_run_are_refused() -> None:
    row = table(aligned(1), aligned(1))
    for step in (
        (0, [0], 1, 1, 0),
        (1, [2], 1, 1, 0),
        (1, [-1], 1, 1, 0),
        (1, [0], -1, 1, 0),
        (1, [0], 1, 0, 0),
        (1, [0], 2**33, 1, 0),
    ):
        with pytest.raises(GraphInvalid, match="step 1"):
            make_plan([(1, [0], 1, 1, 0), step], row)
    for bad in (row.astype(np.int64), row.reshape(1, 2), np.repeat(row, 2)[::2]):
        with pytest.raises(GraphInvalid, match="table"):
            make_plan([], bad)


def test_memory_of_a_plan_is_aligned_and_its_own() -> None:
    import gc

    row = table(aligned(1), aligned(1))
    plan = make_plan([(1, [1, 0], 100, 7, 0), (2, [0], 10, 100, 3)], row, flags=TIME)
    gc.collect()
    assert plan.address % 64 == 0
    words = (ctypes.c_int64 * 6).from_address(plan.address)
    steps, count, where, flags, error, failed = words
    assert (count, where, flags, failed) == (2, row.ctypes.data, TIME, 0)
    assert (steps % 64, error) == (0, plan.error.ctypes.data)
    first = (ctypes.c_int64 * 8).from_address(steps)
    second = (ctypes.c_int64 * 8).from_address(steps + 64)
    assert [first[i] for i in (0, 2, 3, 4, 5, 6)] == [1, 100, 7, 15, 0, 0]
    assert [second[i] for i in (0, 2, 3, 4, 5, 6)] == [2, 10, 100, 1, 3, 0]
    assert list((ctypes.c_int64 * 2).from_address(first[1])) == [1, 0]
    assert list((ctypes.c_int64 * 1).from_address(second[1])) == [0]


def test_pools_of_one_form_do_not_share_their_memory() -> None:
    """Workers of one that look at the words of another would wait for ever."""
    one, other = (Pool(futex=False, python=True) for _ in range(2))
    try:
        one.start()
        assert (one.workers > 0 or get_num_threads() == 1) and other.workers == 0
    finally:
        one.close(), other.close()
