"""The kernel that ends a call: new state is copied over the old, if no check found an error.

It looks at the flags itself, on the device: the host need not come between a step's work and
its state, and a call that fails changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.core.node import Node
from minigrad.dtypes import int64

from .dialect import c_type
from .emit import Kernel
from .layout import Layout

__all__ = ["commits"]

THREADS = 256
#: Pieces of 16 bytes that a thread copies.
_EACH = 4
#: Pairs of buffers of a kernel: its arguments must fit 4 KiB.
_PAIRS = 200


def commits(
    layout: Layout, states: Sequence[tuple[Node, Node]], flags: Sequence[Node]
) -> list[Kernel]:
    """Return the kernels that copy new state over old, given as pairs."""
    pairs = [(layout.place(n).buffer, layout.place(o).buffer) for n, o in states if n.aval.size]
    guards = [layout.place(n).buffer for n in flags]
    return [
        _kernel(layout, pairs[i : i + _PAIRS], guards) for i in range(0, len(pairs), _PAIRS)
    ]  # fmt: skip


def _kernel(layout: Layout, pairs: Sequence[tuple[int, int]], guards: Sequence[int]) -> Kernel:
    """Write one of them: each block has its part of one buffer."""
    arguments = [f"const {c_type(int64)}* __restrict__ f{i}" for i in range(len(guards))]
    lines = [f"  if (*f{i}) return;" for i in range(len(guards))]
    low = 0
    for i, (new, _) in enumerate(pairs):
        arguments += [f"const mg_16* __restrict__ n{i}", f"mg_16* __restrict__ o{i}"]
        count = -(-layout.buffers[new].nbytes // 16)  # the last one may reach into what is free
        high = low + -(-count // (THREADS * _EACH))
        lines.append(
            f"  if (blockIdx.x < {high}) "
            f"return mg_copy<{THREADS}, {_EACH}>(n{i}, o{i}, blockIdx.x - {low}, {count});"
        )
        low = high
    head = (
        f'extern "C" __global__ void __launch_bounds__({THREADS}) NAME({", ".join(arguments)}) {{'
    )
    return Kernel(
        name="", text="\n".join([head, *lines, "}\n"]), helpers=frozenset({"mg_copy"}),
        slots=(*guards, *(slot for pair in pairs for slot in pair)), grid=(low, 1, 1),
        threads=THREADS, what="commit", writes=frozenset(old for _, old in pairs),
    )  # fmt: skip
