"""``compiled.explain(...)``: a row per step, its time as a bar, its code on demand."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from minigrad.backends.report import Plan, PlanStep

from .labels import byte_text
from .table import count_text, html_table, text_table

__all__ = ["mimebundle", "plan_text"]

_HEAD = ("", "kind", "computes", "over", "parts", "bytes", "flops", "time", "", "layers", "lines")
_RIGHT = (0, 4, 5, 6, 7)  # columns of numbers
_TIGHT = (3, 5, 6, 7)  # columns in which no line is broken
_MOST = 200  # steps that are written out; .steps has them all
_CODE = 400  # lines of code that are written out; .source has them all
_BAR = 12  # characters of the longest bar
_LINES = 3  # layers, or the user's lines, in a cell


def plan_text(plan: Plan) -> str:
    """Return a plan as aligned text."""
    steps = _shown(plan)
    table = text_table(_HEAD, [_cells(plan, i) for i in steps], _RIGHT)
    return "\n".join([_title(plan), table, *_left_out(plan, steps), *_totals(plan)])


def mimebundle(plan: Plan) -> dict[str, Any]:
    """Return a plan as a table, with the code of the steps and their memory to unfold."""
    steps = _shown(plan)
    rows = [[_unbroken(c) if a in _TIGHT else c for a, c in enumerate(_cells(plan, i))]
            for i in steps]  # fmt: skip
    body = html_table(_HEAD, rows, _RIGHT)
    notes = "".join(f"<p>{escape(t)}</p>" for t in (*_left_out(plan, steps), *_totals(plan)))
    parts = [
        f"<p><b>{escape(_title(plan))}</b></p>",
        body,
        notes,
        _folded("memory", _memory(plan)),
        _folded("code", f"<pre>{escape(_code(plan.source))}</pre>") if plan.source else "",
    ]
    return {"text/plain": plan_text(plan), "text/html": "".join(parts)}


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")


def _folded(title: str, inside: str) -> str:
    return f"<details><summary>{title}</summary>{inside}</details>"


def _shown(plan: Plan) -> list[int]:
    """Return the steps to write out: all, or the most expensive ones, in order."""
    if len(plan.steps) <= _MOST:
        return list(range(len(plan.steps)))
    costs = [_seconds(s) for s in plan.steps]
    return sorted(sorted(range(len(costs)), key=lambda i: -costs[i])[:_MOST])


def _left_out(plan: Plan, steps: Sequence[int]) -> list[str]:
    left = len(plan.steps) - len(steps)
    return [f"{_steps(left, 'is', 'are')} left out, the shorter ones."] if left else []


def _steps(n: int, one: str, several: str) -> str:
    return f"{n} step {one}" if n == 1 else f"{n} steps {several}"


def _title(plan: Plan) -> str:
    return f"{plan.name} on {plan.backend}: {_steps(len(plan.steps), 'for', 'for')} {plan.target}"


def _seconds(step: PlanStep) -> float:
    return step.measured if step.measured is not None else step.estimated or 0.0


def _cells(plan: Plan, i: int) -> list[str]:
    step = plan.steps[i]
    longest = max(map(_seconds, plan.steps), default=0.0) or 1.0
    return [
        str(i), step.what, step.name, " × ".join(map(str, step.over)) or "1", str(step.parts),
        byte_text(step.nbytes), count_text(step.flops) if step.flops else "",
        _time(step), _bar(_seconds(step) / longest), _some(step.layers), _some(step.lines),
    ]  # fmt: skip


def _some(texts: Sequence[str]) -> str:
    left = len(texts) - _LINES
    return "; ".join([*texts[:_LINES], *([f"{left} more"] if left > 0 else [])])


def _time(step: PlanStep) -> str:
    if step.measured is not None:
        return second_text(step.measured)
    return f"≈ {second_text(step.estimated)}" if step.estimated is not None else "?"


def second_text(seconds: float) -> str:
    """Return a time in the unit that fits: ``41.2 µs``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _bar(share: float) -> str:
    eighths = round(share * _BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _totals(plan: Plan) -> list[str]:
    """Return the totals of time and memory, and what runs by the reference, a line each."""
    steps = plan.steps
    measured = [s.measured for s in steps if s.measured is not None]
    if len(measured) == len(steps):
        time = f"{second_text(sum(measured))} measured"
    else:
        time = f"about {second_text(sum(s.estimated or 0.0 for s in steps))} estimated"
    total = f"{time}; {count_text(sum(s.flops for s in steps))} flops"
    total += f"; {byte_text(plan.memory)} of temporary memory"
    if plan.unshared > plan.memory:
        total += f" ({byte_text(plan.unshared)} if none were used twice)"
    found = [total + f", {byte_text(plan.peak_bytes)} with results and constants"]
    if plan.backend != "numpy" and plan.fallbacks:
        names = ", ".join(dict.fromkeys(s.name for s in plan.fallbacks))
        count = _steps(len(plan.fallbacks), "runs", "run")
        found.append(f"{count} by the reference functions: {names}")
    return found


def _memory(plan: Plan) -> str:
    head = ("buffer", "kind", "bytes", "offset", "steps", "holds")
    buffers = [(i, b) for i, b in enumerate(plan.buffers) if b.last >= 0]
    buffers.sort(key=lambda p: -p[1].nbytes)
    rows = [
        (
            str(i), b.kind, byte_text(b.nbytes), str(b.offset) if b.kind == "arena" else "",
            f"{b.first}-{b.last}",
            ", ".join(n.name or f"{n.primitive.name} {n.aval!r}" for n in b.holds[:4]),
        )
        for i, b in buffers[:_MOST]
    ]  # fmt: skip
    return html_table(head, rows, (0, 2, 3))


def _code(source: str) -> str:
    lines = source.splitlines()
    left = len(lines) - _CODE
    return source if left <= 0 else "\n".join([*lines[:_CODE], f"… {left} more lines in .source"])
