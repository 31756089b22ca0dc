"""Nested loops in LLVM text: levels, counters, and values carried from turn to turn.

Level 0 is the function's entry, and each open loop is one level more. Text is written to
any open level, which is how what does not change in a loop comes to stand before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minigrad.dtypes import int64

from .dialect import Writer
from .values import TYPES, Value

__all__ = ["Nest"]


@dataclass(slots=True)
class _Level:
    label: str  # of the block that is being written
    first: str = ""  # of the block with which the level begins
    start: str = ""
    stop: str = ""
    step: int = 0
    counter: str = ""
    carried: list[tuple[str, str, str]] = field(default_factory=list)  # type, register, start


class Nest:
    """The open loops of a function that is being written."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.levels = [_Level("entry")]
        self._labels = 0
        self.on_close: list[Callable[[int], None]] = []

    @property
    def depth(self) -> int:
        """The level of the innermost open loop."""
        return len(self.levels) - 1

    def label(self) -> str:
        """Return a label that nothing else has."""
        self._labels += 1
        return f"b{self._labels}"

    def open(
        self, start: str, stop: str, step: int, carried: Sequence[Value] = ()
    ) -> tuple[Value, list[Value]]:
        """Begin a loop: return its counter, and what the carried values are in each turn.

        ``start`` and ``stop`` are numbers or registers of the function's entry.
        """
        k, depth = self.writer, self.depth + 1
        first = self.label()
        level = _Level(first, first, start, stop, step, k.fresh())
        inside = []
        for value in carried:
            registers = []
            kind = TYPES[value.dtype, value.lanes]
            for initial in value.regs:
                register = k.fresh()
                level.carried.append((kind, register, initial))
                registers.append(register)
            inside.append(Value(tuple(registers), value.dtype, value.lanes, depth))
        self.levels.append(level)
        return Value((level.counter,), int64, 1, depth), inside

    def close(self, carried: Sequence[Value] = ()) -> list[Value]:
        """End the loop: ``carried`` are the values for the next turn; return the final ones."""
        level = self.levels.pop()
        lines = self._forget(len(self.levels))
        out, above = self.writer.text[self.depth], self.levels[-1]
        head, following, end = self.label(), self.writer.fresh(), self.label()
        body = level.first
        out.append(f"  br label %{head}")
        out.append(f"{head}:")
        latch = level.label
        out.append(
            f"  {level.counter} = phi i64 [ {level.start}, %{above.label} ], "
            f"[ {following}, %{latch} ]"
        )
        registers = [r for value in carried for r in value.regs]
        for (kind, register, initial), again in zip(level.carried, registers, strict=True):
            out.append(
                f"  {register} = phi {kind} [ {initial}, %{above.label} ], [ {again}, %{latch} ]"
            )
        more = self.writer.fresh()
        out.append(f"  {more} = icmp ult i64 {level.counter}, {level.stop}")
        out.append(f"  br i1 {more}, label %{body}, label %{end}")
        out.append(f"{body}:")
        out += lines
        out.append(f"  {following} = add nuw nsw i64 {level.counter}, {level.step}")
        out.append(f"  br label %{head}")
        out.append(f"{end}:")
        above.label = end
        finals, at = [], 0
        for value in carried:
            n = len(value.regs)
            found = tuple(register for _, register, _ in level.carried[at : at + n])
            finals.append(Value(found, value.dtype, value.lanes, self.depth))
            at += n
        return finals

    def open_once(self) -> None:
        """Begin a level that is gone through once, for text that is not to be hoisted out of it."""
        self.levels.append(_Level(self.levels[-1].label))

    def close_once(self, carried: Sequence[Value] = ()) -> list[Value]:
        """End such a level; the carried values are known on the level around it from now on."""
        level = self.levels.pop()
        self.writer.text[self.depth] += self._forget(len(self.levels))
        self.levels[-1].label = level.label
        return [Value(v.regs, v.dtype, v.lanes, min(v.depth, self.depth)) for v in carried]

    def _forget(self, level: int) -> list[str]:
        for listener in self.on_close:
            listener(level)
        return self.writer.take(level)
