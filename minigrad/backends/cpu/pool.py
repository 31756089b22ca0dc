"""The threads that run plans: one pool for the process, and the function that runs a plan.

``run(address)`` executes the plan at an address and returns 0, or 1 + the index of the step
after which it stopped. The workers are Python threads that entered native code once and
stay there; they begin when the first step that can be shared is reached. The pool serves
one step at a time. A second thread that runs a plan meanwhile computes its steps alone.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import driver
from .bound import layout
from .jit import host_target, load
from .plan import CHECK, RELEASE, SERIAL, TIME, PlanHandle, make_plan
from .threads import choose, get_num_threads

__all__ = [
    "CHECK",
    "RELEASE",
    "SERIAL",
    "TIME",
    "PlanHandle",
    "Pool",
    "default_pool",
    "get_num_threads",
    "held_count",
    "make_plan",
    "run",
    "set_num_threads",
]

#: Nanoseconds that an idle worker watches for work before it sleeps.
WATCH = 100_000

_numbers = itertools.count()

#: Runs the plan at an address: the driver of :func:`default_pool`, made when first asked for.
run: Callable[[int], int]


def __getattr__(name: str) -> Any:
    if name == "run":
        globals()["run"] = function = default_pool().run
        return function
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Pool:
    """Workers, and the memory through which the driver speaks to them.

    Parameters
    ----------
    futex
        Whether workers sleep in the kernel until woken, as Linux allows, or in short naps.
    python
        Whether ``run`` is a function of CPython's own kind (30 ns) or goes through ctypes.
    """

    def __init__(self, *, futex: bool, python: bool) -> None:
        target = host_target()
        text = driver.driver_text(target.arch, sys.platform, futex=futex, python=python)
        text += f"\n; pool {next(_numbers)}\n"  # equal texts would share the pool's memory
        names = ["pool_memory", "plan_run", "worker", "wake_all"] + [
            "python_run",
            "python_call",
        ] * python
        code = load(text, names, target=target)
        address = ctypes.CFUNCTYPE(ctypes.c_void_p)(code["pool_memory"])()
        memory = memoryview((ctypes.c_char * driver.SIZE).from_address(address)).cast("B")
        self._words = np.frombuffer(memory, np.int64)
        self._halves = np.frombuffer(memory, np.int32)
        self._worker = ctypes.CFUNCTYPE(None, ctypes.c_int64)(code["worker"])
        self._wake_all = ctypes.CFUNCTYPE(None, ctypes.c_int64)(code["wake_all"])
        self._callback = ctypes.CFUNCTYPE(None)(self._begin)
        self._affine = futex
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._words[driver.SPIN // 8] = WATCH
        callback = ctypes.cast(self._callback, ctypes.c_void_p).value
        self._words[driver.CALLBACK // 8] = callback or 0
        #: Runs the plan at an address; see the module.
        self.run = _method(code["python_run"], 8) if python else self._foreign(code["plan_run"])
        #: Binds arrays to a plan and runs it; None where that is not possible. See ``bound``.
        self.call = _method(code["python_call"], 128) if python and layout() else None
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self.close)

    def _foreign(self, address: int) -> Callable[[int], int]:
        """Return the portable form of ``run``."""
        held = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(address)
        released = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(address)
        word = ctypes.c_int64.from_address
        interrupted = word(self._words.ctypes.data + driver.INTERRUPTED)

        def run(plan: int) -> int:
            if plan == 0:
                raise ValueError("the address of a plan is not 0")
            failed: int = (released if word(plan + 24).value & RELEASE else held)(plan)
            if interrupted.value:
                interrupted.value = 0
                signal.raise_signal(signal.SIGINT)
            return failed

        return run

    @property
    def workers(self) -> int:
        """How many threads are at work beside the caller of ``run``, or would be."""
        return int(self._words[driver.WORKERS // 8])

    @property
    def asleep(self) -> int:
        """How many workers sleep."""
        return int(self._words[driver.SLEEPERS // 8])

    @property
    def taken(self) -> list[int]:
        """Chunks that each worker has computed since it began."""
        return [int(self._words[_slot(i, driver.SLOT_TAKEN) // 8]) for i in range(self.workers)]

    def _begin(self) -> None:
        """Start the workers; called by the driver, where no exception can be raised."""
        try:
            self.start()
        except KeyboardInterrupt:  # the plan goes on alone, and raises it when it has ended
            self._words[driver.INTERRUPTED // 8] = 1

    def start(self) -> None:
        """Start ``get_num_threads() - 1`` workers, unless this was done before."""
        with self._lock:
            if self._words[driver.STARTED // 8]:
                return
            self._halt()
            self._set_mask()
            for i in range(min(get_num_threads() - 1, driver.WORKERS_AT_MOST)):
                self._words[_slot(i, 0) // 8 : _slot(i + 1, 0) // 8] = 0
                self._halves[_slot(i, driver.SLOT_EXCLUDED) // 4] = -1
                thread = threading.Thread(
                    target=self._work, args=(i,), name=f"minigrad-{i}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the system has no more threads to give
                    break
                self._threads.append(thread)
            self._await(len(self._threads))
            self._words[driver.WORKERS // 8] = len(self._threads)
            self._words[driver.STARTED // 8] = 1

    def _work(self, i: int) -> None:
        self._halves[_slot(i, driver.SLOT_THREAD) // 4] = threading.get_native_id()
        self._worker(i)

    def _await(self, count: int) -> None:
        """Wait a little for workers to enter native code; whoever is late joins later."""
        alive = [_slot(i, driver.SLOT_ALIVE) // 4 for i in range(count)]
        until = time.monotonic() + 0.1
        while not all(self._halves[i] for i in alive) and time.monotonic() < until:
            time.sleep(20e-6)

    def _set_mask(self) -> None:
        """Tell the driver which cores there are, if it may move workers between them."""
        self._words[driver.CPUS // 8] = 0
        if not self._affine:
            return
        cores = os.sched_getaffinity(0)
        if len(cores) > 1 and max(cores) < 1024:
            mask = sum(1 << core for core in cores)
            at = driver.MASK // 8
            self._words[at : at + 16] = np.frombuffer(mask.to_bytes(128, "little"), np.int64)
            self._words[driver.CPUS // 8] = 1

    def stop(self) -> None:
        """Let the workers leave; the next step that can be shared starts them again."""
        with self._lock:
            self._halt()
            self._words[driver.STARTED // 8] = 0

    def _halt(self) -> None:
        self._words[driver.STOP // 8] = 1
        self._wake_all(len(self._threads))
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._words[driver.WORKERS // 8] = 0
        self._words[driver.STOP // 8] = 0

    def close(self) -> None:
        """Let the workers leave for good, at the end of the process."""
        with self._lock:
            self._halt()
            self._words[driver.STARTED // 8] = 1

    def _forked(self) -> None:
        """Forget, in a child, the workers that only its parent has."""
        self._lock = threading.RLock()
        self._threads.clear()
        kept = (driver.CALLBACK, driver.SPIN)
        values = [int(self._words[at // 8]) for at in kept]
        self._words[: driver.SLOTS // 8] = 0
        for at, value in zip(kept, values, strict=True):
            self._words[at // 8] = value


def _slot(i: int, field: int) -> int:
    return driver.SLOTS + driver.STRIDE * i + field


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_definitions: list[_MethodDef] = []


def _method(address: int, flags: int) -> Callable[..., int]:
    """Return native code as a Python function: METH_O is 8, METH_FASTCALL is 128."""
    definition = _MethodDef(b"run", address, flags, b"Run the plan at an address.")
    _definitions.append(definition)  # the function points to it
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    function: Callable[..., int] = make(ctypes.addressof(definition), None, None)
    return function


class _Holder:
    """Holds an array as a state cell does."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = np.zeros(2)


@cache
def held_count() -> int:
    """Return the reference count, during a native call, of an array that one place holds."""
    call, found, holder = default_pool().call, layout(), _Holder()
    assert call is not None and found is not None
    for count in range(1, 8):
        plan = make_plan([], np.zeros(1, np.uint64))
        plan.bind([0], [0], found, count)
        if call(plan.address, holder._held) == 0:
            return count
    return 0  # no array will pass for owned


@cache
def default_pool() -> Pool:
    """Return the process's pool. No thread is started by this."""
    return Pool(
        futex=driver.has_futex(host_target().arch, sys.platform),
        python=platform.python_implementation() == "CPython",
    )


def set_num_threads(n: int) -> None:
    """Set how many threads compute. Results do not depend on it, to the last bit.

    Raises
    ------
    DataError
        If n is less than 1.
    """
    choose(n)
    if default_pool.cache_info().currsize:
        default_pool().stop()
