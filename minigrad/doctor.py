"""What is here, what is missing, and the one command that cures it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import minigrad as mg
from minigrad.backends.base import default_backend
from minigrad.backends.cpu.objects import folder
from minigrad.backends.cpu.target import current_target
from minigrad.errors import MinigradError

__all__ = ["Finding", "examine", "report"]

#: What each extra brings, by import name and distribution, and what it is for.
EXTRAS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "cpu": ((("llvmlite", "llvmlite"),), "compiled functions in native code"),
    "notebook": (
        (
            ("graphviz", "graphviz"),
            ("pygraphviz", "pygraphviz"),
            ("networkx", "networkx"),
            ("matplotlib", "matplotlib"),
            ("ipykernel", "ipykernel"),
            ("nbclient", "nbclient"),
            ("nbconvert", "nbconvert"),
        ),
        "pictures, graph queries, notebooks and the tour",
    ),
    "data": ((("sklearn", "scikit-learn"),), "the bundled digits"),
}
if os.name != "posix":  # native code does not run there, whatever is installed
    del EXTRAS["cpu"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: a part, its state in words, and whether something is missing."""

    part: str
    state: str
    missing: bool = False
    extra: str | None = None


def examine() -> list[Finding]:
    """Return what was found about versions, backends, threads, cache, pictures and extras."""
    states = mg.backends()
    found = [
        Finding(
            "minigrad",
            f"{mg.__version__}   Python {platform.python_version()}   NumPy {version('numpy')}   "
            f"{platform.system()} {platform.machine()}",
        ),
        Finding("compiled code", f'runs on backend "{default_backend()}" unless another is named'),
    ]
    for name, state in states.items():
        more = {"cpu": _target, "cupy": _cupy}.get(name) if state == "usable" else None
        found.append(Finding(f"backend {name}", f"{state}: {_said(more)}" if more else state))
    if states["cpu"] == "usable":
        found.append(Finding("threads", _said(_threads)))
        found.append(Finding("cache", _cache(folder())))
    found.append(Finding("pictures", mg.viz.layout_route()))
    for extra, (packages, purpose) in EXTRAS.items():
        absent = [dist for module, dist in packages if find_spec(module) is None]
        if absent:
            state = f"missing {', '.join(absent)}: needed for {purpose}"
            found.append(Finding(f"extra {extra}", state, missing=True, extra=extra))
        else:
            listed = ", ".join(f"{dist} {_version(dist)}" for _, dist in packages)
            found.append(Finding(f"extra {extra}", listed))
    return found


def _said(what: Callable[[], str]) -> str:
    """Return a state in words; a setting that is wrong is a state, too."""
    try:
        return what()
    except MinigradError as error:
        return "; ".join(part for part in (error.message, error.rule, error.fix) if part)


def _target() -> str:
    target = current_target()
    fma = "" if target.has_fma else ", without multiply-add"
    return f"{target.cpu or target.arch}, vectors of {8 * target.vector_bytes} bits{fma}"


def _cupy() -> str:
    names = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
    return f"CuPy {next(filter(None, map(_version, names)), 'of unknown version')}"


def _threads() -> str:
    return f"{mg.get_num_threads()} (MINIGRAD_NUM_THREADS or mg.set_num_threads(n) sets it)"


def _cache(place: Path | None) -> str:
    """Return where compiled code is kept and how much of it there is."""
    if place is None:
        return "none: there is no home folder; MINIGRAD_CACHE_DIR names another"
    sizes = []
    if place.is_dir():
        with os.scandir(place) as entries:
            sizes = [e.stat(follow_symlinks=False).st_size for e in entries if e.is_file()]
    many = "1 file" if len(sizes) == 1 else f"{len(sizes):,} files"
    return f"{place}: {many}, {sum(sizes) / 1e6:.1f} MB (MINIGRAD_CACHE_DIR moves it)"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def report() -> str:
    """Return the report as text, with the command that installs whatever is missing."""
    findings = examine()
    width = max(len(f.part) for f in findings)
    lines = [f"{f.part.ljust(width)}   {f.state}" for f in findings]
    extras = [f.extra for f in findings if f.extra]
    if extras:
        python = sys.executable if " " not in sys.executable else f'"{sys.executable}"'
        lines.append(f'\nto cure it:  {python} -m pip install "minigrad[{",".join(extras)}]"')
    else:
        lines.append("\nnothing is missing; next: python -m minigrad tour")
    return "\n".join(lines)
