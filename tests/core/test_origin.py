"""Where a node comes from: the user's line, wherever the user's file lies."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg
from minigrad.core.collector import paused_collector


def run_as(file: str) -> Any:
    """Return a tensor made by a program of two lines that lies in ``file``."""
    scope: dict[str, Any] = {"mg": mg}
    exec(compile("\ny = mg.exp(mg.tensor([1.0]))", file, "exec"), scope)
    return scope["y"]


def test_a_file_beside_the_package_is_the_users_own() -> None:
    package = str(Path(mg.__file__).parent)
    for file in (f"{package}_demo.py", f"{package}-models/train.py", "/tmp/minigrad.py"):
        origin = run_as(file).node.origin
        assert (origin.file, origin.line) == (file, 2)
        assert origin.label == f"{Path(file).name}, line 2"
    inside = run_as(f"{package}/nn/other.py").node.origin
    assert Path(inside.file).name == "test_origin.py", "what lies in the package is not"


def test_the_collector_pauses_while_a_graph_is_made_and_goes_on_after() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append(gc.isenabled())
        return mg.sum(x * x)

    assert gc.isenabled()
    mg.trace(f, mg.spec((3,))).grad().simplify()
    mg.compile(f)(mg.ones(3))
    assert seen == [False, False]
    assert gc.isenabled()
    with pytest.raises(mg.errors.TraceError):
        mg.trace(lambda x: float(x), mg.spec())
    assert gc.isenabled(), "after an error too"
    gc.disable()
    try:
        mg.trace(f, mg.spec((3,)))
        assert not gc.isenabled(), "whoever switched it off keeps it off"
    finally:
        gc.enable()


def test_several_threads_may_pause_the_collector() -> None:
    first, last = threading.Event(), threading.Event()

    def long() -> None:
        with paused_collector():
            first.set()
            last.wait(10)

    thread = threading.Thread(target=long)
    thread.start()
    first.wait(10)
    with paused_collector():
        pass
    assert not gc.isenabled(), "the other thread is still inside"
    last.set()
    thread.join()
    assert gc.isenabled()
