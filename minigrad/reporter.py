"""Progress of long work: in a notebook, on a terminal, in a log.

In a notebook one display is updated in place, so the last state is saved with the notebook,
as text and as HTML. On a terminal one line of stderr overwrites itself. Elsewhere a few
plain lines are written, at growing intervals. It knows nothing of tensors, and costs well
under a microsecond an iteration: what is shown is worked out only when it is drawn.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from math import inf
from time import perf_counter
from typing import Any, Generic, Protocol, TextIO, TypeVar

__all__ = ["Progress", "in_notebook", "progress"]

T = TypeVar("T")

_EVERY = 0.1  # seconds between drawings
_FIRST_LINE, _LAST_LINE = 5.0, 600.0  # seconds: a log's interval doubles from the one to the other
_SMOOTH = 0.3  # weight of the newest interval in the rate
_BAR = 20  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class State:
    """What is shown of one bar."""

    label: str
    done: int
    total: int | None
    elapsed: float  # seconds
    rate: float | None  # iterations a second
    values: str
    ended: str  # "", "done" or "stopped"

    @property
    def share(self) -> float | None:
        """How much is done, from 0 to 1; None if nobody knows."""
        return min(self.done / self.total, 1.0) if self.total else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _speed(rate: float) -> str:
    if rate >= 100:
        return f"{rate:,.0f}/s"
    return f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"


def _bar(share: float, fine: bool) -> str:
    if not fine:
        return ("#" * int(share * _BAR)).ljust(_BAR, ".")
    whole, eighth = divmod(int(share * _BAR * 8), 8)
    part = _EIGHTHS[eighth] if whole < _BAR else ""
    return (_EIGHTHS[8] * whole + part).ljust(_BAR)


def _numbers(state: State) -> str:
    """Return count, rate, times and values in words."""
    known = state.total is not None
    parts = [f"{state.done:,}/{state.total:,}" if known else f"{state.done:,}"]
    if state.rate:
        parts.append(_speed(state.rate))
    parts.append(_duration(state.elapsed))
    if state.rate and state.total is not None and not state.ended and state.total > state.done:
        parts.append(f"{_duration((state.total - state.done) / state.rate)} left")
    parts += [state.values] if state.values else []
    parts += ["stopped"] if state.ended == "stopped" else []
    return "  ".join(parts)


def text(state: State, fine: bool = True) -> str:
    """Return a bar in one line."""
    label = f"{state.label}  " if state.label else ""
    if state.share is None:
        return label + _numbers(state)
    return f"{label}{state.share:4.0%} |{_bar(state.share, fine)}|  {_numbers(state)}"


def brief(state: State) -> str:
    """Return a bar in a few words, for a line that it shares with a bar inside it."""
    total = "" if state.total is None else f"/{state.total:,}"
    return "  ".join(filter(None, (state.label, f"{state.done:,}{total}", state.values)))


def html(state: State) -> str:
    """Return a bar as HTML that stands by itself; its colour says how it ended."""
    colour = {"": "#4c78a8", "done": "#54a24b", "stopped": "#e45756"}[state.ended]
    share = state.share if state.share is not None else float(state.ended == "done")
    return (
        '<div style="font-family:monospace;white-space:pre-wrap">'
        f"{escape(state.label)}{'  ' if state.label else ''}"
        '<span style="display:inline-block;width:14em;height:0.8em;background:#88888833">'
        f'<span style="display:block;width:{share:.1%};height:100%;background:{colour}"></span>'
        f"</span>  {escape(_numbers(state))}</div>"
    )


class Screen(Protocol):
    """Where bars are drawn: the outermost first."""

    def draw(self, states: list[State], last: bool) -> float:
        """Show the bars, and return in how many seconds to draw again."""
        ...


class Notebook:
    """One display, updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, states: list[State], last: bool) -> float:  # noqa: ARG002
        """Show the bars below one another."""
        bundle = {
            "text/plain": "\n".join(text(s) for s in states),
            "text/html": "".join(html(s) for s in states),
        }
        if self._handle is None:
            display = sys.modules["IPython"].display.display
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        return _EVERY


class Terminal:
    """One line that overwrites itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._width = stream, 0
        try:
            _EIGHTHS.encode(stream.encoding or "ascii")
            self._fine = True
        except (UnicodeEncodeError, LookupError):
            self._fine = False

    def draw(self, states: list[State], last: bool) -> float:
        """Show the bars beside one another, cut to the width of the window."""
        columns = shutil.get_terminal_size().columns - 1
        *around, inmost = states
        line = "  ".join([*map(brief, around), text(inmost, self._fine)])[:columns]
        self._stream.write("\r" + line.ljust(self._width) + ("\n" if last else ""))
        self._stream.flush()
        self._width = len(line)
        return _EVERY


class Log:
    """A line now and then, of the outermost bar alone; none at the start."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._interval = stream, 0.0

    def draw(self, states: list[State], last: bool) -> float:
        """Write a line, and wait twice as long for the next."""
        if self._interval or last:
            self._stream.write(text(states[0], fine=False) + "\n")
            self._stream.flush()
        self._interval = min(2 * self._interval, _LAST_LINE) if self._interval else _FIRST_LINE
        return self._interval


def _shell() -> Any:
    """Return the shell of a notebook's kernel, or None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if getattr(shell, "kernel", None) is not None else None


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, so that there is a place for displays."""
    return _shell() is not None


