"""The same program in another floating precision."""

from __future__ import annotations

from typing import Any

from minigrad.core.aval import Aval, aval
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.place import host
from minigrad.dtypes import DType, convert, kind_of

__all__ = ["retyped"]


def retyped(graph: Graph, dtype: DType) -> tuple[Graph, dict[Node, Node]]:
    """Return the graph with every floating value in ``dtype``, and each node's counterpart.

    Conversions among floating types become conversions to ``dtype``. Calls are kept.
    """
    twin: dict[Node, Node] = {n: _leaf(n, dtype) for n in graph.inputs}
    for node in graph.nodes:
        if node.primitive.kind == "leaf":
            twin[node] = _leaf(node, dtype)
            continue
        params = _params(node, dtype)
        inputs = tuple(twin[i] for i in node.inputs)
        known = node.primitive.aval(*(i.aval for i in inputs), **params)
        twin[node] = Node(
            node.primitive, inputs, params, known, None, node.where, node.partner, node.name,
            node.stopped,
        )  # fmt: skip
    outputs = [twin[n] for n in graph.outputs]
    inputs = tuple(twin[n] for n in graph.inputs)
    return Graph(inputs, outputs, structure=graph.structure, name=graph.name), twin


def _type(a: Aval, dtype: DType) -> Aval:
    return aval(a.shape, dtype) if a.kind == "f" else a


def _leaf(node: Node, dtype: DType) -> Node:
    value = node.value
    kind = _type(node.aval, dtype)
    if value is not None:
        value = convert(host(value), kind.dtype)
    return Node(node.primitive, (), node.params, kind, value, node.where, None, node.name)


def _params(node: Node, dtype: DType) -> dict[str, Any]:
    params = node.params
    if "dtype" in params and kind_of(params["dtype"]) == "f":
        return {**params, "dtype": dtype}
    if "graph" in params:
        return {**params, "graph": retyped(params["graph"], dtype)[0]}
    return params
