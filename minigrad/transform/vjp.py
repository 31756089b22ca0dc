"""Reverse mode: walk the nodes backwards and append primitives. A gradient is a graph.

There is one walk. ``t.backward()``, ``mg.grad``, ``graph.grad()`` and compiled training
steps all come here; at the prompt its rules compute at once, while tracing they record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from minigrad.core.graph import Graph
from minigrad.core.node import Node, ancestors
from minigrad.core.primitive import Zero
from minigrad.core.tape import recorder
from minigrad.core.tensor import Tensor
from minigrad.errors import NotDifferentiable, ShapeError
from minigrad.ops.arithmetic import barrier
from minigrad.ops.call import call_p, expand
from minigrad.ops.creation import ones_like, zeros_like

__all__ = ["check_differentiable", "differentiable_path", "pullback", "seed"]


def pullback(
    outputs: Sequence[Node],
    cotangents: Sequence[Tensor],
    wrt: Sequence[Node],
) -> list[Tensor]:
    """Return the cotangent of each node of ``wrt``, given those of the outputs.

    ``wrt`` may hold intermediates: the walk notes their cotangents and goes on. Where
    no path leads from an output to a node, its cotangent is zero.
    """
    path = differentiable_path(outputs, wrt)
    calls = _calls(path)
    arriving: dict[Node, Tensor] = {}
    for node, cotangent in zip(outputs, cotangents, strict=True):
        if node in path:
            present = arriving.get(node)
            arriving[node] = cotangent if present is None else present + cotangent
    wanted = set(wrt)
    found: dict[Node, Tensor] = {}
    before = recorder.partner, recorder.source
    try:
        recorder.source = None
        for node in reversed(path):
            g = arriving.pop(node, None)
            if g is not None and node in wanted:
                found[node] = g
            if node.stopped or not node.inputs:
                continue
            recorder.partner = node
            if node.primitive is call_p:
                parts = _at_call(node, g, calls[_call_key(node)], path)
            else:
                parts = [] if g is None else _at(node, g, path)
            for source, part in parts:
                present = arriving.get(source)
                arriving[source] = part if present is None else present + part
    finally:
        recorder.partner, recorder.source = before
    return [found[n] if n in found else zeros_like(Tensor(n)) for n in wrt]


def _at(node: Node, g: Tensor, path: Collection[Node]) -> list[tuple[Node, Tensor]]:
    """Return the operands of a node that are on the path, with their cotangents."""
    y, xs = Tensor(node), [Tensor(i) for i in node.inputs]
    parts = []
    for i, source in enumerate(node.inputs):
        if source in path:
            rule = node.primitive.rule(i)
            part = None if isinstance(rule, Zero) else rule(g, y, *xs, **node.params)
            if part is not None:
                parts.append((source, part))
    return parts


@dataclass(slots=True)
class _Call:
    """The outputs of one call: the earliest of them, and the cotangents that have arrived."""

    first: Node
    arrived: list[tuple[int, Tensor]] = field(default_factory=list)


def _call_key(node: Node) -> tuple[Graph, tuple[Node, ...]]:
    return node.params["graph"], node.inputs


def _calls(path: Iterable[Node]) -> dict[tuple[Graph, tuple[Node, ...]], _Call]:
    """Return the calls on a path. Outputs of one call share its graph and operands.

    The walk waits for the earliest output: by then the cotangents of all have arrived,
    and the inside is computed again and walked once, for all outputs and operands.
    """
    found: dict[tuple[Graph, tuple[Node, ...]], _Call] = {}
    for node in path:
        if node.primitive is call_p and not node.stopped:
            found.setdefault(_call_key(node), _Call(node))
    return found


def _at_call(
    node: Node, g: Tensor | None, call: _Call, path: Collection[Node]
) -> list[tuple[Node, Tensor]]:
    """Return what ``_at`` returns, at the earliest output of a call.

    The operands pass a barrier, so that no clean-up merges the second computation
    with the first: that is what makes a checkpoint save memory.
    """
    if g is not None:
        call.arrived.append((node.params["index"], g))
    places = [i for i, source in enumerate(node.inputs) if source in path]
    if node is not call.first or not call.arrived or not places:
        return []
    graph: Graph = node.params["graph"]
    recording = recorder.recording
    recorder.partner, recorder.recording = None, True  # to walk it, even in backward()
    try:
        guarded = [barrier(Tensor(i)) for i in node.inputs]
        inside = expand(guarded, graph, [index for index, _ in call.arrived], node.where)
    finally:
        recorder.recording = recording
    parts = pullback(
        [y.node for y in inside], [c for _, c in call.arrived], [guarded[i].node for i in places]
    )
    return [(node.inputs[i], part) for i, part in zip(places, parts, strict=True)]


def differentiable_path(outputs: Sequence[Node], wrt: Sequence[Node]) -> dict[Node, None]:
    """Return, in order, the nodes through which a cotangent can reach ``wrt``."""
    since = min((n.serial for n in wrt), default=0)
    path: dict[Node, None] = dict.fromkeys(sorted(set(wrt), key=lambda n: n.serial))
    for node in ancestors(outputs, since=since):
        if node.aval.kind == "f" and not node.stopped and any(i in path for i in node.inputs):
            path[node] = None
    return dict.fromkeys(sorted(path, key=lambda n: n.serial))


def check_differentiable(node: Node, what: str) -> None:
    """Raise NotDifferentiable unless a node is floating."""
    if node.aval.kind != "f":
        raise NotDifferentiable(
            f"{what}: {node.aval.dtype} has no derivative",
            operands=[node.describe()],
            rule="gradients exist with respect to, and of, floating-point values",
            fix="convert it first, e.g. x.astype(mg.float32)",
        )


def check_cotangent(output: Node, cotangent: object, what: str) -> None:
    """Raise unless the output is a scalar or a cotangent of its shape is given."""
    check_differentiable(output, what)
    if cotangent is None and output.aval.shape != ():
        raise ShapeError(
            f"{what}: the result has shape {output.aval.shape}, it is not a scalar",
            operands=[output.describe()],
            rule="the gradient of a scalar; of an array only together with a cotangent",
            fix="reduce it with .sum() or .mean(), or pass the cotangent: a tensor of its shape",
        )


def seed(output: Node, cotangent: Tensor | None, what: str) -> Tensor:
    """Return the cotangent to start with: the one given, of the right type, or 1."""
    check_cotangent(output, cotangent, what)
    if cotangent is None:
        return ones_like(Tensor(output))  # on its device
    if cotangent.shape != output.aval.shape:
        raise ShapeError(
            f"{what}: the cotangent has shape {cotangent.shape}, the result {output.aval.shape}",
            operands=[output.describe()],
            fix="give the cotangent the shape of the result",
        )
    return cotangent.astype(output.aval.dtype)
