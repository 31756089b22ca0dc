"""The kernel that ends a call: it copies new state that could not be written over the old."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.core.node import Node

from .emit import Kernel
from .inplace import guarded
from .layout import Layout

__all__ = ["commits"]

THREADS = 256
#: Pieces of 16 bytes that a thread copies.
_EACH = 4
#: Pairs of buffers of a kernel: its arguments must fit 4 KiB.
_PAIRS = 200


def commits(
    layout: Layout, states: Sequence[tuple[Node, Node]], flags: Sequence[int]
) -> list[Kernel]:
    """Return the kernels that copy new state over old, given as pairs, unless a flag is set."""
    pairs = [(layout.place(n).buffer, layout.place(o).buffer) for n, o in states if n.aval.size]
    found = [_kernel(layout, pairs[i : i + _PAIRS]) for i in range(0, len(pairs), _PAIRS)]
    return [guarded(kernel, flags) for kernel in found]


def _kernel(layout: Layout, pairs: Sequence[tuple[int, int]]) -> Kernel:
    """Write one of them: each block has its part of one buffer."""
    arguments, lines = [], []
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
        slots=tuple(slot for pair in pairs for slot in pair), grid=(low, 1, 1),
        threads=THREADS, what="commit", writes=frozenset(old for _, old in pairs),
    )  # fmt: skip
