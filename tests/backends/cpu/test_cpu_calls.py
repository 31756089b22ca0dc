"""Calls of one compiled function at once, within each other, after a fork; failed compilations."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends.cpu import emit, program
from minigrad.backends.cpu.executable import Executable, compile_graph
from minigrad.core import apply, registry
from minigrad.errors import CompileError
from minigrad.passes import finalise

RNG = np.random.default_rng(0)


def executable_of(f: Callable[..., Any], *args: Any) -> Executable:
    return compile_graph(finalise(mg.trace(f, *args)))


SHORT = RNG.normal(size=(8, 5))
LONG = RNG.normal(size=(400, 300))

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "short": (lambda x: (mg.tanh(x) + x, mg.sum(x, 0)), SHORT),
    "long": (lambda x: (mg.softmax(mg.tanh(x) @ mg.matrix_transpose(x)), mg.sum(x * x, 0)), LONG),
    "with a step in Python": (lambda x: (mg.sort(mg.sin(x), axis=1), mg.sum(x, 0)), LONG),
}


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_threads_call_one_function_at_once(name: str, direct: bool) -> None:
    """Each with its own arrays: there is one memory, and native code lets go of Python's lock."""
    f, x = FUNCTIONS[name]
    compiled: Any = executable_of(f, x) if direct else mg.compile(f, backend="cpu")
    inputs = [x + k for k in range(4)]
    expected = [[np.array(r) for r in compiled(i)] for i in inputs]
    barrier = threading.Barrier(4)

    def work(k: int) -> int:
        barrier.wait()
        for _ in range(30):
            with mg.no_grad():
                found = compiled(inputs[k])
            for mine, wanted in zip(found, expected[k], strict=True):
                if np.array(mine).tobytes() != wanted.tobytes():
                    return 1
        return 0

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 0


def test_call_within_a_call_of_the_same_function() -> None:
    """As a signal's handler may. The inner one goes node by node: it would wait for ever."""
    f = lambda x: mg.sort(mg.sin(x), axis=1) * 2.0
    executable = executable_of(f, SHORT)
    expected = executable(SHORT)[0].copy()
    inner: list[np.ndarray] = []
    original = executable._reference

    def within(*args: Any) -> None:
        if not inner:
            inner.append(np.zeros(0))
            inner.append(executable(SHORT * 2)[0])
        original(*args)

    executable._reference = within  # type: ignore[method-assign]
    assert executable(SHORT)[0].tobytes() == expected.tobytes()
    np.testing.assert_allclose(inner[1], np.sort(np.sin(SHORT * 2), axis=1) * 2)
    executable._reference = original  # type: ignore[method-assign]
    assert executable(SHORT)[0].tobytes() == expected.tobytes()


class Meeting:
    """A group of two threads: each waits until the other has come, as an ``all_reduce`` does."""

    rank, size = 0, 2

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=20)
        self.parts: list[np.ndarray] = []

    def all_reduce(self, x: np.ndarray) -> np.ndarray:
        self.parts.append(x)
        self.barrier.wait()
        total = self.parts[-2] + self.parts[-1]
        self.barrier.wait()
        return total


def test_threads_that_wait_for_each_other_within_a_step() -> None:
    """Two workers with one compiled function: neither may keep the other from the meeting."""
    group = Meeting()
    x = mg.spec((3,), np.float64)

    def f(x: Any) -> Any:
        return apply(registry["all_reduce"], (x * 2.0,), {"group": group}) + 1.0

    executable = executable_of(f, x)
    assert not executable.waits
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda k: executable(np.full(3, float(k)))[0], (1, 2)))
    assert [r.tolist() for r in found] == [[7.0] * 3] * 2


def test_interrupted_call_leaves_the_function_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    executable = executable_of(lambda x: mg.sort(mg.sin(x), axis=1), SHORT)
    expected = executable(SHORT)[0].copy()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executable, "_reference", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                executable(SHORT)
    assert executable(SHORT)[0].tobytes() == expected.tobytes()
    assert not executable._users and not executable._lock.locked()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts are sent with setitimer")
def test_ctrl_c_in_a_run_is_raised_and_the_next_run_is_right() -> None:
    x = RNG.normal(size=(600, 600))

    def f(x: Any) -> Any:
        for _ in range(6):
            x = mg.tanh(x @ x * 0.01)
        return x

    compiled = mg.compile(f, backend="cpu")
    expected = np.array(compiled(x))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                until = time.monotonic() + 20
                while time.monotonic() < until:
                    compiled(x)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            assert np.array(compiled(x)).tobytes() == expected.tobytes()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_child_of_a_fork_calls_what_the_parent_compiled(name: str) -> None:
    """Also while another thread of the parent is in the middle of a call."""
    f, x = FUNCTIONS[name]
    compiled: Any = mg.compile(f, backend="cpu")
    with mg.no_grad():
        expected = [np.array(r).tobytes() for r in compiled(x)]
    stop = threading.Event()

    def busy() -> None:
        with mg.no_grad():
            while not stop.is_set():
                compiled(x)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    signal.alarm(30)
                    with mg.no_grad():
                        found = [np.array(r).tobytes() for r in compiled(x)]
                    code = 0 if found == expected else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


# Compilations that fail ---------------------------------------------------------------


def layers(x: Any) -> Any:
    wrong = mg.tag(mg.tanh(x), "wrong")
    return mg.sum(wrong * 2.0)


def test_text_that_llvm_refuses_is_an_error_that_names_the_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = program._module

    def broken(texts: Any, declarations: Any) -> str:
        return original(texts, declarations).replace("ret void", "ret i32 0")

    compiled = mg.compile(layers, backend="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(program, "_module", broken)
        with pytest.raises(CompileError, match="not accepted by LLVM") as caught:
            compiled(SHORT)
    text = str(caught.value)
    assert "wrong" in text and "test_cpu_calls.py" in text and 'backend="numpy"' in text
    assert compiled(SHORT).item() == pytest.approx(np.tanh(SHORT).sum() * 2)
    assert mg.compile(layers, backend="numpy")(SHORT).item() == pytest.approx(
        compiled(SHORT).item()
    )


def test_kernel_that_cannot_be_written_is_an_error_that_names_the_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise AssertionError("no way to write this")

    compiled = mg.compile(layers, backend="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(emit.Emitter, "_term", broken)
        with pytest.raises(CompileError, match="no way to write this") as caught:
            compiled(SHORT)
    assert "wrong" in str(caught.value)
    assert isinstance(caught.value.__cause__, AssertionError)
    assert compiled(SHORT).item() == pytest.approx(np.tanh(SHORT).sum() * 2)


def test_graph_that_cannot_be_scheduled_is_an_error_of_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a node")

    with monkeypatch.context() as patch:
        patch.setattr(program, "bodies", broken)
        with pytest.raises(CompileError, match="graph layers"):
            mg.compile(layers, backend="cpu")(SHORT)
