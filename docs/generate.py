"""Write the pages that are derived from the code: ``python docs/generate.py``.

``tests/docs/test_generated.py`` fails when a page is not what this writes.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import minigrad as mg
from minigrad.core.primitive import Each, Primitive, Zero

HERE = Path(__file__).parent
KINDS = {
    "leaf": "Leaves",
    "creation": "Creation",
    "elementwise": "Elementwise",
    "reduction": "Reductions",
    "scan": "Scans",
    "movement": "Movement",
    "contraction": "Contraction",
    "indexing": "Indexing",
    "windows": "Windows",
    "collective": "Collectives",
    "call": "Calls",
}


def gradient(primitive: Primitive) -> str:
    """Return in words which operands a primitive has a gradient for."""
    if primitive.kind in ("leaf", "creation"):
        return "no operands"
    if isinstance(primitive.vjp, Each):
        return "every operand"
    parts = [f"0: {r.reason}" if isinstance(r, Zero) else "yes" for r in primitive.vjp]
    return parts[0] if len(set(parts)) == 1 else ", ".join(parts)


def primitives() -> str:
    """Return the page of primitives."""
    lines = [
        "# Primitives",
        "",
        "Generated from the registry by `python docs/generate.py`. Each is one record in",
        "`minigrad/ops/`: type rule, reference, scalar code, gradient rule, batching, LaTeX,",
        "samples. Everything else in minigrad is composed of these.",
        "",
    ]
    for kind, title in KINDS.items():
        records = [p for p in mg.registry.values() if p.kind == kind]
        lines += [
            f"## {title} ({len(records)})",
            "",
            "| name | gradient | note |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| `{p.name}` | {gradient(p)} | {' '.join(p.note.split()).replace('|', '/')} |"
            for p in sorted(records, key=lambda p: p.name)
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def errors() -> str:
    """Return the page of errors."""
    lines = [
        "# Errors",
        "",
        "Generated from the docstrings by `python docs/generate.py`. A message says which rule was",
        "broken, at which of your lines, with which operands, and gives one repair.",
        "",
    ]
    for name in mg.errors.__all__:
        kind = getattr(mg.errors, name)
        bases = " and ".join(f"`{b.__name__}`" for b in kind.__bases__)
        text = inspect.getdoc(kind) or ""
        lines += [
            f"## {name}",
            "",
            f"Derives from {bases}.",
            "",
            text.split("\n\nParameters")[0],
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


PAGES = {"primitives.md": primitives, "errors.md": errors}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
        sys.stdout.write(f"{page}\n")
