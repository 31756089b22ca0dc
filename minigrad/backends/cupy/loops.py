"""Fused kernels that store element by element, and those that add up.

Pointwise: a thread computes a few neighbours, loaded and stored as one vector of 16 bytes
where memory allows. Sums: a block adds up a part of the elements for one column or for 32
neighbouring ones, and each part is stored; what reads the sum joins the parts, in order.
Nothing is atomic, so the bits are the same from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from minigrad.backends.cupy.dialect import Value, c_type, storage_type
from minigrad.backends.layout import Place
from minigrad.passes.affine import Affine, Var
from minigrad.passes.bodies import Accumulated, Body, Stored
from minigrad.passes.terms import Bits, Gather, Guard, Load, Partial, Reduce, Term, walk

from .emit import Emitter, Kernel, variables_of
from .layout import Layout

__all__ = [
    "THREADS", "block_reduce", "kernels_of", "memory_order", "open_terms", "pointwise", "sums",
    "target_of", "write_pointwise",
]  # fmt: skip

THREADS = 256
#: Elements below which several threads join the parts of a sum.
_FEW = 1 << 14
_COLUMNS = 32
#: Elements of a part of a sum from which on a whole block adds it up.
_LONG = 1 << 13
#: Vectors from which on threads with little to load compute two each: four times what a GPU runs.
_MANY = 1 << 20
#: Threads that join the parts of one element.
LANES = 16


def kernels_of(body: Body, layout: Layout) -> list[Kernel]:
    """Return the kernels of a body that does not reduce row by row."""
    groups: dict[tuple[Var, ...], list[Accumulated]] = {}
    for item in body.sums:
        groups.setdefault(item.over, []).append(item)
    found: list[Kernel] = []
    stores = list(body.stores)
    for over, items in groups.items():
        found.append(sums(body, over, items, stores, layout))
        stores = []
    if stores:
        found.append(pointwise(body.vars, stores, layout))
    return found


# Orders of loops --------------------------------------------------------------------


def open_terms(roots: Sequence[Term]) -> list[Term]:
    """Return the terms computed whatever the guards say: none behind a guard or a loop."""
    found: dict[Term, None] = {}
    todo = list(reversed(roots))
    while todo:
        term = todo.pop()
        if term not in found:
            found[term] = None
            if not isinstance(term, Guard | Reduce):
                todo += reversed(term.args)
    return list(found)


def memory_order(variables: Sequence[Var], offsets: Iterable[Affine]) -> list[Var]:
    """Return loop variables so that the last runs along memory: by the first offset's strides."""
    rank: dict[Var, int] = {}
    for at in offsets:
        for var, c in at.terms:
            rank.setdefault(var, abs(c))
    moving = [v for v in variables if v.extent > 1]
    places = {v: i for i, v in enumerate(moving)}
    return sorted(moving, key=lambda v: (-rank.get(v, 1 << 62), places[v]))


def _offsets(terms: Sequence[Term], out: Emitter) -> list[Affine]:
    """Return where loads read, the largest arrays first."""
    loads = [t for t in terms if isinstance(t, Load)]
    loads.sort(key=lambda t: -t.node.aval.size)
    return [out.offset(out.place(t.node), t.index) for t in loads]


# Pointwise --------------------------------------------------------------------------


@dataclass(slots=True)
class Vector:
    """How many neighbours a thread computes, along which variable, and what is packed."""

    width: int
    var: Var | None
    loads: list[Load]
    stores: list[Stored]


def _even(at: Affine, var: Var, width: int) -> bool:
    """Whether neighbours along a variable lie side by side, from a multiple of ``width`` on."""
    return (
        at.coefficient(var) == 1
        and at.const % width == 0
        and all(c % width == 0 for v, c in at.terms if v is not var)
    )


