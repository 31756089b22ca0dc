"""Generated CUDA C compiled by g++ and run on the CPU, for tests: see ``cuda_cpu.h``."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
MISSING = None if COMPILER else "g++ is not installed: apt-get install g++"
GUARD = 256  # bytes of NaN before and after each buffer

_KERNEL = re.compile(
    r'extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\(([^)]*)\)'
)
_BARRIER = re.compile(r"__sync|__shfl|__ballot")
_folder = tempfile.TemporaryDirectory(prefix="minigrad-emulator-")
_loaded: dict[str, Emulated] = {}


class EmulatorError(AssertionError):
    """A kernel did what no GPU forgives."""


def parameters(text: str) -> list[str]:
    """Return the types of a kernel's parameters."""
    return [re.sub(r"\s*\b\w+$", "", p.strip()) for p in text.split(",") if p.strip()]


class Emulated:
    """A translation unit, compiled for this CPU."""

    def __init__(self, source: str) -> None:
        self.kernels = {name: parameters(text) for name, text in _KERNEL.findall(source)}
        assert self.kernels, "the source has no kernel"
        wrappers = "\n".join(self._wrapper(n, types) for n, types in self.kernels.items())
        text = f'#include "cuda_cpu.h"\n{source}\n{wrappers}\n'
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        base = Path(_folder.name) / key
        base.with_suffix(".cpp").write_text(text)
        command = [
            str(COMPILER), "-shared", "-fPIC", "-O1", "-std=c++17", "-ffp-contract=off",
            "-fno-strict-aliasing", "-w", f"-I{HERE}", "-o", f"{base}.so", f"{base}.cpp",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EmulatorError(done.stderr[:4000] + "\n" + source)
        self._library = ctypes.CDLL(f"{base}.so")
        # every kernel may call helpers with barriers: one barrier anywhere means fibers
        self._fibers = int(_BARRIER.search(source) is not None)

    def _wrapper(self, name: str, types: Sequence[str]) -> str:
        given = ", ".join(
            f"({t})a[{i}]" if "*" in t else f"*({t}*)a[{i}]" for i, t in enumerate(types)
        )
        return (
            f"static void emu_body_{name}(void** a) {{ (void)a; {name}({given}); }}\n"
            f'extern "C" const char* emu_{name}(void** a, unsigned x, unsigned y, unsigned z, '
            f"unsigned n, int order, int fibers) {{ "
            f"return emu::launch(emu_body_{name}, a, x, y, z, n, order, fibers); }}"
        )

    def launch(
        self, name: str, grid: tuple[int, int, int], threads: int, pointers: Sequence[int],
        order: int = 0,
    ) -> None:  # fmt: skip
        """Run a kernel whose arguments are all addresses."""
        assert len(pointers) == len(self.kernels[name]), f"{name} takes {self.kernels[name]}"
        function = getattr(self._library, f"emu_{name}")
        function.restype = ctypes.c_char_p
        failed = function((ctypes.c_void_p * max(1, len(pointers)))(*pointers), *grid, threads,
                          order, self._fibers)  # fmt: skip
        if failed:
            raise EmulatorError(f"{name}: {failed.decode()}")


def emulated(source: str) -> Emulated:
    """Return a translation unit, compiled once in a session."""
    found = _loaded.get(source)
    if found is None:
        found = _loaded[source] = Emulated(source)
    return found


class Guarded:
    """Memory of one buffer between two zones of NaN that must stay as they are."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._bytes = np.full(nbytes + 2 * GUARD + 256, 0xFF, np.uint8)
        shift = -(self._bytes.ctypes.data + GUARD) % 256
        self._start = GUARD + shift
        self.pointer = self._bytes.ctypes.data + self._start

    @property
    def inside(self) -> Any:
        """The buffer's own bytes."""
        return self._bytes[self._start : self._start + self.nbytes]

    def check(self) -> None:
        """Raise if a kernel wrote outside."""
        before, after = self._bytes[: self._start], self._bytes[self._start + self.nbytes :]
        if not (np.all(before == 0xFF) and np.all(after == 0xFF)):
            raise EmulatorError("a kernel wrote outside of its buffer")


def run(
    source: str, name: str, grid: tuple[int, int, int], threads: int, inputs: Sequence[Any],
    outputs: Sequence[tuple[tuple[int, ...], Any]],
) -> list[Any]:  # fmt: skip
    """Run one kernel on arrays, forwards and backwards, and return its outputs."""
    unit = emulated(source)
    results = []
    for order in (0, 1):
        buffers = [Guarded(np.asarray(x).nbytes) for x in inputs]
        for buffer, x in zip(buffers, inputs, strict=True):
            buffer.inside[:] = np.ascontiguousarray(x).view(np.uint8).ravel()
        made = [Guarded(int(np.prod(shape)) * np.dtype(dtype).itemsize) for shape, dtype in outputs]
        unit.launch(name, grid, threads, [b.pointer for b in (*buffers, *made)], order)
        for buffer in (*buffers, *made):
            buffer.check()
        results.append(
            [b.inside.copy().view(d).reshape(s) for b, (s, d) in zip(made, outputs, strict=True)]
        )
    for one, other in zip(*results, strict=True):
        if one.tobytes() != other.tobytes():
            raise EmulatorError(f"{name}: the result depends on the order of threads: a race")
    return results[0]
