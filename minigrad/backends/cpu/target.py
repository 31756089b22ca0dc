"""The machine that code is written for: this one, or a narrower one that it can imitate."""

from __future__ import annotations

import hashlib
import os
import platform
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

from minigrad.errors import BackendUnavailable

__all__ = [
    "Target",
    "current_target",
    "host_target",
    "llvm",
    "missing",
    "named_target",
    "use_target",
]

#: What each level of x86-64 adds to the one before, in LLVM's names.
_X86_LEVELS = {
    "x86-64": "cmov cx8 fxsr mmx sse sse2",
    "x86-64-v2": "cx16 popcnt sahf sse3 sse4.1 sse4.2 ssse3",
    "x86-64-v3": "avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave",
    "x86-64-v4": "avx512bw avx512cd avx512dq avx512f avx512vl",
}
#: Architectures whose every machine has a fused multiply-add.
_ALWAYS_FMA = {"aarch64", "arm64", "powerpc64le", "ppc64le", "riscv64"}


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine, as LLVM names it, and what a code generator asks about it.

    ``vector_bytes`` follows the features, never the name of the processor: 64 with AVX-512
    (F, VL, BW, DQ), 32 with AVX2 and FMA, otherwise 16 (SSE2, NEON). Without ``has_fma``,
    ``llvm.fma`` is a library call for each number: write ``llvm.fmuladd`` there.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int = field(init=False)
    has_fma: bool = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        wide = all(self.has(f) for f in ("avx512f", "avx512vl", "avx512bw", "avx512dq"))
        fma = self.has("fma") or self.arch in _ALWAYS_FMA
        width = 64 if wide and fma else 32 if self.has("avx2") and fma else 16
        digest = hashlib.sha256(self.features.encode()).hexdigest()[:16]
        object.__setattr__(self, "vector_bytes", width)
        object.__setattr__(self, "has_fma", fma)
        object.__setattr__(self, "key", f"{self.triple}/{self.cpu}/{digest}")

    @property
    def arch(self) -> str:
        """The first part of the triple: ``"x86_64"``, ``"aarch64"``."""
        return self.triple.partition("-")[0]

    def has(self, feature: str) -> bool:
        """Return whether the machine has a feature, by LLVM's name: ``"f16c"``."""
        return f"+{feature}" in self.features.split(",")


def missing() -> str | None:
    """Return what native code lacks here, or None."""
    if find_spec("llvmlite") is None:
        return "llvmlite is not installed: pip install 'minigrad[cpu]'"
    if os.name != "posix":
        return f"native code runs on Linux and macOS, not on {platform.system()}"
    if sys.byteorder != "little" or struct.calcsize("P") != 8:
        return "native code needs a 64-bit little-endian machine"
    return None


@cache
def llvm() -> Any:
    """Return LLVM's binding, ready for this machine.

    Raises
    ------
    BackendUnavailable
        If llvmlite is missing, or code cannot run here.
    """
    reason = missing()
    if reason:
        raise BackendUnavailable(
            f"native code cannot be made here: {reason}",
            fix='everything else keeps working; use backend="numpy"',
        )
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()
    return binding


@cache
def host_target() -> Target:
    """Return this machine, with every feature that it reports."""
    binding = llvm()
    features = binding.get_host_cpu_features()
    signed = sorted(f"{'+' if on else '-'}{name}" for name, on in features.items())
    return Target(binding.get_process_triple(), binding.get_host_cpu_name(), ",".join(signed))


@cache
def named_target(name: str) -> Target:
    """Return a level that this machine can run.

    ``"host"``, or ``"baseline"`` (what every machine of this architecture has), or one of
    ``"x86-64"``, ``"x86-64-v2"``, ``"x86-64-v3"`` and ``"x86-64-v4"``.

    Raises
    ------
    BackendUnavailable
        If there is no such level, or this machine lacks one of its features.
    """
    host = host_target()
    if name == "host":
        return host
    levels = {"baseline": Target(host.triple, "generic", "+neon" if host.has("neon") else "")}
    if host.arch == "x86_64":
        features: list[str] = []
        for level, added in _X86_LEVELS.items():
            features += [f"+{f}" for f in added.split()]
            levels[level] = Target(host.triple, level, ",".join(features))
        levels["baseline"] = levels["x86-64"]
    target = levels.get(name)
    if target is None:
        raise BackendUnavailable(
            f"there is no CPU target {name!r}",
            rule=f"targets here: host, {', '.join(levels)}",
            fix="unset MINIGRAD_CPU_TARGET for this machine's own",
        )
    absent = [f for f in target.features.split(",") if f and not host.has(f[1:])]
    if absent:
        raise BackendUnavailable(
            f"this machine ({host.cpu}) cannot run code for {name}",
            rule=f"it lacks {', '.join(f[1:] for f in absent)}",
            fix="unset MINIGRAD_CPU_TARGET for this machine's own",
        )
    return target


_chosen: ContextVar[Target | None] = ContextVar("cpu_target", default=None)


def current_target() -> Target:
    """Return the target that is in force.

    That of :func:`use_target`, else the level named by the environment variable
    ``MINIGRAD_CPU_TARGET``, else this machine.
    """
    return _chosen.get() or named_target(os.environ.get("MINIGRAD_CPU_TARGET") or "host")


@contextmanager
def use_target(target: Target | str) -> Iterator[Target]:
    """Write code for another target inside a ``with`` block; tests run narrow code so."""
    chosen = named_target(target) if isinstance(target, str) else target
    token = _chosen.set(chosen)
    try:
        yield chosen
    finally:
        _chosen.reset(token)
