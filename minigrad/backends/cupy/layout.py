"""Where nodes lie on the device: all in one allocation."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backends import layout
from minigrad.backends.memory import Buffer, pack, rounded
from minigrad.core.node import Node

__all__ = ["ALIGN", "Layout", "allocate"]

#: Bytes to which buffers are aligned: vector loads, and what CuPy's pool aligns to.
ALIGN = 256


class Layout(layout.Layout):
    """A layout in which results have memory of their own, filled in advance if padded."""

    def _result(self, node: Node, number: int) -> Buffer:
        buffer = super()._result(node, number)
        if node.primitive.name == "pad":
            buffer.value = self._filled(node)
        return buffer

    def over(self, new: Node, old: Node) -> None:
        """Let a result lie where an input does, which it replaces."""
        self.buffers[self._places[new].buffer].nbytes = 0
        self._places[new] = self._places[old]


def allocate(buffers: Sequence[Buffer]) -> int:
    """Give every buffer its offset in one allocation; return its size.

    Arena buffers that are not alive together share memory. The others have their own; small
    results lie side by side, so that they are copied out as one.
    """
    base = 0
    for b in sorted(buffers, key=lambda b: b.nbytes if b.kind == "result" else -1):
        if b.kind != "arena":
            b.offset, base = base, base + rounded(b.nbytes, ALIGN)
    size = pack(buffers, ALIGN).nbytes
    for b in buffers:
        if b.kind == "arena":
            b.offset += base
    return base + size