def _screen(stream: TextIO | None) -> Screen:
    if stream is None and _shell() is not None:
        return Notebook()
    chosen = stream or sys.stderr
    return Terminal(chosen) if chosen.isatty() else Log(chosen)


class _Active(threading.local):
    """The open bars of one thread, outermost first: they share the outermost's screen."""

    def __init__(self) -> None:
        self.bars: list[Progress[Any]] = []
        self.screen: Screen | None = None
        self.due = 0.0  # when to draw again
        self.cell: Any = None  # the number of the notebook's cell that opened the outermost


_active = _Active()


class Progress(Generic[T]):
    """A bar that follows a loop, or is advanced by hand.

    Bars within bars are drawn together and vanish when they end; the outermost stays, with
    its last numbers. Leaving the loop early, by ``break`` or by an error or Ctrl-C, leaves
    a whole line that says so.

    Parameters
    ----------
    iterable
        What to loop over; may be left out if ``advance`` is called instead.
    label
        A word to show before the bar.
    total
        How many iterations there will be; by default the length of ``iterable``.
    stream
        A text stream to write to instead of the notebook or stderr.

    Example
    -------
    ``bar = progress(range(100), "train")``, then ``for i in bar: bar.set(loss=...)``.
    """

    __slots__ = (
        "_drawn_at", "_drawn_done", "_ended", "_iterable", "_open", "_rate", "_started",
        "_stopped", "_stream", "_values", "done", "label", "total",
    )  # fmt: skip

    def __init__(
        self,
        iterable: Iterable[T] | None = None,
        label: str = "",
        total: int | None = None,
        *,
        stream: TextIO | None = None,
    ) -> None:
        self._iterable = iterable
        self.label = label
        if total is None and iterable is not None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                total = None
        self.total = total
        self._stream = stream
        self._open = False
        self._reset()

    def _reset(self) -> None:
        now = perf_counter()
        self.done = self._drawn_done = 0
        self._rate: float | None = None
        self._values: dict[str, Any] = {}
        self._ended = ""
        self._started = self._drawn_at = self._stopped = now

    # Use ---------------------------------------------------------------------------

    def __iter__(self) -> Iterator[T]:
        if self._iterable is None:
            raise TypeError("this Progress follows no iterable: call advance() instead")
        self.__enter__()
        finished = False
        try:
            for item in self._iterable:
                yield item
                self.advance()
            finished = True
        finally:
            self.close(finished)

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("the number of iterations is not known")
        return self.total

    def __enter__(self) -> Progress[T]:
        self._reset()
        self._open = True
        shell = _shell()
        cell = shell.execution_count if shell else None
        if cell != _active.cell:  # what an earlier cell left open is over
            _active.bars.clear()
        if not _active.bars:
            _active.screen, _active.cell, _active.due = _screen(self._stream), cell, 0.0
        _active.bars.append(self)
        self._draw(perf_counter())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(kind is None)

    def advance(self, n: int = 1) -> None:
        """Count n iterations."""
        self.done += n
        now = perf_counter()
        if now >= _active.due and self._open:
            self._draw(now)

    def set(self, **values: Any) -> None:
        """Show these values beside the bar: numbers, scalars or words."""
        self._values.update(values)

    def close(self, finished: bool = True) -> None:
        """End the bar; ``finished`` says whether the work was done."""
        if not self._open:
            return
        self._stopped = perf_counter()
        self._ended = "done" if finished else "stopped"
        self._draw(self._stopped, last=True)
        self._open = False
        if self in _active.bars:
            del _active.bars[_active.bars.index(self) :]

    # Drawing -----------------------------------------------------------------------

    def state(self) -> State:
        """Return what is shown."""
        self._values = {k: _shown(v) for k, v in self._values.items()}
        elapsed = (self._stopped if self._ended else perf_counter()) - self._started
        overall = self.done / elapsed if elapsed > 0 and self.done else None
        rate = overall if self._ended or self._rate is None else self._rate
        values = ", ".join(f"{k} {v}" for k, v in self._values.items())
        return State(self.label, self.done, self.total, elapsed, rate, values, self._ended)

    def _draw(self, now: float, last: bool = False) -> None:
        bars, screen = _active.bars, _active.screen
        if screen is None or self not in bars:
            return
        outermost = bars[0] is self
        if now < _active.due and not (last and outermost):
            return
        if now > self._drawn_at and self.done > self._drawn_done:
            newest = (self.done - self._drawn_done) / (now - self._drawn_at)
            before = newest if self._rate is None else self._rate
            self._rate = (1 - _SMOOTH) * before + _SMOOTH * newest
            self._drawn_at, self._drawn_done = now, self.done
        shown = bars[: bars.index(self) + outermost] if last else bars
        try:
            _active.due = now + screen.draw([bar.state() for bar in shown], last and outermost)
        except (OSError, ValueError):  # the stream is closed: the work goes on without a bar
            _active.due = inf


def _shown(value: Any) -> str:
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)


def progress(iterable: Iterable[T], label: str = "", total: int | None = None) -> Progress[T]:
    """Return ``iterable`` with a progress bar: ``for x in progress(xs, "train"):``.

    Keep it in a variable to show values beside it: ``bar.set(loss=loss)``.

    Parameters
    ----------
    iterable
        What to loop over.
    label
        A word to show before the bar.
    total
        How many iterations there will be, if ``iterable`` has no length.
    """
    return Progress(iterable, label, total)
