"""A graph applied as one operation.

A call folds a sub-program into one node: random bits, a checkpointed function, a
compiled function used at the prompt. It has no rule of its own: a transformation that
meets one looks inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.graph import Graph
from minigrad.core.late import call as late
from minigrad.core.node import Node, ancestors
from minigrad.core.origin import Where
from minigrad.core.primitive import Each, Primitive, register
from minigrad.core.tape import record, recorder
from minigrad.core.tensor import Tensor
from minigrad.errors import GraphInvalid

__all__ = ["call_graph", "call_p", "expand", "replay"]


def _call_aval(*avals: Aval, graph: Graph, index: int) -> Aval:
    wanted = tuple(n.aval for n in graph.inputs)
    if wanted != avals:
        raise GraphInvalid(f"call: {graph.name} takes {wanted}, not {avals}")
    return graph.outputs[index].aval


def _call_reference(*arrays: Any, graph: Graph, index: int) -> Any:
    return late("evaluate", graph, arrays)[index]


def replay(
    nodes: Sequence[Node],
    known: dict[Node, Tensor],
    step: Callable[[Node, tuple[Tensor, ...]], Tensor] | None = None,
) -> dict[Node, Tensor]:
    """Record nodes again on other inputs, keeping each one's place in the user's code.

    ``known`` maps nodes to the tensors that stand for them, and is filled. Nodes none
    of whose inputs changed are taken as they are. ``step`` says what to record instead
    of the node itself. What was recorded under ``no_grad`` is so again.
    """
    before = recorder.source, recorder.recording
    try:
        for node in nodes:
            if node in known or not any(i in known for i in node.inputs):
                continue
            operands = tuple([known[i] if i in known else Tensor(i) for i in node.inputs])
            recorder.source, recorder.recording = node, before[1] and not node.stopped
            known[node] = (
                step(node, operands) if step else apply(node.primitive, operands, node.params)
            )
    finally:
        recorder.source, recorder.recording = before
    return known


def expand(
    operands: Sequence[Tensor],
    graph: Graph,
    indices: Sequence[int],
    place: Where | None = None,
) -> list[Tensor]:
    """Return the outputs of a call that are asked for, recorded node by node.

    What belongs to no line of the user's, such as random bits, gets the ``place`` of the call.
    """
    known = dict(zip(graph.inputs, operands, strict=True))
    outputs = [graph.outputs[i] for i in indices]
    before, recorder.place = recorder.place, place
    try:
        replay(ancestors(outputs, stop=known), known)
    finally:
        recorder.place = before
    return [known[out] if out in known else Tensor(out) for out in outputs]


def _call_vjp(i: int, g: Tensor, y: Tensor, *xs: Tensor, graph: Graph, index: int) -> Tensor:
    raise AssertionError("the reverse walk opens a call, all operands and outputs at once")


def _call_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    return late("call.batch", xs, batched, size, params["graph"], params["index"])  # type: ignore[no-any-return]


call_p: Primitive = register(
    Primitive(
        name="call",
        kind="call",
        aval=_call_aval,
        reference=_call_reference,
        vjp=Each(_call_vjp),
        batch=_call_batch,
        latex=r"\mathrm{{{graph.name}}}({0})",
        samples=(),
        note="Stands for a graph. Differentiation and batching look inside; its gradient computes "
        "the inside again, which is what mg.checkpoint is for.",
        analytic=False,
    )
)


def call_graph(graph: Graph, operands: Sequence[Tensor]) -> list[Tensor]:
    """Return one call for each output of a graph; what is computed, is computed once."""
    nodes = tuple(x.node for x in operands)
    results = _known_results(graph, nodes)
    return [
        Tensor(record(call_p, nodes, {"graph": graph, "index": i}, out.aval, results.get(out)))
        for i, out in enumerate(graph.outputs)
    ]


def _known_results(graph: Graph, operands: Sequence[Node]) -> dict[Node, Any]:
    """Return the values of the outputs that depend on known operands only."""
    known = {i: n.value for i, n in zip(graph.inputs, operands, strict=True) if n.value is not None}
    unknown = {i for i in graph.inputs if i not in known}
    if unknown:
        for node in graph.nodes:
            if any(i in unknown for i in node.inputs):
                unknown.add(node)
        outputs = [n for n in graph.outputs if n not in unknown]
        if not outputs:
            return {}
        graph = Graph(list(known), outputs, name=graph.name)
    return dict(zip(graph.outputs, late("evaluate", graph, list(known.values())), strict=True))
