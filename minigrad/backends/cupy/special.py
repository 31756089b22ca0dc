"""Kernels of operations that do not fuse: positions of extrema, running sums, adding by index."""

from __future__ import annotations

from math import prod

from minigrad.backends.layout import Place
from minigrad.core.node import Node
from minigrad.dtypes import kind_of, wide

from .dialect import Value, c_type
from .emit import Emitter, Kernel, identity
from .layout import Layout
from .loops import THREADS

__all__ = ["special"]


def special(node: Node, layout: Layout) -> Kernel | None:
    """Return the kernel of an operation, or None if there is none for it."""
    write = _KERNELS.get(node.primitive.name)
    if write is None or not all(_plain(layout.place(n), n) for n in (*node.inputs, node)):
        return None
    return write(node, layout)


def _plain(place: Place, node: Node) -> bool:
    total = 1
    for n, stride in zip(reversed(node.aval.shape), reversed(place.strides), strict=True):
        if n > 1 and stride != total:
            return False
        total *= n
    return place.offset == 0


def _split(node: Node, axis: int) -> tuple[int, int, int]:
    """Return how many elements are before, along and after an axis."""
    shape = node.aval.shape
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def _names(out: Emitter, node: Node, layout: Layout) -> tuple[list[str], str]:
    reads = [out.arguments.name(layout.place(i), write=False) for i in node.inputs]
    return reads, out.arguments.name(layout.place(node), write=True)


def _position(node: Node, layout: Layout) -> Kernel:
    """Give a warp to each result: the first winner of each lane, then of all. NaN wins."""
    (x,) = node.inputs
    out = Emitter(layout.place, layout.partial)
    line, k = out.k.line, out.k
    before, n, after = _split(x, node.params["axis"])
    count, dtype = before * after, x.aval.dtype
    (source,), target = _names(out, node, layout)
    sign = ">" if node.primitive.name == "argmax" else "<"
    kind = c_type(dtype)
    better = f"(a {sign} b || (a != a && b == b))"
    line(f"const i64 number = (i64)blockIdx.x * {THREADS // 32} + (i32)(threadIdx.x >> 5);")
    line("const i32 lane = (i32)(threadIdx.x & 31u);")
    with out.block(f"if (number < {count})"):
        line(f"const i64 base = number / {after} * {n * after} + number % {after};")
        line(f"{kind} b = 0; i64 at = -1;")
        with out.block(f"for (i64 i = lane; i < {n}; i += 32)"):
            line(f"const {kind} a = {k.loaded(f'{source}[base + i * {after}]', dtype)};")
            line(f"if (at < 0 || {better}) {{ b = a; at = i; }}")
        with out.block("for (i32 o = 16; o; o >>= 1)"):
            bits = "(int)" if kind_of(dtype) == "b" else ""
            line(f"const {kind} a = ({kind})__shfl_xor_sync(0xffffffffu, {bits}b, o);")
            line("const i64 other = __shfl_xor_sync(0xffffffffu, at, o);")
            line("const bool same = a == b || (a != a && b != b);")
            line(f"if (other >= 0 && (at < 0 || {better} || (same && other < at))) "
                 "{ b = a; at = other; }")  # fmt: skip
        line(f"if (lane == 0) {target}[number] = at;")
    return out.kernel("position", (-(-count // (THREADS // 32)), 1, 1), THREADS)


def _running(node: Node, layout: Layout) -> Kernel:
    """Give a thread to each line; it goes along as the reference does."""
    (x,) = node.inputs
    out = Emitter(layout.place, layout.partial)
    line, dtype = out.k.line, x.aval.dtype
    before, n, after = _split(x, node.params["axis"])
    count = before * after
    (source,), target = _names(out, node, layout)
    line(f"const i64 number = (i64)blockIdx.x * {THREADS} + (i32)threadIdx.x;")
    with out.block(f"if (number < {count})"):
        line(f"const i64 base = number / {after} * {n * after} + number % {after};")
        total = Value("total", dtype)
        line(f"{c_type(dtype)} total = 0;")
        with out.block(f"for (i64 i = 0; i < {n}; ++i)"):
            place = f"{n - 1} - i" if node.params["reverse"] else "i"
            line(f"const i64 here = base + ({place}) * {after};")
            before_ = Value("before", dtype)
            line(f"const {c_type(dtype)} before = total;")
            added = out.k.add(before_, out.k.load(f"{source}[here]", dtype))
            line(f"total = {added.text};")
            out.k.store(f"{target}[here]", total)
    return out.kernel("running", (-(-count // THREADS), 1, 1), THREADS)


def _scatter(node: Node, layout: Layout) -> Kernel:
    """Give a block to each row of the result: it finds its own summands and adds them in order."""
    g, index = node.inputs
    out = Emitter(layout.place, layout.partial)
    line, dtype = out.k.line, g.aval.dtype
    axis, n = node.params["axis"], node.params["n"]
    before = prod(node.aval.shape[:axis])
    after = prod(node.aval.shape[axis + 1 :])
    k = index.aval.size
    (source, at), target = _names(out, node, layout)
    columns = before * after
    total_type = wide(dtype)
    start = identity("sum", total_type)
    threads = 128 if columns >= 64 else 32
    line("__shared__ i32 found[32 * 4]; __shared__ i32 counts[4];")
    line("const i64 row = blockIdx.x; const i32 thread = (i32)threadIdx.x;")
    line(f"const i64 column = (i64)blockIdx.y * {threads} + thread;")
    line(f"const i64 base = column < {columns} ? column / {after} * {k * after} + "
         f"column % {after} : 0;")  # fmt: skip
    line(f"{c_type(dtype)} total = {start};")
    with out.block(f"for (i64 low = 0; low < {k}; low += {threads})"):
        line(f"const bool mine = low + thread < {k} && (i64){at}[low + thread] == row;")
        line("const u32 ballot = __ballot_sync(0xffffffffu, mine);")
        line("if ((thread & 31) == 0) counts[thread >> 5] = __popc(ballot);")
        line("__syncthreads();")
        line("i32 place = __popc(ballot & ((1u << (thread & 31)) - 1u)), all = 0;")
        line(f"for (i32 w = 0; w < {threads // 32}; ++w) {{ "
             "if (w < (thread >> 5)) place += counts[w]; all += counts[w]; }")  # fmt: skip
        line("if (mine) found[place] = thread;")
        line("__syncthreads();")
        with out.block(f"if (column < {columns})"), out.block("for (i32 j = 0; j < all; ++j)"):
            line(f"const {c_type(dtype)} before = total;")
            summand = out.k.load(f"{source}[base + (low + found[j]) * {after}]", dtype)
            line(f"total = {out.k.add(Value('before', dtype), summand).text};")
        line("__syncthreads();")
    with out.block(f"if (column < {columns})"):
        line(f"const i64 here = column / {after} * {n * after} + row * {after} + "
             f"column % {after};")  # fmt: skip
        out.k.store(f"{target}[here]", Value("total", dtype))
    return out.kernel("scatter", (n, -(-columns // threads), 1), threads)


_KERNELS = {
    "argmax": _position, "argmin": _position, "cumulative_sum": _running,
    "scatter_add": _scatter,
}  # fmt: skip
