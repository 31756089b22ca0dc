"""Rewriting for compiled backends: the same values up to rounding, in fewer or better steps.

``simplify`` keeps every bit where it says so; these rules may round differently. They
turn the derived backward pass of a normalisation or a convolution into the few sweeps
over memory and the matrix products that one would write by hand.
"""

from __future__ import annotations

import numpy as np

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.dtypes import float32, halves, int64

from .build import op, renamed, repeated, reshaped, swapped, unnamed_literal
from .convolution import cut_convolution, transposed_convolution
from .kernels import Options
from .moments import in_one_sweep
from .pipeline import simplify
from .rewrite import make_literal, rebuild, rebuild_at
from .sums import Depths, distributed

__all__ = ["lower"]

#: The most products that a sum is written out for, instead of a matrix product.
SHORT = 8

#: What joins many elements into one.
_ADDED_UP = {
    "matmul", "sum", "prod", "max", "min", "fold_windows", "scatter_add", "cumulative_sum",
}  # fmt: skip


def lower(graph: Graph, *, one_sweep: Options | None = None) -> Graph:
    """Return the graph that a compiled backend schedules, of one that is simplified for good.

    Its outputs are those of the graph, and then one for each range that is checked: an
    int64 that is 1 if an index is out of range. Variances of what the options ``one_sweep``
    do not keep at hand are written so that they need one sweep over memory.
    """
    final = graph
    graph = rebuild(_with_checks(graph), _without_empty)
    graph = rebuild_at("permute_dims", graph, _transposed_product)
    graph = rebuild_at("matmul", graph, _wide_product)
    graph = rebuild_at("slice", graph, cut_convolution)
    graph = rebuild_at("fold_windows", graph, transposed_convolution)
    if any(n.aval.dtype in halves for n in graph.nodes):
        graph = rebuild(graph, _in_float32)
    graph = rebuild_at("matmul", graph, _as_sum)
    if graph is not final:
        graph = simplify(graph, final=True)
    depth = Depths()
    other = rebuild_at("sum", graph, lambda n: distributed(n, depth))
    graph = graph if other is graph else simplify(other, final=True)
    if one_sweep is not None:
        other = in_one_sweep(graph, one_sweep)
        graph = graph if other is graph else simplify(other, final=True)
    return _copied(graph)


# Checks ---------------------------------------------------------------------------


def _with_checks(graph: Graph) -> Graph:
    """Return the graph with a flag as an output in the place of each check of a range."""
    flags: list[Node] = []

    def step(node: Node) -> Node:
        if node.primitive.name != "in_range":
            return node
        (x,) = node.inputs
        flag = _out_of_range(node, x)
        if flag is not None:  # each flag holds those before it: all are noted in one word
            flags.append(op(node, "maximum", flags[-1], flag) if flags else flag)
        return x if node.name is None else node

    graph = rebuild_at("in_range", graph, step)
    if not flags:
        return graph
    return Graph(
        graph.inputs, [*graph.outputs, *flags], updates=graph.updates,
        structure=graph.structure, name=graph.name,
    )  # fmt: skip


def _out_of_range(node: Node, x: Node) -> Node | None:
    """Return whether any element is out of range, as 0 or 1; None if none can be."""
    low, high, info = node.params["low"], node.params["high"], np.iinfo(x.aval.dtype)
    wrong: list[Node] = []
    if low > info.min:
        wrong.append(op(node, "less", x, unnamed_literal(node, low, x.aval)))
    if high <= info.max:
        wrong.append(op(node, "less_equal", unnamed_literal(node, high, x.aval), x))
    if not wrong or not x.aval.size:
        return None
    either = wrong[0] if len(wrong) == 1 else op(node, "bitwise_or", *wrong)
    flag = reshaped(op(node, "astype", either, dtype=int64), (x.aval.size,))
    return op(node, "max", flag, axes=(0,), keepdims=False)


# Nothing to do --------------------------------------------------------------------

_IDENTITY = {"sum": 0, "prod": 1}


