"""Ctrl-C at any moment: a compiled step updates all of its state or none; recording is sane."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import recorder

needs_timer = pytest.mark.skipif(
    not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread(),
    reason="interrupts are sent with setitimer, to the main thread",
)


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in the body after some time, as Ctrl-C does.

    Callbacks of the collector, such as Hypothesis has, are put aside: what is raised in one
    of them is lost.
    """
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        gc.callbacks[:] = callbacks


@pytest.mark.host  # what a device has begun it ends: there is nothing in between to be seen
def test_a_compiled_step_updates_all_of_its_state_or_none() -> None:
    """Python may be interrupted before any of its operations: the state is whole at each."""
    cells = [mg.Buffer(np.zeros(2), f"b{i}") for i in range(4)]

    @mg.compile
    def step() -> None:
        for cell in cells:
            cell.assign(cell + 1.0)

    step()
    step()
    seen: list[set[float]] = []

    def watch(frame: Any, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen.append({float(cell.array[0]) for cell in cells})
        return watch

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for it when tracing begins
    sys.settrace(watch)
    try:
        step()
    finally:
        sys.settrace(before)
    assert set.union(*seen) == {2.0, 3.0}, "before the step, and after it"
    assert all(len(values) == 1 for values in seen), "some cells are a step ahead of others"


def endless(x: Any) -> Any:
    """Return after seconds, if nothing interrupts it: then the test fails."""
    for _ in range(300_000):
        x = mg.tanh(x)
    return mg.sum(x)


@needs_timer
@pytest.mark.parametrize(
    "run",
    [
        lambda: mg.trace(endless, mg.spec((3,))),
        lambda: mg.compile(endless)(mg.ones(3)),
        lambda: mg.grad(endless)(mg.ones(3)),
        lambda: mg.vmap(endless)(mg.ones((2, 3))),
        lambda: mg.checkpoint(endless)(mg.ones(3)),
        lambda: mg.nn.Sequential(Endless())(mg.ones(3)),
    ],
)
def test_recording_is_as_before_after_an_interrupt(run: Callable[[], Any]) -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.02):
        run()
    assert recorder.tape is None and recorder.partner is None and recorder.source is None
    assert recorder.scope == () and recorder.transforming == 0 and recorder.recording
    assert gc.isenabled()
    assert mg.compile(lambda x: x + 1.0)(mg.ones(2)).tolist() == [2.0, 2.0]


class Endless(mg.nn.Module):
    def forward(self, x: Any) -> Any:
        return endless(x)
