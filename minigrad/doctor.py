"""What is here, what is missing, and the one command that cures it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import minigrad as mg

__all__ = ["Finding", "examine", "report"]

#: What each extra brings, by import name and distribution, and what it is for.
EXTRAS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
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


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: a part, its state in words, and whether something is missing."""

    part: str
    state: str
    missing: bool = False
    extra: str | None = None


def examine() -> list[Finding]:
    """Return what was found about versions, backends, pictures and extras."""
    found = [
        Finding(
            "minigrad",
            f"{mg.__version__}   Python {platform.python_version()}   NumPy {version('numpy')}   "
            f"{platform.system()} {platform.machine()}",
        )
    ]
    found += [Finding(f"backend {name}", state) for name, state in mg.backends().items()]
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