def _without_empty(node: Node) -> Node:
    """Replace what has no elements, or is a sum of none, by a literal."""
    name = node.primitive.name
    if not node.inputs:
        return node
    if node.aval.size == 0:
        return make_literal(node, 0, node.aval)
    if name == "pad" and node.inputs[0].aval.size == 0:
        return make_literal(node, node.params["value"], node.aval)
    if name in _IDENTITY and node.inputs[0].aval.size == 0:
        return make_literal(node, _IDENTITY[name], node.aval)
    if (name == "matmul" and node.inputs[0].aval.size == 0) or (
        name in ("scatter_add", "fold_windows") and node.inputs[0].aval.size == 0
    ):
        return make_literal(node, 0, node.aval)
    return node


def _copied(graph: Graph) -> Graph:
    """Return the graph with copies of results whose memory is not written as a whole.

    A padded array is filled once and has memory of its own, which no caller can be given.
    """
    results = set(graph.results)
    twins = {n: op(n, "barrier", n) for n in graph.nodes if n in results and _is_padded(n)}
    if not twins:
        return graph
    return Graph(
        graph.inputs, [twins.get(n, n) for n in graph.outputs],
        updates=[(cell, twins.get(n, n)) for cell, n in graph.updates],
        structure=graph.structure, name=graph.name,
    )  # fmt: skip


def _is_padded(node: Node) -> bool:
    return node.primitive.name == "pad"


# Products -------------------------------------------------------------------------


def _transposed_product(node: Node) -> Node:
    """Write (a b)^T as b^T a^T, so that the result lies in memory as it is used."""
    (x, *rest) = node.inputs or (None,)
    if node.primitive.name != "permute_dims" or x is None or rest:
        return node
    n = node.aval.ndim
    if (
        x.primitive.name != "matmul"
        or x.name
        or node.params["axes"] != (*range(n - 2), n - 1, n - 2)
    ):
        return node
    a, b = x.inputs
    if not _in_rows(a):
        return node
    return renamed(op(node, "matmul", swapped(b), swapped(a)), node)


def _wide_product(node: Node) -> Node:
    """Write a narrow product a b of many rows as (b^T a^T)^T: vectors go along columns."""
    if node.primitive.name != "matmul" or node.name:
        return node
    a, b = node.inputs
    if node.aval.shape[-1] > SHORT or node.aval.shape[-2] < 2 * SHORT or not _in_rows(a):
        return node
    return swapped(op(node, "matmul", swapped(b), swapped(a)))


def _in_rows(x: Node) -> bool:
    """Whether x is the transpose of something that lies in rows, as far as one can see."""
    n = x.aval.ndim
    if x.primitive.name != "permute_dims" or x.params["axes"] != (*range(n - 2), n - 1, n - 2):
        return x.primitive.name == "constant"
    (source,) = x.inputs
    while source.primitive.name in ("reshape", "permute_dims"):
        (source,) = source.inputs
    return source.primitive.name != "windows"


def _as_sum(node: Node) -> Node:
    """Write a product with one row, one column or few terms as a sum, which fuses."""
    if node.primitive.name != "matmul":
        return node
    a, b = node.inputs
    *batch, n, k = a.aval.shape
    m = b.aval.shape[-1]
    at = len(batch)
    if m == 1:
        row = repeated(swapped(b), a.aval.shape)
        return renamed(
            op(node, "sum", op(node, "mul", a, row), axes=(at + 1,), keepdims=True), node
        )
    if n == 1:
        column = repeated(swapped(a), b.aval.shape)
        return renamed(op(node, "sum", op(node, "mul", column, b), axes=(at,), keepdims=True), node)
    if k <= SHORT or node.aval.kind != "f":
        whole = (*batch, n, m, k)
        left = repeated(reshaped(a, (*batch, n, 1, k)), whole)
        right = repeated(reshaped(swapped(b), (*batch, 1, m, k)), whole)
        product = op(node, "mul", left, right)
        return renamed(op(node, "sum", product, axes=(at + 2,), keepdims=False), node)
    return node


def _in_float32(node: Node) -> Node:
    """Add up a half type in float32, in registers and in memory, and round the result once."""
    dtype = node.aval.dtype
    if node.primitive.name not in _ADDED_UP or dtype not in halves:
        return node
    given = [
        op(i, "astype", i, dtype=float32) if i.aval.dtype in halves else i for i in node.inputs
    ]
    total = op(node, node.primitive.name, *given, **node.params)
    return renamed(op(node, "astype", total, dtype=dtype), node)
