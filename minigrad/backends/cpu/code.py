"""The text of a native function, how it is called, and into how many calls work is cut."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHUNK", "MOST_CHUNKS", "SERIAL", "Code", "grain_of"]


@dataclass(slots=True)
class Code:
    """A function's text and how to call it.

    ``slots`` are the buffers for its map of arguments; the chunked loop has ``extent``
    turns, divided into chunks of ``grain``.
    """

    text: str
    declarations: set[str]
    slots: list[int]
    extent: int
    grain: int
    cost: float = 0.0

    @property
    def chunks(self) -> int:
        """The number of calls."""
        return max(1, -(-self.extent // self.grain))


#: Nanoseconds of work below which a kernel runs on the calling thread, and for one chunk.
SERIAL = 15_000.0
CHUNK = 5_000.0
#: How many chunks a kernel is divided into at the most, unless its sums have parts.
MOST_CHUNKS = 16


def grain_of(extent: int, cost: float, step: int = 1, most: int = MOST_CHUNKS) -> int:
    """Return how many turns of a loop of this much estimated work make a chunk.

    The result is a multiple of ``step``. It depends on nothing but the work, so the bits of
    a result do not depend on the number of threads.
    """
    chunks = 1 if cost < SERIAL or most < 2 else max(2, min(most, int(cost / CHUNK)))
    grain = -(-extent // min(chunks, max(extent, 1)))
    return -(-grain // step) * step
