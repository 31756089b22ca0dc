"""LLVM text of a contraction: a matrix product, a convolution, or a gradient of either.

The result is cut into tasks, a strip of rows by a panel of columns. A task adds up blocks
of the inner loops into a scratch strip with one routine that keeps a tile of the result in
registers, and then computes from the strip whatever the kernel stores. Rows, columns and
inner loops may each be several nested loops, so a convolution needs no matrix of windows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.dtypes import DType, int64
from minigrad.passes.affine import ZERO, Affine, Var, flatten
from minigrad.passes.bodies import Body
from minigrad.passes.terms import Load, walk

from .blocking import Blocking
from .code import Code, grain_of
from .emit import Emitter
from .target import Target
from .tile import Ahead, tile_routine
from .transpose import pack_code
from .values import Value

__all__ = ["contraction_code"]

#: Multiply-adds in a nanosecond on one thread, and nanoseconds for an element of the result.
_RATE, _ELEMENT = 50.0, 0.3


def contraction_code(
    body: Body,
    target: Target,
    place: Callable[[Node], Place],
    partial: Callable[[Node], Place],
    parts: dict[Node, int],
    packed: Callable[[int], int],
) -> list[Code]:
    """Return the code of a contraction: perhaps one that packs the right factor, and its own.

    ``packed(nbytes)`` returns a new buffer. ``parts`` is told in how many parts the result
    comes, if its inner loop is divided.
    """
    return _Tiles(body, target, place, partial, parts).codes(packed)


class _Tiles:
    def __init__(
        self,
        body: Body,
        target: Target,
        place: Callable[[Node], Place],
        partial: Callable[[Node], Place],
        parts: dict[Node, int],
    ) -> None:
        assert body.left is not None and body.right is not None
        self.body, self.target = body, target
        self.place, self.partial, self.parts = place, partial, parts
        self.cut = cut = Blocking(body, target, place, partial)
        self.dtype: DType = cut.node.aval.dtype
        self.row = cut.tile.columns * self.dtype.itemsize  # bytes of a row of the strip
        self.left, self.left_buffer = cut.left, place(body.left.node).buffer
        self.right, self.right_buffer = cut.right, place(body.right.node).buffer
        self.out = Emitter(target, cut.tile.lanes, place, partial, cut.substitute)
        self.out.parts = parts
        self.k = self.out.writer

    def codes(self, packed: Callable[[int], int]) -> list[Code]:
        """Return the codes, in order."""
        if self.cut.direct:
            return [self._product()]
        return [self._pack(packed), self._product()]

    def _pack(self, packed: Callable[[int], int]) -> Code:
        """Return the code that lays the right factor out in panels, as the tiles read it."""
        cut, loops = self.cut, self.cut.panel_loops()
        depth = prod(v.extent for v in cut.unjoined)
        count = prod(v.extent for v in loops) * cut.panels
        buffer = packed(count * depth * self.row)
        code = pack_code(
            self.target, self.dtype, self.right_buffer, buffer, self.right, loops, cut.n,
            cut.unjoined, cut.tile.columns, cut.panels,
        )  # fmt: skip
        # From here on the right factor is the packed one.
        self.right_buffer = buffer
        at, step = ZERO, cut.tile.columns
        for v in reversed(cut.inner):
            at, step = at + Affine.of(v, step), step * v.extent
        self.panel_step = step
        step *= cut.panels
        for v in reversed(loops):
            at, step = at + Affine.of(v, step), step * v.extent
        self.right = at
        return code

    # Tasks --------------------------------------------------------------------------

    def _product(self) -> Code:
        """Return the code of the product."""
        cut, out, k = self.cut, self.out, self.k
        nbytes = cut.strip * self.row
        self.scratch = k.line(0, f"alloca [{nbytes} x i8], align 64")
        panel, strip = Var(cut.panels, "panel"), Var(cut.strips, "strip")
        if cut.by_rows:
            loops = [*cut.batch, *cut.rows[:-1], strip, *cut.columns[:-1], panel]
        else:
            loops = [*cut.columns[:-1], panel, *cut.batch, *cut.rows[:-1], strip]
        total = prod(v.extent for v in loops)
        size = cut.node.aval.size
        cost = size * prod(v.extent for v in cut.inner) / _RATE + size * _ELEMENT
        task = Var(total, "task")
        self.chunked: Var | None = None
        if self.body.parts:
            self.chunked = cut.around[0] if cut.around else cut.blocked
            assert self.chunked is not None
            extent = self.chunked.extent if cut.around else cut.blocks
            grain = -(-extent // self.body.parts)
            self.parts[cut.node] = -(-extent // grain)
            out.loop(task, "0", str(total), 1)
        else:
            extent, grain = total, grain_of(total, cost)
            out.loop(task, "%lo", "%hi", 1)
        self._numbers(loops, total, out.counter[task].regs[0])
        self._task(out.counter[panel].regs[0], out.counter[strip].regs[0])
        for v in loops:
            out.forget(v)
        out.end(task)
        text = "\n".join(["entry:", *k.take(0), "  ret void"])
        return Code(text, k.declarations, out.slots, extent, grain, cost)

    def _numbers(self, loops: list[Var], total: int, task: str) -> None:
        """Give each loop its turn in a task, from the task's number."""
        k, depth, rest = self.k, self.out.nest.depth, task
        for v in reversed(loops):
            if v.extent == 1:
                number = "0"
            elif v.extent == total:
                number = rest
            else:
                number = k.line(depth, f"urem i64 {rest}, {v.extent}")
                rest = k.line(depth, f"udiv i64 {rest}, {v.extent}")
            self.out.let(v, number)

    def _task(self, panel: str, strip: str) -> None:
        """Write one task: the blocks of the inner loops, then what is computed from the strip."""
        cut, out, k = self.cut, self.out, self.k
        depth = out.nest.depth
        first = self._times(strip, cut.strip)
        last = self._end(first)
        column = self._times(panel, cut.tile.columns)
        if cut.several:
            k.declarations.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
            args = f"ptr {self.scratch}, i8 0, i64 {cut.strip * self.row}, i1 false"
            k.text[depth].append(f"  call void @llvm.memset.p0.i64({args})")
        out.let(cut.n, column)
        self._blocks(first, last, panel)
        self._store(first, last, column)
        out.forget(cut.n)

    def _times(self, register: str, factor: int) -> str:
        """Return a register times a number, on the present level."""
        if register == "0" or factor == 1:
            return register
        return self.k.line(self.out.nest.depth, f"mul nuw nsw i64 {register}, {factor}")

    def _end(self, first: str) -> str:
        """Return the row after the strip's last."""
        cut, depth = self.cut, self.out.nest.depth
        if cut.strips == 1:
            return str(cut.m.extent)
        end = self.k.line(depth, f"add nuw nsw i64 {first}, {cut.strip}")
        whole = cut.m.extent % cut.strip == 0
        return end if whole else self.out.least(end, cut.m.extent, depth)

    # Adding up ----------------------------------------------------------------------

    def _blocks(self, first: str, last: str, panel: str) -> None:
        """Write the loops over blocks of the inner loops, and over the tiles of the strip."""
        cut, out, k = self.cut, self.out, self.k
        opened = list(cut.around)
        for v in cut.around:
            bounds = ("%lo", "%hi") if v is self.chunked else ("0", str(v.extent))
            out.loop(v, *bounds, 1)
        count = str(cut.block)
        if cut.blocked is not None and (cut.blocks > 1 or cut.blocked is self.chunked):
            extent = cut.blocked.extent
            start, stop = "0", str(extent)
            if cut.blocked is self.chunked:
                start = k.line(0, f"mul nuw nsw i64 %lo, {cut.block}")
                stop = k.line(0, f"mul nuw nsw i64 %hi, {cut.block}")
                if extent % cut.block:
                    stop = out.least(stop, extent, 0)
            out.loop(cut.blocked, start, stop, cut.block)
            opened.append(cut.blocked)
            if extent % cut.block:
                depth = out.nest.depth
                left = k.line(
                    depth, f"sub nuw nsw i64 {extent}, {out.counter[cut.blocked].regs[0]}"
                )
                count = out.least(left, cut.block, depth)
        self._tiles(first, last, panel, count)
        for v in reversed(opened):
            out.end(v)

    def _known(self, at: Affine) -> Affine:
        """Return an address without the loops that the tile routine goes through."""
        return Affine(at.const, tuple([(v, c) for v, c in at.terms if v in self.out.level]))

    def _tiles(self, first: str, last: str, panel: str, count: str) -> None:
        """Write the loops over the tiles of a strip: full ones, and what is left."""
        cut, out, k = self.cut, self.out, self.k
        depth, r = out.nest.depth, cut.tile.rows
        right, _ = out.pointer(self.right_buffer, self.dtype, self._known(self.right))
        if not cut.direct and cut.panels > 1:
            step = self._times(panel, self.panel_step * self.dtype.itemsize)
            right = k.line(depth, f"getelementptr inbounds i8, ptr {right}, i64 {step}")
        rest = cut.m.extent % r
        if not rest:
            self._tile_loop(first, last, r, right, count, first)
            return
        if cut.strips == 1:
            whole = str(cut.m.extent - rest)
        else:
            rows = k.line(depth, f"sub nuw nsw i64 {last}, {first}")
            tiles = k.line(depth, f"udiv i64 {rows}, {r}")
            done = k.line(depth, f"mul nuw nsw i64 {tiles}, {r}")
            whole = k.line(depth, f"add nuw nsw i64 {first}, {done}")
        if cut.m.extent >= r:
            self._tile_loop(first, whole, r, right, count, first)
        self._tile_loop(whole, last, rest, right, count, first)

    def _tile_loop(
        self, start: str, stop: str, rows: int, right: str, count: str, first: str
    ) -> None:
        """Write the loop over tiles of one height."""
        cut, out, k = self.cut, self.out, self.k
        out.loop(cut.m, start, stop, rows)
        left, _ = out.pointer(self.left_buffer, self.dtype, self._known(self.left))
        to = self._strip_row(first)
        table, ahead = self._ahead(rows)
        routine = tile_routine(
            self.target, self.dtype, cut.tile, rows, self.left.coefficient(cut.m),
            self.cut.routine_loops(self.left, self.right), adds=cut.several, ahead=ahead,
        )  # fmt: skip
        k.declarations |= {routine.text, *routine.declarations}
        args = f"ptr {left}, ptr {right}, ptr {to}, ptr {table}, i64 {count}"
        k.text[out.nest.depth].append(f"  call void @{routine.name}({args})")
        out.end(cut.m)

    def _ahead(self, rows: int) -> tuple[str, Ahead | None]:
        """Write the addresses that ``_store`` wants for a tile, if they can be fetched early."""
        cut, out, k, depth = self.cut, self.out, self.k, self.out.nest.depth
        wanted = [] if cut.several or len(cut.within) or self.body.parts else self._wanted()
        if not wanted:
            return "null", None
        table = k.line(0, f"alloca [{len(wanted) * rows} x ptr], align 64")
        number = 0
        for buffer, dtype, at in wanted:
            start, _ = out.pointer(buffer, dtype, at)
            step = at.coefficient(cut.m) * dtype.itemsize
            for r in range(rows):
                here = k.line(depth, f"getelementptr i8, ptr {start}, i64 {r * step}")
                to = k.line(depth, f"getelementptr inbounds ptr, ptr {table}, i64 {number}")
                k.text[depth].append(f"  store ptr {here}, ptr {to}, align 8")
                number += 1
        return table, Ahead(number, max(1, self.row // 64))

    def _wanted(self) -> list[tuple[int, DType, Affine]]:
        """Return where ``_store`` reads and writes rows of a tile, side by side in memory."""
        found: dict[tuple[int, Affine], DType] = {}
        touched = [(s.target, s.index) for s in self.body.stores]
        terms = walk([s.term for s in self.body.stores])
        touched += [(t.node, t.index) for t in terms if isinstance(t, Load)]
        for node, index in touched:
            place, dtype = self.place(node), node.aval.dtype
            at = self.out.address(place, index)
            if at.coefficient(self.cut.n) == 1 and at.coefficient(self.cut.m):
                found[place.buffer, at] = dtype
        return [(buffer, dtype, at) for (buffer, at), dtype in found.items()]

    def _strip_row(self, first: str) -> str:
        """Return the address in the strip of the row that the loop over rows is at."""
        k, depth = self.k, self.out.nest.depth
        row = self.out.counter[self.cut.m].regs[0]
        inside = row if first == "0" else k.line(depth, f"sub nuw nsw i64 {row}, {first}")
        step = k.line(depth, f"mul nuw nsw i64 {inside}, {self.row}")
        return k.line(depth, f"getelementptr inbounds i8, ptr {self.scratch}, i64 {step}")

    # What is computed from the result -------------------------------------------------

    def _store(self, first: str, last: str, column: str) -> None:
        """Write the loop over the rows of the strip that computes and stores."""
        cut, out, k = self.cut, self.out, self.k
        out.loop(cut.m, first, last, 1)
        depth = out.nest.depth
        row = self._strip_row(first)
        out.vector, k.unroll = cut.n, cut.tile.vectors
        if cut.n.extent % cut.tile.columns:
            left = k.line(depth, f"sub nsw i64 {cut.n.extent}, {column}")
            out.mask = k.tail_mask(Value((left,), int64, 1, depth))
        out.product = lambda: k.load(row, self.dtype, cut.tile.lanes, depth)
        if self.body.parts:
            place = self.partial(cut.node)
            base = out.part(place.buffer, place.strides[0] * self.dtype.itemsize)
            out.store(base, out.product(), out.at(flatten(self.body.result, place.strides[1:])))
        values = [(item, out.value(item.term)) for item in self.body.stores]
        for item, value in values:
            where = self.place(item.target)
            out.store(where.buffer, value, out.address(where, item.index))
        out.product, out.mask, out.vector, k.unroll = None, None, None, 1
        out.end(cut.m)
