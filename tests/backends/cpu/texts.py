"""LLVM texts for the tests, and the processes that run them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
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


def start(code: str, *args: str, **environment: str) -> subprocess.Popen[str]:
    """Start a Python process in which this minigrad and these texts can be imported."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(code: str, *args: str, **environment: str) -> str:
    """Run a Python process to its end, which must be a clean one; return what it printed."""
    child = start(code, *args, **environment)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, f"exit code {child.returncode}\n{out}\n{err}"
    assert not err, err
    return out
