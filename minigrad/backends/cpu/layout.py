"""Where nodes lie in the host's memory."""

from __future__ import annotations

from minigrad.backends import layout
from minigrad.core.node import Node
from minigrad.dtypes import Array

from .plan import aligned

__all__ = ["ALIGN", "Layout"]

#: Bytes to which buffers are aligned: a line of the cache, and the widest vectors.
ALIGN = 64


class Layout(layout.Layout):
    """A layout whose memory is aligned for vectors."""

    def _filled(self, node: Node) -> Array:
        own = aligned(node.aval.size, node.aval.dtype)
        own[:] = super()._filled(node)
        return own
