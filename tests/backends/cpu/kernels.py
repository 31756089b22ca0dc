"""Kernels for the tests of the pool, with the driver's calling convention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad.backends.cpu import jit
from minigrad.backends.cpu.plan import aligned

_HEAD = """
define void @{name}(ptr %table, ptr %map, i64 %low, i64 %high, i64 %chunk) nounwind {{
entry:
"""


def _buffer(k: int) -> str:
    """``%b0`` is the buffer of argument 0."""
    return (
        f"  %m{k} = getelementptr i64, ptr %map, i64 {k}\n  %k{k} = load i64, ptr %m{k}\n"
        f"  %t{k} = getelementptr ptr, ptr %table, i64 %k{k}\n  %b{k} = load ptr, ptr %t{k}\n"
    )


#: b0[chunk] += 1 (atomic); b1[chunk] = low; b2[chunk] = high
COUNT = (
    _HEAD.format(name="count")
    + _buffer(0)
    + _buffer(1)
    + _buffer(2)
    + """
  %p0 = getelementptr i64, ptr %b0, i64 %chunk
  %p1 = getelementptr i64, ptr %b1, i64 %chunk
  %p2 = getelementptr i64, ptr %b2, i64 %chunk
  %old = atomicrmw add ptr %p0, i64 1 monotonic
  store i64 %low, ptr %p1
  store i64 %high, ptr %p2
  ret void
}
"""
)

#: b0[chunk] = b1[low] + b1[low + 1] + ..., in float32, one after the other
PARTIAL = (
    _HEAD.format(name="partial")
    + _buffer(0)
    + _buffer(1)
    + """
  br label %loop
loop:
  %i = phi i64 [ %low, %entry ], [ %next, %loop ]
  %s = phi float [ 0.0, %entry ], [ %s1, %loop ]
  %p = getelementptr float, ptr %b1, i64 %i
  %x = load float, ptr %p
  %s1 = fadd float %s, %x
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %high
  br i1 %more, label %loop, label %end
end:
  %q = getelementptr float, ptr %b0, i64 %chunk
  store float %s1, ptr %q
  ret void
}
"""
)

#: b0[i] = b1[(i + 1) % SIZE] + 1, which reads what another chunk of the step before wrote
NEXT = (
    _HEAD.format(name="next")
    + _buffer(0)
    + _buffer(1)
    + """
  br label %loop
loop:
  %i = phi i64 [ %low, %entry ], [ %i1, %loop ]
  %i1 = add i64 %i, 1
  %j = urem i64 %i1, SIZE
  %p = getelementptr i64, ptr %b1, i64 %j
  %q = getelementptr i64, ptr %b0, i64 %i
  %x = load i64, ptr %p
  %y = add i64 %x, 1
  store i64 %y, ptr %q
  %more = icmp ult i64 %i1, %high
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""
)

#: b0[0] += 1; then waits, not for ever, until b0[0] is at least b1[0]; b2[chunk] = 1 if so
MEET = (
    _HEAD.format(name="meet")
    + _buffer(0)
    + _buffer(1)
    + _buffer(2)
    + """
  %n = load i64, ptr %b1
  %old = atomicrmw add ptr %b0, i64 1 seq_cst
  br label %wait
wait:
  %spins = phi i64 [ 0, %entry ], [ %spins1, %again ]
  %seen = load atomic i64, ptr %b0 seq_cst, align 8
  %met = icmp uge i64 %seen, %n
  br i1 %met, label %good, label %again
again:
  %spins1 = add i64 %spins, 1
  %y = call i32 @sched_yield()
  %patient = icmp ult i64 %spins1, PATIENCE
  br i1 %patient, label %wait, label %end
good:
  %p = getelementptr i64, ptr %b2, i64 %chunk
  store i64 1, ptr %p
  br label %end
end:
  ret void
}
declare i32 @sched_yield()
"""
)

#: b0[0] = 1 in chunk b1[0]
FAULT = (
    _HEAD.format(name="fault")
    + _buffer(0)
    + _buffer(1)
    + """
  %n = load i64, ptr %b1
  %here = icmp eq i64 %n, %chunk
  br i1 %here, label %bad, label %end
bad:
  store i64 1, ptr %b0
  br label %end
end:
  ret void
}
"""
)


def kernel(name: str, text: str) -> int:
    """Return the address of a kernel."""
    return jit.load(text, [name])[name]


_alive: list[object] = []


def table(*buffers: np.ndarray) -> np.ndarray:
    """Return the addresses of buffers, which are kept until the end of the tests."""
    row = aligned(len(buffers), np.uint64)
    row[:] = [b.ctypes.data for b in buffers]
    _alive.append(buffers)
    return row


def until(what: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until something holds; return whether it did."""
    import time

    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
