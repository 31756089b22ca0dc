"""From functions to graphs, and what a graph can do by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backends.reference import program
from minigrad.core.aval import Aval, aval
from minigrad.core.collector import paused_collector
from minigrad.core.door import as_array, as_tensor, is_number
from minigrad.core.graph import Graph, is_state
from minigrad.core.node import Node
from minigrad.core.tape import Tape, placeholder, recorder
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike, as_dtype, get_default_dtype
from minigrad.errors import MinigradError, ShapeError, TraceError
from minigrad.ops.call import expand
from minigrad.shapes import as_shape
from minigrad.transform import check_differentiable, pullback, seed
from minigrad.trees import Tree, flatten

__all__ = ["grad_graph", "names_of", "output_nodes", "run", "spec", "trace", "traced"]


def spec(shape: int | Sequence[int] = (), dtype: DTypeLike = None) -> Aval:
    """Return the type of an argument, to trace a function without data."""
    return aval(as_shape(shape), get_default_dtype() if dtype is None else as_dtype(dtype))


def is_array(leaf: Any) -> bool:
    """Whether a leaf of the arguments is data; strings, booleans and the like are not."""
    return isinstance(leaf, Tensor | Aval | np.ndarray | np.generic) or hasattr(leaf, "__dlpack__")


def names_of(function: Any, trees: Sequence[Tree]) -> list[list[str]]:
    """Return a name for each leaf of each argument: ``x``, ``params.w``, ``xs[0]``."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = []
    for i, tree in enumerate(trees):
        named = i < len(parameters) and parameters[i].kind != inspect.Parameter.VAR_POSITIONAL
        names.append(tree.paths(parameters[i].name if named else f"arg{i}"))
    return names


def output_nodes(out: Any, what: str) -> tuple[list[Node], Tree]:
    """Return the nodes of what a function returned, and how they nest."""
    leaves, tree = flatten(out)
    nodes = []
    for leaf in leaves:
        if not (isinstance(leaf, Tensor | np.ndarray | np.generic) or is_number(leaf)):
            raise TraceError(
                f"{what}: the function returned a {type(leaf).__name__}",
                rule="a traced function returns tensors, numbers, or nested containers of them",
                fix="return only these, and keep the rest outside the traced function",
            )
        nodes.append(as_tensor(leaf).node)
    return nodes, tree


def trace(f: Callable[..., Any], *args: Any) -> Graph:
    """Run ``f`` on arguments without values and return the graph that it records.

    Parameters
    ----------
    f
        A function or module.
    args
        Tensors, arrays, numbers, ``mg.spec(shape, dtype)``, nested in dicts, lists,
        tuples and modules. Strings, booleans and None are passed as they are.

    Raises
    ------
    TraceError
        If ``f`` asks a tensor for its value, or returns something that is no tensor.
    """
    graph, _ = traced(f, args)
    return graph


def traced(f: Callable[..., Any], args: Sequence[Any]) -> tuple[Graph, Tape]:
    """Return the graph of a call, and the tape with the state that it touched."""
    parts = [flatten(a) for a in args]
    names = names_of(f, [tree for _, tree in parts])
    inputs: list[Node] = []
    fresh = []
    for (leaves, tree), leaf_names in zip(parts, names, strict=True):
        values: list[Any] = []
        for leaf, name in zip(leaves, leaf_names, strict=True):
            if is_array(leaf) or (is_number(leaf) and type(leaf) is not bool):
                kind = leaf if isinstance(leaf, Aval) else as_tensor(leaf).node.aval
                inputs.append(placeholder(kind, name))
                values.append(Tensor(inputs[-1]))
            else:
                values.append(leaf)
        fresh.append(tree.build(values))
    name = getattr(f, "__name__", type(f).__name__)
    with paused_collector():
        with Tape() as tape:
            out = f(*fresh)
            outputs, tree = output_nodes(out, "trace")
        return graph_of(inputs, outputs, tape, tree, name), tape


def graph_of(
    inputs: Sequence[Node], outputs: Sequence[Node], tape: Tape, tree: Tree | None, name: str
) -> Graph:
    """Return the graph of what a tape recorded, with the state that it read and wrote.

    What is returned or assigned may have been known before: it becomes a constant, as do
    known operands, so that nothing outside the trace is computed again.
    """
    state = [*tape.reads.values(), *tape.grad_reads.values()]
    plain = name.strip("<>") or "graph"
    updates = [(cell, _captured(tape, node)) for cell, node in tape.writes.items()]
    found = [_captured(tape, node) for node in outputs]
    return Graph([*inputs, *state], found, updates=updates, structure=tree, name=plain)


def _captured(tape: Tape, node: Node) -> Node:
    return tape.capture(node) if node.inputs and node.value is not None else node


def state_value(node: Node) -> Any:
    """Return the present array of a state input."""
    cell = node.params.get("cell")
    return node.params["gradient"]._grad.node.value if cell is None else cell.array


