"""LLVM texts for the tests, and the processes that run them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minigrad.backends.cpu import jit

ROOT = Path(__file__).parents[3]


def adder(name: str, n: int) -> str:
    """``name(x) = x + n`` on 64-bit integers."""
    return f"define i64 @{name}(i64 %x) {{\n  %y = add i64 %x, {n}\n  ret i64 %y\n}}\n"


def long_function(name: str, lines: int) -> str:
    """A function that takes a while to compile: a chain of floating-point operations."""
    body = "".join(f"  %v{i + 1} = fmul <16 x float> %v{i}, %v{i // 2}\n" for i in range(lines))
    return (
        f"define void @{name}(ptr %p) {{\n  %v0 = load <16 x float>, ptr %p\n{body}"
        f"  store <16 x float> %v{lines}, ptr %p\n  ret void\n}}\n"
    )


def call(name: str, text: str, *types: Any, result: Any = ctypes.c_int64) -> Callable[..., Any]:
    """Return a function of a text, to be called from Python."""
    return ctypes.CFUNCTYPE(result, *types)(jit.load(text, [name])[name])


@contextmanager
def process(code: str, *args: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that can import this minigrad and these texts; it ends with the block."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def finish(child: subprocess.Popen[str]) -> str:
    """Wait for the end of a process, which must be a clean one; return what it printed."""
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, f"exit code {child.returncode}\n{out}\n{err}"
    assert not err, err
    return out


def run(code: str, *args: str, **environment: str) -> str:
    """Run a Python process to its clean end; return what it printed."""
    with process(code, *args, **environment) as child:
        return finish(child)
