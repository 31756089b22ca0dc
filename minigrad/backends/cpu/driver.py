"""The native driver, as LLVM text: it runs a plan's steps and shares their chunks with workers.

One region of work is open at a time. It is a step, and the interval ``[low, high)`` of its
chunks that nobody has taken, both halves in one 64-bit word. The caller takes chunks from
the front and workers take them from the back, so that with two threads a chunk tends to
meet the core that computed the same chunk of the step before. A chunk is taken by one
compare-and-swap on the word; whatever the word was an instant ago, success means that the
chunk was still free, so a worker that comes late can do no harm. What the region is about
is read only after that. Workers report how many chunks they finished, the caller waits for
the sum.

An idle worker watches the word for a while and then sleeps on a flag of its own. The caller
wakes as many as the region can use, at most two, and each of them wakes two more. Who wakes
a worker first takes its own core out of the other's affinity: Linux likes to put a woken
thread on the core of the one that woke it, which is about to be busy.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

__all__ = [
    "CALLBACK",
    "CPUS",
    "INTERRUPTED",
    "MASK",
    "SIZE",
    "SLEEPERS",
    "SLOTS",
    "SLOT_ALIVE",
    "SLOT_ASLEEP",
    "SLOT_EXCLUDED",
    "SLOT_TAKEN",
    "SLOT_THREAD",
    "SPIN",
    "STARTED",
    "STOP",
    "STRIDE",
    "WORD",
    "WORKERS",
    "WORKERS_AT_MOST",
    "driver_text",
    "has_futex",
]

# Where things are in the pool's memory, in bytes. What is written often has 128 bytes of its
# own: two cache lines, because processors fetch them in pairs.
WORD: Final = 0  # i64: the first free chunk, and in the upper half the end of the free ones
DONE: Final = 128  # i64: chunks that workers have finished, ever
REGION: Final = 256  # ptr step, ptr table
OWNER: Final = 384  # i64: 1 while a region is open; i64: what DONE must become
SLEEPERS: Final = 512  # i64: workers that must be woken
STOP: Final = 640  # i64: workers are to leave
STARTED: Final = 648  # i64: 0 before the workers were asked for
WORKERS: Final = 656  # i64
CALLBACK: Final = 664  # ptr: void(void), starts the workers
SPIN: Final = 672  # i64: nanoseconds that an idle worker watches before it sleeps
INTERRUPTED: Final = 680  # i64: Ctrl-C came where it could not be raised
CPUS: Final = 688  # i64: 1 if the affinity of workers may be changed
MASK: Final = 768  # 1024 bits: the cores that this process may use
SLOTS: Final = 1024
STRIDE: Final = 128
SLOT_ASLEEP: Final = 0  # i32: 1 while asleep or about to be
SLOT_THREAD: Final = 4  # i32: the system's number of the thread
SLOT_EXCLUDED: Final = 8  # i32: the core that is not in its affinity, or -1
SLOT_ALIVE: Final = 12  # i32: 1 while it is in native code
SLOT_TAKEN: Final = 16  # i64: chunks that it has computed
WORKERS_AT_MOST: Final = 1023
SIZE: Final = SLOTS + STRIDE * WORKERS_AT_MOST

#: The number of the system call ``futex``.
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
_PAUSE["arm64"] = _PAUSE["aarch64"]


def driver_text(arch: str, system: str, *, futex: bool, python: bool) -> str:
    """Return the driver for an architecture and a system, by ``sys.platform``'s name.

    ``futex`` lets workers sleep in the kernel until they are woken, and ``python`` adds the
    function that CPython calls without ctypes.
    """
    declaration, pause = _PAUSE.get(arch, ("", ""))
    places = {
        "WORD": WORD,
        "DONE": DONE,
        "REGION": REGION,
        "REGION_TABLE": REGION + 8,
        "OWNER": OWNER,
        "OWNER_DUE": OWNER + 8,
        "SLEEPERS": SLEEPERS,
        "STOP": STOP,
        "STARTED": STARTED,
        "WORKERS": WORKERS,
        "CALLBACK": CALLBACK,
        "SPIN": SPIN,
        "INTERRUPTED": INTERRUPTED,
        "CPUS": CPUS,
        "MASK": MASK,
        "SLOTS": SLOTS,
    }
    parts = ["driver", "driver_futex" if futex else "driver_nap"] + ["driver_python"] * python
    here = Path(__file__).parent
    text = "\n".join((here / f"{part}.ll").read_text(encoding="utf-8") for part in parts)
    return Template(text).substitute(
        {name: f"getelementptr (i8, ptr @pool, i64 {at})" for name, at in places.items()},
        SIZE=SIZE,
        STRIDE=STRIDE,
        SLOT_THREAD=SLOT_THREAD,
        SLOT_EXCLUDED=SLOT_EXCLUDED,
        SLOT_ALIVE=SLOT_ALIVE,
        SLOT_TAKEN=SLOT_TAKEN,
        futex=_FUTEX.get(arch, 0),
        monotonic=6 if system == "darwin" else 1,
        pause=pause or "; nothing to say to this processor",
        pause_declaration=declaration,
    )


def has_futex(arch: str, system: str) -> bool:
    """Return whether workers can sleep on a futex there."""
    return system == "linux" and arch in _FUTEX
