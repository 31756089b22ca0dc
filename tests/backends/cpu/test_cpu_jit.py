"""Loading native code: errors, the mathematical library, threads, Ctrl-C, forks."""

from __future__ import annotations

import ctypes
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from minigrad.backends.cpu import jit, pieces
from minigrad.backends.cpu.target import named_target
from minigrad.errors import CompileError, MinigradError

from .texts import adder, call, finish, long_function, process, run


def test_functions_of_one_text_share_one_load() -> None:
    text = adder("one", 1) + adder("two", 2)
    found = jit.load(text, ["two", "one"])
    assert list(found) == ["two", "one"]
    assert jit.load(text, ["one"])["one"] == found["one"], "the same code, not another copy"
    assert call("two", text, ctypes.c_int64)(40) == 42


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_every_level_of_effort(level: int) -> None:
    address = jit.load(adder("f", 5), ["f"], level=level)["f"]
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(2) == 7


MATHEMATICS = [
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
    "atanh", "exp", "expm1", "log", "log1p", "erf", "floor", "ceil", "rint", "trunc", "sqrt",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", "f"])
def test_the_mathematical_library_is_found(suffix: str) -> None:
    kind, c = ("float", ctypes.c_float) if suffix else ("double", ctypes.c_double)
    text = "".join(
        f"declare {kind} @{n}{suffix}({kind})\n"
        f"define {kind} @call_{n}({kind} %x) {{\n"
        f"  %y = call {kind} @{n}{suffix}({kind} %x)\n  ret {kind} %y\n}}\n"
        for n in MATHEMATICS
    )
    found = jit.load(text, [f"call_{n}" for n in MATHEMATICS])
    for name in MATHEMATICS:
        x = 1.5 if name == "acosh" else 0.75
        got = ctypes.CFUNCTYPE(c, c)(found[f"call_{name}"])(x)
        reference = {
            "asin": "arcsin", "acos": "arccos", "atan": "arctan",
            "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
        }.get(name, name)  # fmt: skip
        expected = 0.7111556336535151 if name == "erf" else getattr(np, reference)(x)
        assert got == pytest.approx(expected, rel=1e-6), name


@pytest.mark.parametrize("target", ["baseline", "host"])
def test_intrinsics_that_become_calls_are_found(target: str) -> None:
    functions = ["sin", "cos", "exp", "log", "floor", "rint", "fma", "pow"]
    arity = {"fma": 3, "pow": 2}
    text = ""
    for f in functions:
        n = arity.get(f, 1)
        text += f"declare <8 x float> @llvm.{f}.v8f32({', '.join(['<8 x float>'] * n)})\n"
        operands = ", ".join(["<8 x float> %x"] * n)
        text += (
            f"define void @{f}8(ptr %p) {{\n  %x = load <8 x float>, ptr %p, align 4\n"
            f"  %y = call <8 x float> @llvm.{f}.v8f32({operands})\n"
            "  store <8 x float> %y, ptr %p, align 4\n  ret void\n}\n"
        )
    found = jit.load(text, [f"{f}8" for f in functions], target=named_target(target))
    for f in functions:
        x = np.linspace(0.5, 2.5, 8, dtype=np.float32)
        expected = {"fma": lambda v: v * v + v, "pow": lambda v: v**v}.get(f) or getattr(np, f)
        wanted = expected(x)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(found[f"{f}8"])(x.ctypes.data)
        np.testing.assert_allclose(x, wanted, rtol=1e-6, err_msg=f)


FAULTY = {
    "syntax": (
        adder("f", 1) + "define void @g() {\n  %x = add i32 1, 2.0\n  ret void\n}\n",
        "floating point constant invalid",
        "line 6: %x = add i32 1, 2.0",
    ),
    "dominance": (
        "define i32 @f(i32 %a) {\n  br label %b\nc:\n  %x = add i32 %a, 2\n  ret i32 %x\n"
        "b:\n  ret i32 %x\n}\n",
        "does not dominate",
        "line 4: %x = add i32 %a, 2",
    ),
    "undefined": (
        adder("f", 1) + "declare void @no_such_function()\n"
        "define void @g() {\n  call void @no_such_function()\n  ret void\n}\n",
        "undefined: no_such_function",
        "line 5: declare void @no_such_function()",
    ),
    "unterminated": ("define void @f() {\n  ret void\n", "found end of file", "line 2: ret void"),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_a_faulty_text_is_an_error_with_its_line(kind: str) -> None:
    text, message, line = FAULTY[kind]
    with pytest.raises(CompileError, match=message) as caught:
        jit.load(text, ["f"])
    assert isinstance(caught.value, MinigradError)
    assert isinstance(caught.value, RuntimeError)
    assert line in str(caught.value)
    assert caught.value.at is not None
    assert "test_cpu_jit.py" in caught.value.at, "the caller's own line"
    assert call("f", adder("f", 3), ctypes.c_int64)(1) == 4, "the next text is unharmed"


def test_the_line_is_that_of_the_whole_text_when_it_is_compiled_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "LINES", 8)
    text = "".join(adder(f"f{i}", i) for i in range(20))
    lines = (text + "define void @g() {\n  %x = add i32 1, 2.0\n  ret void\n}\n").splitlines()
    with pytest.raises(CompileError) as caught:
        jit.load("\n".join(lines) + "\n", ["g"])
    assert f"line {lines.index('  %x = add i32 1, 2.0') + 1}: " in str(caught.value)


def test_a_name_that_the_text_does_not_define() -> None:
    with pytest.raises(CompileError, match="no function h"):
        jit.load(adder("f", 1), ["h"])
    with pytest.raises(CompileError, match="no function h"):
        jit.load(adder("f", 1) + "define internal void @h() {\n  ret void\n}\n", ["h"])


def test_many_threads_load_at_once() -> None:
    texts = [adder("f", i % 10 + 1000) for i in range(60)]

    def work(i: int) -> int:
        return int(call("f", texts[i], ctypes.c_int64)(1))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(60))) == [i % 10 + 1001 for i in range(60)]


