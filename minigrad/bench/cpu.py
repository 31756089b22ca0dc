"""The workloads on the compiled CPU backend, beside what the machine can do.

Each runs in two processes of its own: with an empty cache on the disk, and with what the
first has left there. The first call is that of the first process, and that of the second;
everything else is the second's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

from minigrad.backends import backend_named
from minigrad.errors import MinigradError

from .single import Result
from .timing import machine, table
from .workloads import WORKLOADS

__all__ = ["describe", "main", "run"]

HEAD = (
    "", "median", "quartiles", "GFLOP/s", "of peak", "GB/s", "of x + y/2", "trace", "compile",
    "from disk", "first call", "from disk", "plan", "process",
)  # fmt: skip


def run(names: Sequence[str], seconds: float, *, tiny: bool = False) -> list[tuple[Result, Result]]:
    """Return the results of each workload: compiled, and loaded from the disk."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "sources")
        _process("W5", 0.01, Path(folder, "other"), sources, tiny=True)  # compiles the sources
        for name in names:
            cache = Path(folder, name)
            cold = _process(name, 0.01, cache, sources, tiny=tiny)
            found.append((cold, _process(name, seconds, cache, sources, tiny=tiny)))
    return found


def _process(name: str, seconds: float, cache: Path, sources: Path, *, tiny: bool) -> Result:
    """Return the result of a workload in a fresh process.

    Its caches are its own: of native code, and of Python's bytecode, so that a first call
    does not depend on whether this installation may write one.
    """
    environment = {
        **os.environ, "MINIGRAD_CACHE_DIR": str(cache), "PYTHONPYCACHEPREFIX": str(sources),
        "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "minigrad.bench.single", name, str(seconds)]
    done = subprocess.run(
        [*command, *["--tiny"] * tiny], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MinigradError(f"bench: {name} ended with an error\n{done.stderr}")
    return Result.read(done.stdout.splitlines()[-1])


def describe(results: Sequence[tuple[Result, Result]]) -> str:
    """Return the table of results, and what each workload is."""
    lines = [f"{name:4} {WORKLOADS[name].title}" for name in (warm.name for _, warm in results)]
    return table(HEAD, [_row(*pair) for pair in results]) + "\n\n" + "\n".join(lines)


def _row(cold: Result, warm: Result) -> list[str]:
    step = warm.step
    rate, flow = warm.operations / step.median, warm.moved / step.median
    return [
        warm.name, _time(step.median), f"{_time(step.lower)} to {_time(step.upper)}",
        f"{rate / 1e9:.3g}", f"{rate / warm.arithmetic:.0%}",
        f"{flow / 1e9:.3g}", "-" if warm.traffic is None else f"{flow / warm.traffic:.0%}",
        _time(warm.trace), _time(cold.clean + cold.compile), _time(warm.clean + warm.compile),
        _time(cold.first_call), _time(warm.first_call),
        _memory(warm.plan), _memory(max(cold.process, warm.process)),
    ]  # fmt: skip


def _time(seconds: float) -> str:
    """Return seconds with three digits, in the unit that fits."""
    if seconds >= 1:
        return f"{_digits(seconds)} s"
    return f"{_digits(1e3 * seconds)} ms" if seconds >= 1e-3 else f"{_digits(1e6 * seconds)} µs"


def _digits(number: float) -> str:
    """Return a number with three digits, without an exponent."""
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"


def _memory(nbytes: int) -> str:
    return f"{_digits(nbytes / 1e6)} MB"


def main(
    names: Sequence[str],
    *,
    seconds: float = 2.0,
    as_json: bool = False,
    write: Callable[[str], object] = sys.stdout.write,
) -> None:
    """Measure the named workloads, or all, and print a table; or a line of JSON for each.

    Raises
    ------
    BackendUnavailable
        If native code cannot be made here; it says which extra to install.
    """
    backend_named("cpu")
    unknown = [n for n in names if n not in WORKLOADS]
    if unknown:
        raise MinigradError(
            f"bench: there is no workload {unknown[0]!r}", rule=f"workloads: {', '.join(WORKLOADS)}"
        )
    results = run(names or list(WORKLOADS), seconds)
    if as_json:
        for cold, warm in results:
            write(json.dumps({"cold": asdict(cold), "warm": asdict(warm)}) + "\n")
        return
    fastest = max(warm.arithmetic for _, warm in results)
    write(f"{date.today()}  {machine('llvmlite')}\n")
    write(f"multiply-adds in registers: {fastest / 1e9:.0f} GFLOP/s\n\n{describe(results)}\n")
