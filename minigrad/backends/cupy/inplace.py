"""Which new state is written over the old by the kernel that computes it.

A call that finds an index out of range must change nothing. The flags that tell are computed
first, and a kernel that writes over state looks at them itself, on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from minigrad.core.node import Node
from minigrad.dtypes import int64
from minigrad.passes.bodies import Body, Stored
from minigrad.passes.kernels import Loops
from minigrad.passes.terms import Gather, Load, Term, walk

from .dialect import c_type
from .emit import Kernel
from .layout import Layout

__all__ = ["guarded", "may_replace"]


def may_replace(body: Body, new: Node, old: Node, layout: Layout) -> bool:
    """Whether a kernel may store a node where an input lies: it reads there only what it replaces.

    The thread that stores an element has computed all that it stores by then.
    """
    mine = [s for s in body.stores if s.target is new]
    if len(mine) != 1 or layout.place(new).strides != layout.place(old).strides:
        return False
    by_rows = isinstance(body.kernel, Loops) and body.kernel.domain is not None
    varying = [s for s in body.stores if _varies(s, body)] if by_rows else []
    if mine[0] in varying:
        return False  # a row is read more than once
    elsewhere = [*(a.term for a in body.sums), *(s.term for s in varying)]
    if any(_reads(t, old) for t in walk(elsewhere)):
        return False
    return all(
        isinstance(t, Load) and t.index == mine[0].index
        for t in walk([s.term for s in body.stores])
        if _reads(t, old)
    )


def _varies(stored: Stored, body: Body) -> bool:
    """Whether something is stored for each place of a row, and not once for the row."""
    rows = set(body.rows)
    return any(v not in rows for at in stored.index for v, _ in at.terms)


def _reads(term: Term, node: Node) -> bool:
    return isinstance(term, Load | Gather) and term.node is node


def guarded(kernel: Kernel, flags: Sequence[int]) -> Kernel:
    """Return a kernel that does nothing if one of the flags in these buffers, if any, is set."""
    head, _, rest = kernel.text.partition(") {\n")
    parameters = "".join(f", const {c_type(int64)}* __restrict__ f{i}" for i in range(len(flags)))
    tests = "".join(f"  if (*f{i}) return;\n" for i in range(len(flags)))
    return replace(
        kernel, text=f"{head}{parameters}) {{\n{tests}{rest}", slots=(*kernel.slots, *flags)
    )