def _vector(
    order: Sequence[Var], stores: Sequence[Stored], terms: list[Term], out: Emitter
) -> Vector:
    """Return the widest vector that suits the first store and most loads."""
    none = Vector(1, None, [], [])
    if not order:
        return none
    var = order[-1]
    widest = max([s.target.aval.dtype.itemsize for s in stores])
    loads = [t for t in terms if isinstance(t, Load) and t.index]
    along = [t for t in loads if any(v is var for v in variables_of(t))]
    widest = max([widest, *[t.node.aval.dtype.itemsize for t in along]])
    for width in (16 // widest, 8 // widest):
        if width < 2 or var.extent % width:
            continue
        packed = [t for t in along if _even(out.offset(out.place(t.node), t.index), var, width)]
        kept = [s for s in stores if _even(out.offset(out.place(s.target), s.index), var, width)]
        if kept and kept[0] is stores[0]:
            return Vector(width, var, packed, kept)
    return none


def pointwise(variables: Sequence[Var], stores: Sequence[Stored], layout: Layout) -> Kernel:
    """Return the kernel that stores terms for every value of the variables."""
    out = Emitter(layout.place, layout.partial)
    return write_pointwise(out, variables, stores)


def write_pointwise(out: Emitter, variables: Sequence[Var], stores: Sequence[Stored]) -> Kernel:
    """Write a pointwise kernel with an emitter that may know of a product."""
    terms = [s.term for s in stores]
    n = prod(v.extent for v in variables)
    order = memory_order(variables, [out.offset(out.place(s.target), s.index) for s in stores])
    opened = open_terms(terms)
    joins = [t for t in walk(terms) if isinstance(t, Reduce)]
    if n <= _FEW and any(t.over[0].extent >= 8 for t in joins) and set(joins) <= set(opened):
        return _joining(out, order, stores, n)
    vector = _vector(order, stores, opened, out)
    groups = n // vector.width
    each = _each(vector, walk(terms), groups)
    number = _thread(out, groups, each)
    if each > 1:
        step, own = out.k.fresh(), out.k.fresh()
        out.k.line("#pragma unroll")
        with out.block(f"for (i32 {step} = 0; {step} < {each}; ++{step})"):
            out.k.line(f"const {_counted(groups)} {own} = {number} + {step} * {THREADS};")
            _vectors(out, own, groups, order, stores, vector, opened)
    else:
        # without a condition, what is the same for all threads is computed once for a warp
        with out.block(f"if ({number} < {groups})" if groups % THREADS else ""):
            if vector.var is None:
                out.decode(number, order, n)
                store_all(out, stores)
            else:
                _vectors(out, number, groups, order, stores, vector, opened)
    return out.kernel("pointwise", (max(1, -(-groups // (THREADS * each))), 1, 1), THREADS)


def store_all(out: Emitter, stores: Sequence[Stored]) -> None:
    """Compute and then store terms: one of them may be stored over what another one reads."""
    for s, value in [(s, out.value(s.term)) for s in stores]:
        out.store(out.place(s.target), s.index, value)


def _each(vector: Vector, terms: Sequence[Term], groups: int) -> int:
    """Return how many vectors a thread computes, a block's width apart: 1, or 2 of a large array.

    The loads of both are under way at once, so one array alone keeps the memory busy, and what
    does not depend on the place, such as the keys of random words, is computed once for both.
    """
    loads = sum(isinstance(t, Load | Gather | Partial) and bool(t.index) for t in terms)
    whole = groups >= _MANY and groups % (2 * THREADS) == 0
    return 2 if vector.var is not None and loads < 2 and whole else 1


def _counted(count: int) -> str:
    return "i64" if count >= 2**31 - THREADS else "i32"


def _thread(out: Emitter, count: int, each: int) -> str:
    kind = _counted(count)
    name = out.k.fresh()
    out.k.line(f"const {kind} {name} = ({kind})blockIdx.x * {each * THREADS} + (i32)threadIdx.x;")
    return name


def _vectors(
    out: Emitter,
    number: str,
    groups: int,
    order: Sequence[Var],
    stores: Sequence[Stored],
    vector: Vector,
    opened: Sequence[Term],
) -> None:
    """Write the work of a thread that computes several neighbours, one of so many groups."""
    var, width = vector.var, vector.width
    assert var is not None
    steps = Var(var.extent // width, var.name)
    out.decode(number, [*order[:-1], steps], groups)
    start = out.at[steps] if steps.extent > 1 else "0"
    first = out.k.fresh()
    out.k.line(f"const i32 {first} = {start} * {width};")
    out.at[var] = first
    for term in opened:  # what does not vary along the vector is computed once
        if isinstance(term, Load | Bits) and not _varies(term, var):
            out.value(term)
    packs = {t: _packed(out, t, width) for t in vector.loads}
    j = out.k.fresh()
    drawn = [t for t in opened if isinstance(t, Bits) and _even(t.at, var, min(width, 4))]
    words = {t: _words(out, t, width, j) for t in drawn}
    results = {}
    for s in vector.stores:
        name = results[s] = out.k.fresh()
        pack = out.k.use("mg_pack")
        out.k.line(f"{pack}<{storage_type(s.target.aval.dtype)}, {width}> {name};")
    out.k.line("#pragma unroll")
    with out.block(f"for (i32 {j} = 0; {j} < {width}; ++{j})"):
        out.at[var] = f"({first} + {j})"
        for t, name in packs.items():
            dtype = t.node.aval.dtype
            out.given[t] = out.k.load(f"{name}.at[{j}]", dtype)
        for b, word in words.items():
            out.given[b] = out.k.load(word, b.dtype)
        for s, name in results.items():
            out.k.store(f"{name}.at[{j}]", out.value(s.term))
        store_all(out, [s for s in stores if s not in results])
    out.at[var] = first
    for s, name in results.items():
        place = out.place(s.target)
        pointer = out.arguments.name(place, write=True)
        at = out.index(out.offset(place, s.index))
        kind = f"mg_pack<{storage_type(place.dtype)}, {width}>"
        out.k.line(f"*({kind}*)({pointer} + ({at})) = {name};")


def _varies(term: Term, var: Var) -> bool:
    return any(var in variables_of(t) for t in walk([term]))


def _packed(out: Emitter, term: Load, width: int) -> str:
    place = out.place(term.node)
    pointer = out.arguments.name(place, write=False)
    name, pack = out.k.fresh(), out.k.use("mg_pack")
    kind = f"{pack}<{storage_type(place.dtype)}, {width}>"
    at = out.index(out.offset(place, term.index))
    out.k.line(f"const {kind} {name} = *(const {kind}*)({pointer} + ({at}));")
    return name


def _words(out: Emitter, term: Bits, width: int, j: str) -> str:
    """Write the random words of a thread's neighbours, four a call; return the j-th of them."""
    seed, stream = (out.value(a) for a in term.args)
    at, block, name = (out.k.fresh() for _ in range(3))
    kind, index = out.unsigned(term.at)
    philox, count = out.k.use("mg_philox"), max(1, width // 4)
    out.k.line(f"const {kind} {at} = {index}, {block} = {at} >> 2;")
    calls = [f"{philox}({seed.text}, {stream.text}, {block} + {i})" for i in range(count)]
    out.k.line(f"const mg_words {name}[{count}] = {{{', '.join(calls)}}};")
    if width == 2:  # half of a call's words
        return f"({at} & 2 ? {name}[0].at[{j} + 2] : {name}[0].at[{j}])"
    return f"{name}[{j} >> 2].at[{j} & 3]"


def _joining(out: Emitter, order: Sequence[Var], stores: Sequence[Stored], n: int) -> Kernel:
    """Write a kernel in which 16 threads compute each element: they join parts of sums."""
    out.lanes = LANES
    line = out.k.line
    line("const i32 column = (i32)threadIdx.x % 32, lane = (i32)threadIdx.x / 32;")
    line(f"const i32 number = min((i32)blockIdx.x * 32 + column, {n - 1});")
    out.decode("number", order, n)
    values = [out.value(s.term) for s in stores]
    with out.block(f"if (lane == 0 && (i32)blockIdx.x * 32 + column < {n})"):
        for s, value in zip(stores, values, strict=True):
            out.store(out.place(s.target), s.index, value)
    return out.kernel("join", (-(-n // 32), 1, 1), 32 * LANES)


# Sums -------------------------------------------------------------------------------


def target_of(item: Accumulated, layout: Layout, part: Affine) -> tuple[Place, tuple[Affine, ...]]:
    """Return where a sum, or a part of one, is stored."""
    if item.parts > 1:
        return layout.partial(item.target), (part, *item.index)
    return layout.place(item.target), item.index


def sums(
    body: Body,
    over: tuple[Var, ...],
    items: Sequence[Accumulated],
    stores: Sequence[Stored],
    layout: Layout,
) -> Kernel:
    """Return the kernel that adds up over some variables, and stores terms on the way."""
    out = Emitter(layout.place, layout.partial)
    terms = [i.term for i in items] + [s.term for s in stores]
    parts = max(1, items[0].parts)
    offsets = _offsets(walk(terms), out)
    offsets += [out.offset(out.place(s.target), s.index) for s in stores]
    order = memory_order(body.vars, offsets)
    kept = [v for v in order if v not in over]
    summed = [v for v in order if v in over]
    k, o = prod(v.extent for v in kept), prod(v.extent for v in summed)
    columns = _COLUMNS if kept and order[-1] in kept and k > 1 else 1
    chunk = -(-o // parts)
    # a warp for a part that is short, the whole block for one that is long
    beside = THREADS // 32 if columns == 1 and chunk < _LONG and parts > 1 else 1
    lanes = THREADS // columns // beside
    line = out.k.line
    line(f"const i32 column = (i32)threadIdx.x % {columns};")
    line(f"const i32 lane = (i32)threadIdx.x / {columns} % {lanes};")
    line(f"const i64 kept = (i64)blockIdx.x * {columns} + column;")
    more = f" * {beside} + (i32)threadIdx.x / {lanes}" if beside > 1 else ""
    line(f"const i32 part = (i32)blockIdx.y{more};")
    line(f"const i64 low = (i64)part * {chunk}, high = min((i64){o}, low + {chunk});")
    totals = [out.accumulator(i.op, i.target.aval.dtype) for i in items]
    with out.block(f"if (kept < {k})"):
        out.decode("(i32)kept" if k < 2**31 else "kept", kept, k)
        line("#pragma unroll 4")
        with out.block(f"for (i64 o = low + lane; o < high; o += {lanes})"):
            out.decode("(i32)o" if o < 2**31 else "o", summed, o)
            store_all(out, stores)
            for item, total in zip(items, totals, strict=True):
                out.accumulate(item.op, total, out.value(item.term))
    if beside > 1:
        for item, total in zip(items, totals, strict=True):
            out.warp(item.op, total)
    elif columns == 1:
        for item, total in zip(items, totals, strict=True):
            block_reduce(out, item.op, total, THREADS)
    else:
        for item, total in zip(items, totals, strict=True):
            out.across(item.op, total, columns, lanes)
    with out.block(f"if (lane == 0 && kept < {k} && part < {parts})"):
        out.decode("(i32)kept" if k < 2**31 else "kept", kept, k)
        number = Var(parts, "part")
        out.at[number] = "part"
        for item, total in zip(items, totals, strict=True):
            place, index = target_of(item, layout, Affine.of(number))
            out.store(place, index, out.k.cast(total, place.dtype))
    return out.kernel("sum", (-(-k // columns), -(-parts // beside), 1), THREADS)


def block_reduce(out: Emitter, op: str, total: Value, threads: int, apart: int = 1) -> None:
    """Join an accumulator over the threads of a block; every thread has the result.

    With ``apart``, a power of 2 up to 32, over those threads whose numbers differ by multiples
    of it: a block then has as many results.
    """
    out.warp(op, total, apart)
    warps = threads // 32
    if warps == 1:
        return
    shared, kind, line = out.k.fresh(), c_type(total.dtype), out.k.line
    lane, own = ("", "") if apart == 1 else (f"[{apart}]", f"[threadIdx.x % {apart}u]")
    first = "== 0" if apart == 1 else f"< {apart}"
    line(f"__shared__ {kind} {shared}[{warps}]{lane};")
    line("__syncthreads();")
    line(f"if ((threadIdx.x & 31u) {first}) {shared}[threadIdx.x >> 5]{own} = {total.text};")
    line("__syncthreads();")
    line(f"{total.text} = {shared}[0]{own};")
    for w in range(1, warps):
        out.accumulate(op, total, Value(f"{shared}[{w}]{own}", total.dtype))
