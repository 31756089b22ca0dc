"""Ctrl-C between two steps instead of within one: what was trained stays whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupt", "interruptible"]


class Interrupt:
    """True once Ctrl-C was pressed."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


_open: list[Interrupt] = []


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note Ctrl-C instead of raising it; pressed a second time, it is raised as usual.

    A step that was half done could leave parameters that were updated and optimiser state
    that was not. Nested regions share one note, so that a ``fit`` within a loop over seeds
    ends both. Where Python does not raise KeyboardInterrupt (in another thread, or under a
    signal handler of somebody else's), everything is left as it is.

    Example
    -------
    ::

        with mg.train.interruptible() as interrupt:
            for x, y in batches:
                step(x, y)
                if interrupt:
                    break
    """
    main = threading.current_thread() is threading.main_thread()
    if main and _open:
        yield _open[0]
        return
    note = Interrupt()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield note
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if note.asked:
            signal.default_int_handler(number, frame)
        note.asked = True

    _open.append(note)
    signal.signal(signal.SIGINT, ask)
    try:
        yield note
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _open.clear()
