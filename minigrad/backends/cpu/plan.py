"""A plan in memory, as the native driver reads it: steps, their maps, the table of buffers.

``Step`` has 8 words: function, map, extent, grain, chunks, flags, ticks, unused. ``Plan``
has 16: steps, count, table, flags, error, failed; and, for a call with arrays, their slots,
their number, whether a call is under way, what ``bound.Layout`` says, the slots of results
that are written over them, whether no call may begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import sleep
from typing import Any, Final, TypeAlias

import numpy as np

from minigrad.dtypes import Array
from minigrad.errors import GraphInvalid

from .bound import Layout

__all__ = ["CHECK", "RELEASE", "SERIAL", "TIME", "PlanHandle", "StepSpec", "aligned", "make_plan"]

#: Of a step: stop the plan if the word at ``error`` is not 0 afterwards.
CHECK: Final = 1
#: Of a step: the calling thread computes all chunks; they are too short to be shared.
SERIAL: Final = 2
#: Of a plan: other Python threads may run meanwhile.
RELEASE: Final = 1
#: Of a plan: add the nanoseconds of each step to its ``ticks``.
TIME: Final = 2

#: Address of the function, its map, extent and grain of the chunked axis, flags.
StepSpec: TypeAlias = tuple[int, Sequence[int], int, int, int]

_CHUNKS, _TICKS = 4, 6
_FLAGS, _FAILED, _BUSY, _WAITING = 3, 5, 8, 13
_CHUNKS_AT_MOST = 2**32 - 1


def aligned(count: int, dtype: Any = np.int64) -> Array:
    """Return zeros, the first at a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    size = count * kind.itemsize
    memory = np.zeros(size + 63, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(kind)


class PlanHandle:
    """A plan and all memory that the native code reads of it, alive as long as this is.

    The table belongs to the caller, who may change its addresses between runs. Only one
    thread may run a plan at a time.
    """

    __slots__ = ("_bound", "_maps", "_plan", "_steps", "_words", "address", "error", "table")

    def __init__(
        self, steps: Array, maps: Array, table: Array, flags: int, error: Array | None = None
    ) -> None:
        self._steps = steps
        self._maps = maps
        self.table = table
        #: One word, set by kernels: not 0 after a step with ``CHECK`` ends the run.
        self.error = aligned(1) if error is None else error
        self._plan = aligned(16)
        self._plan[:5] = (
            steps.ctypes.data, len(steps), table.ctypes.data, flags, self.error.ctypes.data,
        )  # fmt: skip
        self._words = memoryview(self._plan)  # type: ignore[arg-type]
        #: What ``run`` takes.
        self.address: int = self._plan.ctypes.data

    def bind(self, slots: Sequence[int], over: Sequence[int], layout: Layout, held: int) -> None:
        """Let the plan be called with arrays, whose addresses go to these slots of the table.

        ``over`` are the slots of results that are written over an array, or -1; ``held`` is
        the reference count during a call of an array that one place alone holds.
        """
        self._bound = aligned(2 * max(len(slots), 1)).reshape(2, -1)
        self._bound[0, : len(slots)], self._bound[1, : len(over)] = slots, over
        self._plan[6:9] = self._bound[0].ctypes.data, len(slots), 0
        self._plan[9:13] = (
            layout.array, held | layout.shared << 32, layout.memory, self._bound[1].ctypes.data,
        )  # fmt: skip

    def keep(self) -> None:
        """Let no call with arrays begin until ``free``, and wait for the one that is under way."""
        self._words[_WAITING] = 1
        while self._words[_BUSY]:
            sleep(20e-6)

    def free(self) -> None:
        """Let calls with arrays begin again."""
        self._words[_WAITING] = 0

    def reset(self) -> None:
        """Forget a call that is under way: in a child of a fork nobody will end it."""
        self._plan[[_BUSY, _WAITING]] = 0

    @property
    def flags(self) -> int:
        """``RELEASE`` and ``TIME``, or neither."""
        return int(self._plan[_FLAGS])

    @flags.setter
    def flags(self, flags: int) -> None:
        self._plan[_FLAGS] = flags

    @property
    def failed(self) -> int:
        """1 + the index of the step that ended the last run early, or 0."""
        return int(self._plan[_FAILED])

    @property
    def ticks(self) -> Array:
        """Nanoseconds of each step, summed over the runs with ``TIME``; may be set to 0."""
        return self._steps[:, _TICKS]

    @property
    def chunks(self) -> Array:
        """Into how many parts each step is cut, whatever the number of threads."""
        return self._steps[:, _CHUNKS]


def make_plan(
    steps: Sequence[StepSpec], table: Array, *, flags: int = 0, error: Array | None = None
) -> PlanHandle:
    """Return a plan that runs steps in order, each to its end.

    Parameters
    ----------
    steps
        For each: address of the function, map (indices into the table), extent and grain
        of the axis that is cut into chunks of ``grain``, flags (``CHECK``, ``SERIAL``).
    table
        Addresses of buffers, uint64. It is not copied.
    flags
        ``RELEASE``, ``TIME``.
    error
        The word that a step with ``CHECK`` sets; one for this plan alone if it is None.

    Raises
    ------
    GraphInvalid
        If the native code would read outside the table, or a step cannot be cut.
    """
    if table.dtype != np.uint64 or table.ndim != 1 or not table.flags.c_contiguous:
        raise GraphInvalid(
            "plan: the table is one contiguous row of uint64",
            operands=[f"table: {table.dtype}{list(table.shape)}"],
        )
    rows = aligned(8 * len(steps)).reshape(len(steps), 8)
    maps = aligned(sum(len(map) for _, map, *_ in steps))
    at = 0
    for i, (function, map, extent, grain, step_flags) in enumerate(steps):
        outside = [k for k in map if not 0 <= k < len(table)]
        chunks = -(-extent // grain) if grain > 0 else -1
        if outside or extent < 0 or not 0 <= chunks <= _CHUNKS_AT_MOST or function == 0:
            raise GraphInvalid(
                f"plan: step {i} cannot be run",
                operands=[f"function {function:#x}, map {list(map)}, {extent} cut by {grain}"],
                rule=f"map indices below {len(table)}; extent at least 0, grain at least 1",
            )
        maps[at : at + len(map)] = map
        where = maps.ctypes.data + 8 * at
        rows[i, :6] = (function, where, extent, grain, chunks, step_flags)
        at += len(map)
    return PlanHandle(rows, maps, table, flags, error)
