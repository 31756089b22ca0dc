"""What a schedule is made of: kernels, what each stores, and what operations cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.ops.random import is_random_bits
from minigrad.shapes import Shape

from .layout import Orders
from .numbers import SEPARATE

__all__ = [
    "GUARDED", "MOVES", "REDUCTIONS", "Contraction", "Domain", "Kernel", "Loops", "Options",
    "Schedule", "Sink", "Special", "by_rows", "cost_of", "fuses",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What depends on the machine.

    Attributes
    ----------
    row_bytes
        The most bytes along the reduced axes for which a reduction is computed together
        with what uses it, row by row.
    short_bytes
        Likewise where there are fewer than 8 rows: a longer one is better divided.
    column_bytes, columns
        Likewise where neighbours in memory belong to different rows, so that these are
        columns; and how many of them that takes.
    parts
        Into how many parts a large reduction is divided: ``parts(operand, result)``, in elements.
    product_parts
        Likewise for a product: ``product_parts(result, inner)``, by its inner size.
    epilogues
        Whether a contraction's kernel goes on with elementwise work on its result.
    separate
        Above this number of elementwise nodes on small arrays, each is a kernel of its own:
        equal kernels are compiled once, so that compiling stays cheap.
    """

    row_bytes: int = 1 << 20
    short_bytes: int = 0
    column_bytes: int = 0
    columns: int = 256
    parts: Callable[[int, int], int] = lambda *_: 1
    product_parts: Callable[[int, int], int] = lambda *_: 1
    epilogues: bool = True
    separate: int = SEPARATE


@dataclass(frozen=True, slots=True)
class Domain:
    """The rows of a kernel that reduces row by row: an operand's shape, and the reduced axes."""

    shape: Shape
    axes: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The axes that count the rows."""
        return tuple(a for a in range(len(self.shape)) if a not in self.axes)


@dataclass(frozen=True, slots=True, eq=False)
class Sink:
    """Something that a kernel stores: ``source``, as ``target`` or as a part of it.

    Element i of the source is element ``low + step * i`` of the target. With ``parts``, the
    source is added up (multiplied, ...) to ``target``, a reduction, in that many parts.
    """

    target: Node
    source: Node
    low: tuple[int, ...] | None = None
    step: tuple[int, ...] | None = None
    parts: int = 0


@dataclass(slots=True, eq=False)
class Loops:
    """A fused kernel over the elements of ``shape``; with a domain, it reduces row by row.

    ``like`` is a kernel that does the same to other nodes: to its ``leaves``, one by one.
    """

    level: int
    shape: Shape
    domain: Domain | None
    sinks: list[Sink] = field(default_factory=list)
    like: Loops | None = None
    leaves: tuple[Node, ...] = ()


@dataclass(slots=True, eq=False)
class Contraction:
    """A matrix product and the sinks that are computed from its result, element by element."""

    level: int
    node: Node
    sinks: list[Sink] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Special:
    """An operation by itself; its operands are stored as they are."""

    level: int
    node: Node


Kernel: TypeAlias = Loops | Contraction | Special

#: Operations that are index arithmetic.
MOVES = frozenset(("broadcast_to", "reshape", "permute_dims", "slice", "flip", "windows"))
GUARDED = frozenset(("fold_windows", "pad"))

#: Columns that must lie side by side in memory: 32 bytes are read at a time.
BESIDE = 8

#: Reductions that kernels compute.
REDUCTIONS = frozenset(("sum", "prod", "max", "min"))

_COSTS = {
    "div": 5, "sqrt": 5, "rsqrt": 6, "exp": 14, "expm1": 16, "log": 14, "log1p": 16, "tanh": 16,
    "erf": 20, "sin": 20, "cos": 20, "pow": 40, "tan": 40, "call": 8, "pad": 2, "fold_windows": 2,
    "take": 2, **dict.fromkeys(MOVES, 0),
    **dict.fromkeys(
        ("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "atan2", "remainder"),
        60,
    ),
}  # fmt: skip


def cost_of(name: str) -> float:
    """Return roughly how many additions an elementwise operation is worth."""
    return float(_COSTS.get(name, 1))


def by_rows(graph: Graph, options: Options, inner: Callable[[Node], int | None]) -> frozenset[Node]:
    """Return the reductions that are computed row by row, together with what uses them.

    ``inner`` tells the axis along which neighbours of a node lie in memory, if it has one.
    Where that is not reduced, the rows are columns in memory; unless there are rows across
    them: then the kernel that has those adds up the columns on its way.
    """
    found = {
        n: Domain(n.inputs[0].aval.shape, tuple(n.params["axes"]))
        for n in graph.nodes
        if n.primitive.name in REDUCTIONS and _is_short(n, inner, options)
    }
    rows = {n: d for n, d in found.items() if inner(n.inputs[0]) in d.axes}
    across = {Domain(d.shape, d.rows) for d in rows.values()}
    return frozenset([n for n, d in found.items() if n in rows or d not in across])


def _is_short(reduction: Node, inner: Callable[[Node], int | None], options: Options) -> bool:
    """Whether a row, or a column in memory, is short enough for the registers of a kernel."""
    (x,), rows = reduction.inputs, reduction.aval.size
    along = inner(x)
    if along is None:
        return False
    length = x.aval.size // rows * x.aval.dtype.itemsize
    if along in reduction.params["axes"]:
        return length <= (options.row_bytes if rows >= 8 else options.short_bytes)
    return (
        length <= options.column_bytes
        and rows >= options.columns
        and x.aval.shape[along] >= BESIDE
    )  # fmt: skip


def fuses(node: Node) -> bool:
    """Whether a node is computed element by element, or is index arithmetic."""
    p = node.primitive
    return (
        p.kind == "elementwise" or p.name in MOVES or p.name in GUARDED or p.name == "take"
        or is_random_bits(node)
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class Schedule:
    """Kernels in an order in which they may run, and what each may load.

    ``stored`` maps a node to the first level on which it can be loaded, ``divided`` the
    reductions that are stored in parts to the number of parts, ``inside`` what has no
    memory of its own to the sink that puts it into another node's: what is padded lies
    within its padding.
    """

    graph: Graph
    kernels: list[Kernel]
    stored: dict[Node, int]
    divided: dict[Node, int]
    orders: Orders
    inside: dict[Node, Sink]
