"""``mg.viz.doctor()``: what pictures can do here, and the one command that adds the rest."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .layout import FORCE, ROUTES, LayoutFailed, broken_routes, graphviz_bytes, present, routes

__all__ = ["Finding", "Report", "doctor", "layout_route"]

CURE = "pip install 'minigrad[notebook]'"

_PACKAGES = (
    ("graphviz", "writes DOT"),
    ("pygraphviz", "Graphviz inside a wheel: layout without a system package"),
    ("matplotlib", "PNG and PDF files, pictures in notebooks that are not trusted"),
    ("networkx", "to_networkx, and questions about graphs"),
    ("IPython", "cell magics, cell numbers in error messages"),
)
_PROBE = "digraph { a -> b }"
_PATIENCE = 10.0  # seconds for the probe


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. ``detail`` is its version, or what it is good for."""

    what: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found; ``route`` is what lays pictures out here."""

    findings: tuple[Finding, ...]
    route: str
    cure: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return self.cure is None

    def __str__(self) -> str:
        width = max(len(f.what) for f in self.findings)
        lines = [
            f"{'ok     ' if f.ok else 'missing'}  {f.what:<{width}}  {f.detail}"
            for f in self.findings
        ]
        lines.append(f"pictures are laid out by: {self.route}")
        if self.cure:
            lines.append(f"to add what is missing:   {self.cure}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rows = "".join(
            f"<tr><td>{'✓' if f.ok else '✗'}</td><td>{escape(f.what)}</td>"
            f"<td>{escape(f.detail)}</td></tr>"
            for f in self.findings
        )
        cure = (
            f"<p>To add what is missing: <code>{escape(self.cure)}</code></p>" if self.cure else ""
        )
        html = f"<table>{rows}</table><p>Pictures are laid out by {self.route}.</p>{cure}"
        return {"text/plain": str(self), "text/html": html}


def doctor() -> Report:
    """Return what pictures need, what is there, and the one command that adds the rest.

    Each way of layout that is installed is tried on a small graph, in a child process.
    """
    findings = [Finding("Python", True, platform.python_version())]
    missing = False
    for package, use in _PACKAGES:
        try:
            findings.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, False, use))
            missing = True
    dot = shutil.which("dot")
    findings.append(
        Finding("dot on the PATH", dot is not None, dot or "not needed beside pygraphviz")
    )
    working = False
    for route in ROUTES[:2]:
        if not present(route):
            continue
        reason = _tried(route)
        working |= reason is None
        findings.append(Finding(f"layout by {route}", reason is None, reason or "works"))
    findings.append(Finding("layout by builtin", True, "always there"))
    forced = os.environ.get(FORCE)
    if forced:
        findings.append(Finding(f"{FORCE}={forced}", forced in ROUTES, "picks the way of layout"))
    return Report(tuple(findings), routes()[0], CURE if missing or not working else None)


def layout_route() -> str:
    """Return in words what lays pictures out here."""
    route = routes()[0]
    if route == "dot":
        return f"laid out by dot ({shutil.which('dot')})"
    if route == "pygraphviz":
        return f"laid out by the Graphviz inside pygraphviz {version('pygraphviz')}"
    return f"laid out by the built-in engine; Graphviz is better on large graphs: {CURE}"


def _tried(route: str) -> str | None:
    """Return why a way of layout does not work, or None."""
    known = broken_routes().get(route)
    if known:
        return known
    try:
        graphviz_bytes(_PROBE, "plain", route, _PATIENCE)
    except LayoutFailed as error:
        return error.message
    return None
