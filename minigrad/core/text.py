"""The text of a graph: stable, so that it can be read, compared and used as a cache key."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from .graph import Graph
from .node import Node

__all__ = ["names", "text"]


def names(graph: Graph) -> dict[Node, str]:
    """Return a unique name for every node: its own for inputs, else ``%position``."""
    found: dict[Node, str] = {}
    taken: set[str] = set()
    wanted = [(n, n.name or f"in{i}") for i, n in enumerate(graph.inputs)]
    wanted += [(n, f"%{i}") for i, n in enumerate(graph.nodes)]
    for node, name in wanted:
        while name in taken:
            name += "_"
        taken.add(name)
        found[node] = name
    return found


def text(graph: Graph, *, origins: bool = False) -> str:
    """Return the program as text, one line a node."""
    name = names(graph)
    header = ", ".join(f"{name[n]}: {n.aval!r}" for n in graph.inputs)
    lines = [f"graph {graph.name}({header})"]
    for node in graph.nodes:
        operands = [name[i] for i in node.inputs] + [_param(k, v) for k, v in params(node).items()]
        if node.primitive.kind == "leaf":
            operands = [_data(node.value)]
        line = f"  {name[node]}: {node.aval!r} = {node.primitive.name}({', '.join(operands)})"
        if node.name:
            line += f"  # {node.name}"
        if origins:
            line += f"  @ {node.origin.label}"
        lines.append(line)
    lines.append(f"  return {', '.join(name[n] for n in graph.outputs)}")
    lines += [f"  {cell.name or 'cell'} <- {name[node]}" for cell, node in graph.updates]
    return "\n".join(lines)


def params(node: Node) -> Mapping[str, Any]:
    """Return the params of a node, less what its type already says."""
    return {k: v for k, v in node.params.items() if k not in ("shape", "dtype") or node.inputs}


def _param(key: str, value: Any) -> str:
    if isinstance(value, Graph):
        return f"{key}=<{value.name}: {len(value.nodes)} nodes>"
    return f"{key}={value}"


def _data(value: Any) -> str:
    """Return an array's elements; of many the first, and a digest that tells it from others."""
    array = np.asarray(value if isinstance(value, np.ndarray) else value.get())
    if array.size <= 8:
        return str(array.tolist())
    head = ", ".join(map(str, array.ravel()[:4].tolist()))
    digest = blake2b(np.ascontiguousarray(array).tobytes(), digest_size=4).hexdigest()
    return f"[{head}, ...] #{digest}"


__all__ += ["params"]
