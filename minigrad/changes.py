"""A count of what may make a compiled function trace again: attributes, modes, defaults.

While it stands still, whatever was checked before holds: a call of a compiled function
need not look at every attribute that its trace has read.
"""

from __future__ import annotations

__all__ = ["Changes", "changes"]


class Changes:
    """Counts the changes."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        """Note that something changed that a trace may depend on."""
        self.count += 1


changes = Changes()
