"""The table of libraries side by side: ``python tests/benchmarks/side_by_side.py RESULTS``.

RESULTS is what the driver writes, one JSON line a process (``results.jsonl``); only its rows
of this run may be in it. Prints Markdown for ``docs/benchmarks.md``: the median over the
rounds of each process's median, the ratio of the fastest other library, what must be reached
and what was. Ratios come from the same rounds; a workload that a library cannot run is a "-".
"""

# ruff: noqa: T201
from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from minigrad.bench.timing import machine

OURS = "minigrad"
PEERS = {
    "torch": "PyTorch", "torch-cl": "channels last", "torch-compile": "torch.compile",
    "jax": "JAX jit", "pytensor": "PyTensor", "tinygrad": "tinygrad",
}  # fmt: skip
#: Ratios: what must be reached, and the aim.
GOALS = {
    "W1": (1.2, 1.35), "W2": (1.4, 1.7), "W3a": (1.5, 3.0), "W3b": (2.0, 3.0), "W4": (4.0, 5.5),
    "W5": (8.0, 14.0), "W7": (1.6, 2.5), "W8a": (1.5, 4.0), "W8b": (1.5, 3.0),
}  # fmt: skip
#: Seconds of W6: its first call without a run, and a run.
PROGRAM = ((4.0, 1.5), (0.3e-3, 0.1e-3))
#: Part of the time of the products alone that W1 may take more, at the most.
BESIDE_PRODUCTS = 1.10
DISTRIBUTIONS = ("torch", "jax", "pytensor", "numba", "tinygrad", "llvmlite")

Row = Mapping[str, Any]
Found = dict[tuple[str, str], list[Row]]


def read(lines: Iterable[str]) -> Found:
    """Return the timings by workload and library."""
    found: Found = {}
    for line in lines:
        row = json.loads(line)
        if row.get("mode") == "time" and "median" in row:
            found.setdefault((row["workload"], row["peer"]), []).append(row)
    return found


def typical(rows: Sequence[Row], what: str = "median") -> float:
    return median(row[what] for row in rows)


def first_call(row: Row) -> float:
    """Return seconds until the first result: building, tracing, compiling, one run."""
    return float(row["build_s"] + row["first_s"])


def seconds(value: float) -> str:
    """Return a time with three digits."""
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * scale >= 1 or unit == "µs":
            break
    number = value * scale
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f} {unit}"


def verdict(ratio: float, must: float, aim: float) -> str:
    return "aim reached" if ratio >= aim else "reached" if ratio >= must else "**missed**"


def cells(items: Iterable[str]) -> str:
    return "| " + " | ".join(items) + " |"


def speed(found: Found) -> list[str]:
    """Return the table of times and ratios."""
    peers = [p for p in PEERS if any(peer == p for _, peer in found)]
    head = ["", "minigrad", *[PEERS[p] for p in peers], "ratio", "must", "aim", ""]
    lines = [cells(head), cells(["---", *["---:"] * (len(head) - 2), "---"])]
    for name, (must, aim) in GOALS.items():
        if (name, OURS) not in found:
            continue
        ours = typical(found[name, OURS])
        times = {p: typical(found[name, p]) for p in peers if (name, p) in found}
        shown = [seconds(times[p]) if p in times else "-" for p in peers]
        line = [name, seconds(ours), *shown]
        if times:
            ratio = min(times.values()) / ours
            line += [f"{ratio:.2f}", f"{must:g}", f"{aim:g}", verdict(ratio, must, aim)]
        else:
            line += ["-"] * 4
        lines.append(cells(line))
    return lines


def program(found: Found) -> list[str]:
    """Return what is said of W6, whose aims are times."""
    rows = found.get(("W6", OURS))
    if not rows:
        return []
    run = typical(rows)
    calls = [first_call(row) - run for row in rows]
    others = "; ".join(
        f"{PEERS[p]}: first call {seconds(max(map(first_call, found['W6', p])))}, "
        f"a run {seconds(typical(found['W6', p]))}"
        for p in PEERS
        if ("W6", p) in found
    )
    parts = [("trace, gradient and compile, cold", max(calls)), ("a run", run)]
    text = [
        f"{what} {seconds(value)} (must {seconds(must)}, aim {seconds(aim)}: "
        f"{verdict(1 / value, 1 / must, 1 / aim)})"
        for (what, value), (must, aim) in zip(parts, PROGRAM, strict=True)
    ]
    warm = f"trace, gradient and code from the disk {seconds(min(calls))}"
    return [f"W6: {'; '.join([text[0], warm, text[1]])}. {others}.", ""]


def products(found: Found) -> list[str]:
    """Return how W1 compares with its matrix products alone."""
    limits = {p: typical(rows) for (w, p), rows in found.items() if w == "W1" and "limit" in p}
    if not limits or ("W1", OURS) not in found:
        return []
    best = min(limits, key=lambda p: limits[p])
    ratio = typical(found["W1", OURS]) / limits[best]
    word = "reached" if ratio <= BESIDE_PRODUCTS else "**missed**"
    listed = ", ".join(f"{p.removeprefix('limit-')} {seconds(t)}" for p, t in limits.items())
    return [
        f"The products of W1 alone take {listed}: the whole step takes {ratio:.2f} times the "
        f"fastest (must {BESIDE_PRODUCTS:g}: {word}).",
        "",
    ]


def memory(found: Found) -> list[str]:
    """Return the table of the first call and of memory: the largest of all rounds."""
    peers = [OURS, *PEERS]
    head = [
        "", "first call, cold", "again", "memory of W1", "of W2", "first call of W2, cold", "again",
    ]  # fmt: skip
    lines = [cells(head), cells(["---", *["---:"] * 6])]
    for p in peers:
        ours, theirs = found.get(("W1", p)), found.get(("W2", p))
        if ours or theirs:
            lines.append(cells([PEERS.get(p, p), *_first(ours), _mb(ours), _mb(theirs),
                                *_first(theirs)]))  # fmt: skip
    for name in ("W1", "W2"):
        if (name, OURS) not in found:
            continue
        mine = _peak(found[name, OURS])
        larger = {p: _peak(found[name, p]) for p in PEERS if (name, p) in found}
        below = all(mine < size for p, size in larger.items() if p != "tinygrad")
        text = f"{name}: {'below' if below else '**not below**'} every library but tinygrad"
        if "torch" in larger:
            part = mine / larger["torch"]
            text += f"; {part:.2f} of PyTorch's (aim 0.5: {'reached' if part <= 0.5 else 'missed'})"
        lines += ["", f"{text}."]
    return lines


def _first(rows: Sequence[Row] | None) -> list[str]:
    if not rows:
        return ["-", "-"]
    calls = list(map(first_call, rows))
    return [seconds(calls[0]), seconds(min(calls[1:], default=calls[0]))]


def _peak(rows: Sequence[Row]) -> float:
    return float(max(row["rss_mb"] for row in rows))


def _mb(rows: Sequence[Row] | None) -> str:
    return f"{_peak(rows):.0f} MB" if rows else "-"


def report(lines: Iterable[str]) -> str:
    """Return the Markdown of a run of the driver."""
    found = read(lines)
    rounds = {len(rows) for rows in found.values()}
    return "\n".join([
        f"{machine(*DISTRIBUTIONS)}. {min(rounds)} to {max(rounds)} rounds.", "",
        *speed(found), "", *products(found), *program(found), *memory(found), "",
    ])  # fmt: skip


if __name__ == "__main__":
    print(report(Path(sys.argv[1]).read_text().splitlines()))
