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


def test_errors_show_the_operand_its_place_and_a_repair() -> None:
    x = mg.ones((2, 3))
    wrong: list[Any] = [
        lambda: mg.sum(x, axis=2), lambda: x.reshape(4, 2), lambda: x[5], lambda: x[0, 0, 0],
        lambda: mg.expand_dims(x, axis=4), lambda: mg.concat([x, mg.ones((3, 2))]),
        lambda: mg.stack([x, mg.ones(2)]), lambda: mg.vecdot(x, mg.ones((2, 4))),
        lambda: mg.einsum("ij,jk", x, x), lambda: mg.take(x, [0]), lambda: mg.argmax(x, axis=7),
        lambda: mg.mean(x, axis=(0, 0)), lambda: mg.tensordot(x, x, axes=1),
    ]  # fmt: skip
    for f in wrong:
        with pytest.raises(mg.errors.MinigradError) as caught:
            f()
        error = caught.value
        assert "f32[2, 3]" in "".join(error.operands), error
        assert "test_origin.py, line" in "".join(error.operands)
        assert error.at and "test_origin.py, line" in error.at
        assert error.fix, error


def test_a_literal_is_shown_as_the_number_that_it_is() -> None:
    with pytest.raises(mg.errors.DtypeError) as caught:
        mg.ones(3) << 1
    assert caught.value.operands[1].split() == ["1", "f32[3]", "a", "Python", "number"]


def test_the_shell_that_runs_a_magic_is_not_the_users_place() -> None:
    scope: dict[str, Any] = {"mg": mg}
    shell = str(Path("/lib", "IPython", "core", "interactiveshell.py"))
    exec(compile("def magic():\n    return mg.exp(mg.tensor([1.0]))", shell, "exec"), scope)
    exec(compile("\n\ny = magic()", "cell.py", "exec"), scope)
    assert scope["y"].node.origin.label == "cell.py, line 3"
