"""The register tile: a routine that adds a block of a matrix product to a tile of the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from minigrad.dtypes import DType

from .target import Target
from .values import TYPES

__all__ = ["Ahead", "Inner", "Routine", "Tile", "tile_for", "tile_routine"]


_LINE = 64  # bytes of a line of the cache
_PREFETCH = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows, vectors of columns, lanes of a vector."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Columns of a tile: the width of a panel."""
        return self.vectors * self.lanes


def tile_for(target: Target, lanes: int, rows: int, columns: int) -> tuple[Tile, float]:
    """Return the tile with which a result of this size takes least time, and that time.

    For each inner step a tile takes rows * vectors multiply-adds and rows + vectors loads,
    most of which are hidden behind them; small tiles wait for the right factor. With 32
    registers LLVM keeps all broadcasts in registers, too, and two may still be too many.
    """
    many = target.vector_bytes == 64 or target.arch in ("aarch64", "arm64")
    best, least = Tile(1, 1, lanes), float("inf")
    for vectors in (1, 2, 3, 4):
        for r in range(1, min(14, max(rows, 1)) + 1):
            used = r * vectors + vectors + (r if many else 1)
            if used > (34 if many else 16):
                continue
            whole, rest = divmod(rows, r)
            steps = whole * _steps(r, vectors) + (_steps(rest, vectors) if rest else 0)
            time = -(-columns // (vectors * lanes)) * steps
            if time < least * 0.999:
                best, least = Tile(r, vectors, lanes), time
    return best, least


def _steps(rows: int, vectors: int) -> float:
    return max(rows * vectors + 0.35 * (rows + vectors), 12.0)


@dataclass(frozen=True, slots=True)
class Inner:
    """An inner loop: its turns (text), and what each adds to both addresses, in elements."""

    stop: str
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is fetched into the cache while a tile is added up: addresses, and lines of each.

    One in each inner step costs next to nothing (more do: they wait for one another); what is
    computed from the tile next would have to wait for them.
    """

    addresses: int
    lines: int


@dataclass(frozen=True, slots=True)
class Routine:
    """A routine's name, its text, and what the text declares."""

    name: str
    text: str
    declarations: frozenset[str]


def tile_routine(
    target: Target,
    dtype: DType,
    tile: Tile,
    rows: int,
    row_step: int,
    loops: Sequence[Inner],
    *,
    adds: bool,
    ahead: Ahead | None = None,
) -> Routine:
    """Return ``void tile(ptr A, ptr B, ptr T, ptr P, i64 count)``: T (+)= the product of a block.

    ``rows`` of the left factor lie ``row_step`` elements apart, each element is spread over
    a vector; a row of the right factor is ``tile.vectors`` vectors side by side, and so is
    a row of T. ``loops`` are the inner loops, the first of ``%count`` turns. ``adds`` says
    whether T holds a sum already. P are addresses that are fetched meanwhile, see ``Ahead``.
    """
    return _Writer(target, dtype, tile, rows, row_step, loops, adds, ahead).routine()


class _Writer:
    def __init__(
        self,
        target: Target,
        dtype: DType,
        tile: Tile,
        rows: int,
        row_step: int,
        loops: Sequence[Inner],
        adds: bool,
        ahead: Ahead | None,
    ) -> None:
        self.ahead = ahead
        self.size = dtype.itemsize
        self.tile, self.rows, self.row_step, self.loops = tile, rows, row_step, loops
        self.adds = adds
        self.wide, self.one = TYPES[dtype, tile.lanes], TYPES[dtype, 1]
        name = "fma" if target.has_fma else "fmuladd"
        self.fma = f"@llvm.{name}.v{tile.lanes}f{8 * self.size}"
        self.grid = [(r, v) for r in range(rows) for v in range(tile.vectors)]

    def routine(self) -> Routine:
        """Return the whole routine."""
        start: list[str] = ["entry:"]
        initial = dict.fromkeys(self.grid, "zeroinitializer")
        start += self._addresses()
        if self.adds:
            for r, v in self.grid:
                start.append(f"  %t{r}_{v} = load {self.wide}, ptr %tp{r}_{v}, align {self.size}")
                initial[r, v] = f"%t{r}_{v}"
        lines, finals = self._loop(0, "entry", "%A", "%B", initial)
        start += lines
        for r, v in self.grid:
            at = f"ptr %tp{r}_{v}, align {self.size}"
            start.append(f"  store {self.wide} {finals[r, v]}, {at}")
        start.append("  ret void")
        inside = "\n".join(start)
        label = "tile" + hashlib.sha256(inside.encode()).hexdigest()[:16]
        given = (
            "ptr noalias readonly %A, ptr noalias readonly %B, ptr noalias %T, ptr %P, i64 %count"
        )
        text = (
            f"define internal void @{label}({given}) nounwind noinline alignstack(64) {{\n"
            f"{inside}\n}}"
        )
        kinds = ", ".join([self.wide] * 3)
        declarations = {f"declare {self.wide} {self.fma}({kinds})"}
        if self.ahead is not None:
            declarations |= {_PREFETCH, "declare i64 @llvm.umin.i64(i64, i64)"}
        return Routine(label, text, frozenset(declarations))

    def _addresses(self) -> list[str]:
        width, step = self.tile.columns * self.size, self.tile.lanes * self.size
        return [
            f"  %tp{r}_{v} = getelementptr inbounds i8, ptr %T, i64 {r * width + v * step}"
            for r, v in self.grid
        ]

    def _loop(
        self, d: int, came: str, left: str, right: str, sums: dict[tuple[int, int], str]
    ) -> tuple[list[str], dict[tuple[int, int], str]]:
        """Return the text of the loops from depth ``d`` on, and what the sums are after them."""
        if d == len(self.loops):
            return self._step(left, right, sums)
        loop = self.loops[d]
        inside = {(r, v): f"%x{d}_{r}_{v}" for r, v in self.grid}
        fetches = self._fetch(d) if self.ahead is not None and d == len(self.loops) - 1 else []
        body, after = self._loop(d + 1, f"body{d}", f"%A{d}", f"%B{d}", inside)
        last = f"body{d}" if d == len(self.loops) - 1 else f"end{d + 1}"
        phis = [
            (f"%i{d}", "i64", "0", f"%i{d}n"),
            (f"%A{d}", "ptr", left, f"%A{d}n"),
            (f"%B{d}", "ptr", right, f"%B{d}n"),
            *[(inside[g], self.wide, sums[g], after[g]) for g in self.grid],
        ]
        lines = [f"  br label %head{d}", f"head{d}:"]
        for name, kind, first, again in phis:
            lines.append(f"  {name} = phi {kind} [ {first}, %{came} ], [ {again}, %{last} ]")
        lines += [
            f"  %c{d} = icmp ult i64 %i{d}, {loop.stop}",
            f"  br i1 %c{d}, label %body{d}, label %end{d}",
            f"body{d}:",
            *fetches,
            *body,
            f"  %i{d}n = add nuw nsw i64 %i{d}, 1",
            f"  %A{d}n = getelementptr inbounds i8, ptr %A{d}, i64 {loop.left * self.size}",
            f"  %B{d}n = getelementptr inbounds i8, ptr %B{d}, i64 {loop.right * self.size}",
            f"  br label %head{d}",
            f"end{d}:",
        ]
        return lines, inside

    def _fetch(self, d: int) -> list[str]:
        """Return the text that fetches one line in each turn of the loop."""
        assert self.ahead is not None
        addresses, lines = self.ahead.addresses, self.ahead.lines
        return [
            f"  %f = call i64 @llvm.umin.i64(i64 %i{d}, i64 {addresses * lines - 1})",
            f"  %fa = udiv i64 %f, {lines}",
            f"  %fl = urem i64 %f, {lines}",
            "  %fp = getelementptr inbounds ptr, ptr %P, i64 %fa",
            "  %fb = load ptr, ptr %fp, align 8",
            f"  %fo = shl i64 %fl, {_LINE.bit_length() - 1}",
            "  %ft = getelementptr i8, ptr %fb, i64 %fo",
            "  call void @llvm.prefetch.p0(ptr %ft, i32 1, i32 3, i32 1)",
        ]

    def _step(
        self, left: str, right: str, sums: dict[tuple[int, int], str]
    ) -> tuple[list[str], dict[tuple[int, int], str]]:
        """Return the text of one inner step, for all rows and vectors."""
        wide, one, size, lanes = self.wide, self.one, self.size, self.tile.lanes
        lines: list[str] = []
        for v in range(self.tile.vectors):
            at = right
            if v:
                at, step = f"%bp{v}", v * lanes * size
                lines.append(f"  {at} = getelementptr inbounds i8, ptr {right}, i64 {step}")
            lines.append(f"  %b{v} = load {wide}, ptr {at}, align {size}")
        after: dict[tuple[int, int], str] = {}
        for r in range(self.rows):
            at = left
            if r:
                at, step = f"%ap{r}", r * self.row_step * size
                lines.append(f"  {at} = getelementptr inbounds i8, ptr {left}, i64 {step}")
            zeros = f"<{lanes} x i32> zeroinitializer"
            lines += [
                f"  %as{r} = load {one}, ptr {at}, align {size}",
                f"  %ai{r} = insertelement {wide} poison, {one} %as{r}, i64 0",
                f"  %av{r} = shufflevector {wide} %ai{r}, {wide} poison, {zeros}",
            ]
            for v in range(self.tile.vectors):
                after[r, v] = f"%y{r}_{v}"
                args = f"{wide} %av{r}, {wide} %b{v}, {wide} {sums[r, v]}"
                lines.append(f"  %y{r}_{v} = call {wide} {self.fma}({args})")
        return lines, after