def argument_arrays(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Return the arrays of a call, checked against the graph's arguments."""
    leaves, _ = flatten(list(args))
    wanted = graph.arguments
    arrays = [
        leaf.value if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
        if is_array(leaf) or (is_number(leaf) and type(leaf) is not bool)
    ]
    if len(arrays) != len(wanted):
        raise ShapeError(
            f"{graph.name}: takes {len(wanted)} arrays, got {len(arrays)}",
            rule=", ".join(f"{n.name}: {n.aval!r}" for n in wanted),
            fix="pass them in this order, nested as in the trace",
        )
    checked = []
    for node, array in zip(wanted, arrays, strict=True):
        array = as_array(array, node.aval.dtype if is_number(array) else None)
        if tuple(array.shape) != node.aval.shape or array.dtype != node.aval.dtype:
            raise ShapeError(
                f"{graph.name}: argument {node.name} is {node.aval!r}, got "
                f"{array.dtype}{list(array.shape)}",
                fix="a graph is static: trace the function again for another shape or dtype",
            )
        checked.append(array)
    return checked


def run(graph: Graph, args: Sequence[Any]) -> Any:
    """Run a graph on arguments and return what the traced function returned.

    On arguments without values, in another trace, its operations become part of that.
    """
    leaves, _ = flatten(list(args))
    if any(isinstance(x, Tensor) and x.node.value is None for x in leaves):
        return _nested(graph, _recorded(graph, leaves))
    arrays = iter(argument_arrays(graph, args))
    inputs = [state_value(n) if is_state(n) else next(arrays) for n in graph.inputs]
    graph.values = program(graph).trace(inputs)
    return _nested(graph, [Tensor(_leaf(n, graph.values[n])) for n in graph.outputs])


def _recorded(graph: Graph, leaves: Sequence[Any]) -> list[Tensor]:
    """Return the outputs of a graph on tensors, recorded where we are."""
    given = [as_tensor(x) for x in leaves if is_array(x) or is_number(x)]
    if [x.node.aval for x in given] != [n.aval for n in graph.arguments]:
        raise ShapeError(
            f"{graph.name}: the arguments do not have the shapes and dtypes of the trace",
            operands=[x.node.describe() for x in given],
            rule=", ".join(f"{n.name}: {n.aval!r}" for n in graph.arguments),
            fix="a graph is static: trace the function again for other shapes or dtypes",
        )
    rest = iter(given)
    operands = [Tensor(_present(n)) if is_state(n) else next(rest) for n in graph.inputs]
    return expand(operands, graph, range(len(graph.outputs)))


def _present(node: Node) -> Node:
    """Return the node of a state input where we are: an input of the trace around us."""
    if "cell" in node.params:
        found: Node = node.params["cell"].node
        return found
    gradient: Tensor = node.params["gradient"].grad
    return gradient.node


def _nested(graph: Graph, results: Sequence[Tensor]) -> Any:
    if graph.structure is not None:
        return graph.structure.build(results)
    return results[0] if len(results) == 1 else tuple(results)


def _leaf(node: Node, value: Any) -> Node:
    found = placeholder(node.aval, node.name)
    found.value = value
    return found


def grad_graph(graph: Graph, wrt: Any = None, cotangent: Any = None) -> Graph:
    """Append the backward pass to a graph; see ``Graph.grad``."""
    if len(graph.outputs) != 1:
        raise ShapeError(
            f"grad: the graph has {len(graph.outputs)} outputs",
            rule="one output can be differentiated at a time",
            fix="trace a function that returns the loss alone",
        )
    (out,) = graph.outputs
    targets = _targets(graph, wrt)
    inputs = list(graph.inputs)
    if isinstance(cotangent, Aval):
        delta = placeholder(cotangent, "delta")
        inputs.insert(len(graph.arguments), delta)
        start: Tensor | None = Tensor(delta)
    else:
        start = None if cotangent is None else as_tensor(cotangent)
    before = recorder.scope, recorder.recording
    recorder.scope, recorder.recording = out.scope, True
    with paused_collector():
        try:
            gradients = pullback([out], [seed(out, start, "grad")], targets)
        finally:
            recorder.scope, recorder.recording = before
        return Graph(
            inputs,
            [out, *(g.node for g in gradients)],
            updates=graph.updates,
            name=f"{graph.name}.grad",
        )


def _targets(graph: Graph, wrt: Any) -> list[Node]:
    if wrt is None:
        found = [n for n in graph.inputs if n.aval.kind == "f" and _trainable(n)]
        if not found:
            raise MinigradError(
                f"grad: {graph.name} has no floating-point inputs",
                fix="trace it with floating arguments, or name what to differentiate by in wrt",
            )
        return found
    listed = [wrt] if isinstance(wrt, str | Node | int) else list(wrt)
    targets = []
    for item in listed:
        node = graph.inputs[item] if isinstance(item, int) else item
        node = graph.node(node) if isinstance(node, str) else node
        check_differentiable(node, "grad")
        targets.append(node)
    return targets


def _trainable(node: Node) -> bool:
    cell = node.params.get("cell")
    return "gradient" not in node.params and (cell is None or cell.trainable)
