"""How a contraction is cut: its loops, the tile, blocks of the inner loops, strips of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.passes.affine import Affine, Var, flatten
from minigrad.passes.bodies import Body
from minigrad.passes.terms import Bits, Count, Gather, Guard, Load, Partial, walk

from .order import join
from .target import Target
from .tile import Inner, tile_for

__all__ = ["Blocking"]

#: Inner steps that one call of the tile routine takes at the most, and when K is in parts.
BLOCK, PART_BLOCK = 1024, 256
#: Bytes of the scratch strip.
STRIP = 64 << 10
#: Rows of a strip, where the result has more.
ROWS = 48
#: Bytes of a right factor that is small enough to be read where it is, however narrow.
SMALL = 16 << 10


class Blocking:
    """The cut of a contraction.

    Attributes
    ----------
    batch, rows, columns
        The loops of the result's axes; neighbours that act as one are joined.
    inner
        The loops that are added up over: ``around`` the tiles, ``blocked`` (``block`` turns
        at a time), and ``within`` the tile routine.
    left, right
        The addresses of the factors.
    direct
        Whether the right factor is read in place; otherwise it is packed into panels first.
    strip, strips, panels
        Rows of a strip, how many strips, how many panels of columns.
    """

    def __init__(
        self,
        body: Body,
        target: Target,
        place: Callable[[Node], Place],
        partial: Callable[[Node], Place],
    ) -> None:
        assert body.left is not None and body.right is not None
        self.body, self.place, self.partial = body, place, partial
        self.node: Node = body.kernel.node  # type: ignore[union-attr]
        self.size = self.node.aval.dtype.itemsize
        left, right = place(body.left.node), place(body.right.node)
        self.left = flatten(body.left.index, left.strides) + left.offset
        self.right = flatten(body.right.index, right.strides) + right.offset
        self.substitute: dict[Var, Affine] = {}
        self._result_loops()
        self.n = self.columns[-1]
        self._choose_tile(target)
        self._inner_loops()
        self._blocks()
        self._strips()

    def _result_loops(self) -> None:
        *batch, rows, columns = self.body.axes
        touched = [self.left, self.right, *self._touched()]
        self.batch = [v for axis in batch for v in axis if v.extent > 1]
        self.rows = [v for v in rows if v.extent > 1]
        self.columns = [v for v in columns if v.extent > 1]
        join(self.rows, touched, self.substitute)
        join(self.columns, touched, self.substitute)
        self.rows = self.rows or [Var(1, "m")]
        self.columns = self.columns or [Var(1, "n")]
        self.left = self.left.substitute(self.substitute)
        self.right = self.right.substitute(self.substitute)

    def _choose_tile(self, target: Target) -> None:
        """Choose the loop over rows that tiles go along, the last if others are no better."""
        lanes = target.vector_bytes // self.size
        least = float("inf")
        for v in reversed(self.rows):
            tile, time = tile_for(target, lanes, v.extent, self.n.extent)
            if time / v.extent < least * 0.97:
                self.m, self.tile, least = v, tile, time / v.extent
        self.rows.remove(self.m)
        self.rows.append(self.m)

    def _touched(self) -> list[Affine]:
        """Return all by which what is stored depends on its place in the result."""
        found = [flatten(s.index, self.place(s.target).strides) for s in self.body.stores]
        for term in walk([s.term for s in self.body.stores]):
            if isinstance(term, Load | Gather):
                found.append(flatten(term.index, self.place(term.node).strides))
            elif isinstance(term, Partial):
                strides = self.partial(term.node).strides
                found.append(flatten((term.part, *term.index), strides))
            elif isinstance(term, Count | Bits):
                found.append(term.at)
            elif isinstance(term, Guard):
                found += [at for at, _, _ in term.conditions]
        if self.body.parts:
            found.append(flatten(self.body.result, self.partial(self.node).strides[1:]))
        return found

    def _inner_loops(self) -> None:
        """Order the inner loops by memory, and decide whether the right factor is packed."""
        inner = [v for v in self.body.inner if v.extent > 1]
        nbytes = self.n.extent * prod(v.extent for v in inner) * self.size
        self.direct = (
            (self.right.coefficient(self.n) == 1 or self.n.extent == 1)
            and self.n.extent % self.tile.columns == 0
            and (self.tile.columns * self.size >= 256 or nbytes <= SMALL)
        )
        first, second = (self.right, self.left) if self.direct else (self.left, self.right)
        inner.sort(key=lambda v: (-abs(first.coefficient(v)), -abs(second.coefficient(v))))
        self.unjoined = list(inner)
        joined: dict[Var, Affine] = {}
        join(inner, [self.left, self.right] if self.direct else [self.left], joined)
        self.left = self.left.substitute(joined)
        if self.direct:
            self.right = self.right.substitute(joined)
        self.inner = inner

    def _blocks(self) -> None:
        """Divide the inner loops: those of the tile routine, the blocked one, those around."""
        most, inner = (PART_BLOCK if self.body.parts else BLOCK), self.inner
        first = len(inner)
        count = 1
        while first > 0 and count * inner[first - 1].extent <= most:
            first -= 1
            count *= inner[first].extent
        if first == 0 and inner:  # all fit; the outermost one counts the turns
            first = 1
            count //= inner[0].extent
        self.within = inner[first:]
        self.blocked = inner[first - 1] if first else None
        self.around = inner[: max(first - 1, 0)]
        self.block = 1
        if self.blocked is not None:
            self.block = _divisor(self.blocked.extent, max(1, most // count))
        self.blocks = -(-self.blocked.extent // self.block) if self.blocked is not None else 1

    @property
    def several(self) -> bool:
        """Whether a tile is added up in several calls of the routine."""
        return bool(self.around) or self.blocks > 1

    def _strips(self) -> None:
        r, width = self.tile.rows, self.tile.columns
        whole = -(-self.m.extent // r) * r
        wanted = whole if self.body.parts else max(r, ROWS // r * r)
        most = max(r, STRIP // (width * self.size) // r * r)
        self.strip = min(most, wanted, whole)
        self.strips = -(-self.m.extent // self.strip)
        self.panels = -(-self.n.extent // width)

    @property
    def by_rows(self) -> bool:
        """Whether panels follow one another faster than strips.

        The larger factor is then read again for each strip, else the other one for each panel; the
        result is written row by row, which is better for memory.
        """
        rows = prod(v.extent for v in self.rows)
        columns = prod(v.extent for v in self.columns)
        return not self.batch and rows >= columns

    def routine_loops(self, left: Affine, right: Affine) -> list[Inner]:
        """Return the inner loops of the tile routine, for factors at these addresses."""
        loops = [(v, str(v.extent)) for v in self.within]
        if self.blocked is not None:
            loops.insert(0, (self.blocked, "%count"))
        return [Inner(n, left.coefficient(v), right.coefficient(v)) for v, n in loops]

    def panel_loops(self) -> list[Var]:
        """Return the loops, other than panels, that the right factor depends on."""
        outer: Sequence[Var] = [*self.batch, *self.columns[:-1]]
        return [v for v in outer if self.right.coefficient(v)]


def _divisor(n: int, most: int) -> int:
    """Return the largest divisor of n up to ``most``, or ``most`` if they are all small."""
    if n <= most:
        return n
    best = max(d for d in range(1, most + 1) if n % d == 0)
    return best if best * 2 > most else most
