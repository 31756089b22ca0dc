"""The verifier: re-derives every type, checks order and inputs. Tests run it after every pass."""

from __future__ import annotations

from minigrad.errors import MinigradError

from .graph import Graph, invalid
from .primitive import registry
from .tape import CONSTANT, INPUT

__all__ = ["verify"]


def verify(graph: Graph) -> Graph:
    """Check every invariant of a graph and return it; raise GraphInvalid otherwise."""
    known = set(graph.inputs)
    if len(known) != len(graph.inputs):
        raise invalid(graph, graph.inputs[0], "an input is listed twice")
    for node in graph.nodes:
        if node in known:
            raise invalid(graph, node, "a node is listed twice")
        if registry.get(node.primitive.name) is not node.primitive:
            raise invalid(graph, node, f"{node.primitive.name} is not a registered primitive")
        for source in node.inputs:
            if source not in known:
                raise invalid(graph, node, "a node comes before one of its inputs")
        if node.primitive in (INPUT, CONSTANT):
            if node.value is None:
                raise invalid(graph, node, "a constant has no value")
        else:
            try:
                derived = node.primitive.aval(*(i.aval for i in node.inputs), **node.params)
            except MinigradError as error:
                raise invalid(graph, node, f"type rule: {error.message}") from error
            if derived is not node.aval:
                raise invalid(graph, node, f"the type is {node.aval!r}, its rule says {derived!r}")
        if node.value is not None and (
            tuple(node.value.shape) != node.aval.shape or node.value.dtype != node.aval.dtype
        ):
            raise invalid(graph, node, f"the value is {node.value.dtype}{node.value.shape}")
        known.add(node)
    for node in graph.results:
        if node not in known:
            raise invalid(graph, node, "an output is not among the nodes")
    for cell, node in graph.updates:
        if cell.leaf.aval is not node.aval:
            raise invalid(graph, node, f"{cell.name or 'a cell'} would change its type")
    return graph