LONG = """
import os, signal, sys, threading, time
from pathlib import Path
from minigrad.backends.cpu import jit, objects
from tests.backends.cpu.texts import adder, long_function, call
import ctypes
text = "".join(long_function(f"f{i}", 100) for i in range(2000))
print("ready", flush=True)
try:
    jit.load(text, ["f0"])
except KeyboardInterrupt:
    print("interrupted")
assert not jit._loaded
assert not list(objects.folder().glob("*"))
assert call("g", adder("g", 1), ctypes.c_int64)(1) == 2  # waits for the piece in progress
print("works", len(list(objects.folder().glob("*.objects"))), threading.active_count())
"""


def test_ctrl_c_stops_a_long_compilation(tmp_path: Path) -> None:
    with process(LONG, MINIGRAD_CACHE_DIR=str(tmp_path)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):  # it compiles, and would for long
            child.wait(1.0)
        child.send_signal(signal.SIGINT)
        assert finish(child) == "interrupted\nworks 1 1\n"


FORK = """
import ctypes, os, sys, threading, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
from minigrad.backends.cpu import jit
from tests.backends.cpu.texts import adder, call, long_function
before = call("f", adder("f", 10), ctypes.c_int64)
text = "".join(long_function(f"f{i}", 100) for i in range(200))
other = threading.Thread(target=jit.load, args=(text, ["f0"]))
other.start()
codes = []
for i in range(3):
    pid = os.fork()
    if pid == 0:
        right = before(1) == 11 and call("g", adder("g", i), ctypes.c_int64)(1) == 1 + i
        os._exit(0 if right else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
other.join()
print(codes)
"""


def test_a_fork_while_another_thread_compiles(tmp_path: Path) -> None:
    assert run(FORK, MINIGRAD_CACHE_DIR=str(tmp_path)) == "[0, 0, 0]\n"


def test_code_outlives_every_reference_to_it() -> None:
    import gc

    function = call("f", adder("f", 77), ctypes.c_int64)
    jit._loaded.clear()
    gc.collect()
    for i in range(20):
        call("f", adder("f", 2000 + i), ctypes.c_int64)
    assert function(1) == 78


def test_assembly_shows_what_is_compiled() -> None:
    assert "fmul" not in jit.assembly(long_function("f", 3))
    assert "f:" in jit.assembly(long_function("f", 3))
    with pytest.raises(CompileError):
        jit.assembly("define nothing")
