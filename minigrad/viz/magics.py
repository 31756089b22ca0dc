"""``%load_ext minigrad``: ``%%graph``, ``%%gradcheck`` and ``%minigrad doctor``.

Each has an equal plain function; the magics only run the cell and call it.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.door import as_tensor
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.primitive import defined
from minigrad.core.tape import INPUT
from minigrad.core.tensor import Tensor
from minigrad.dtypes import kind_of
from minigrad.errors import GradientMismatch, MinigradError

from .draw import draw
from .picture import Picture

__all__ = ["draw_result", "gradcheck_result", "load_ipython_extension"]


def draw_result(result: Any, **options: Any) -> Picture:
    """Return the picture of what a cell ended with: a tensor, a graph, or several tensors.

    Raises
    ------
    MinigradError
        If it is nothing that has a graph.
    """
    if isinstance(result, Picture):
        return result
    if isinstance(result, tuple | list) and result and all(isinstance(t, Tensor) for t in result):
        outs = [t.node for t in result]
        graphs = [t.graph() for t in result]
        inputs = list(dict.fromkeys(n for g in graphs for n in g.inputs if n not in outs))
        joined = Graph(inputs, outs, name="cell")
        joined.values = {n: v for g in graphs for n, v in g.values.items()}
        return draw(joined, **options)
    if isinstance(result, Tensor | Graph):
        return draw(result, **options)
    raise MinigradError(
        f"%%graph: the cell's last line is a {type(result).__name__}, which has no graph",
        fix="end the cell with a tensor, e.g. `loss`",
    )


def gradcheck_result(result: Any, order: int = 1) -> Any:
    """Check the gradients of what a cell ended with, and return what shows the outcome.

    A scalar tensor's history is checked with ``mg.testing.check_grads`` with respect to
    the floating tensors and parameters that it was computed from. A GradientReport is
    returned as it is, after raising if it found a mistake.

    Raises
    ------
    GradientMismatch
        If a derivative is wrong.
    MinigradError
        If the result is neither, or depends on nothing floating.
    """
    if hasattr(result, "rows") and hasattr(result, "ok"):
        if not result.ok:
            error = GradientMismatch(f"first differs at {result.first_wrong.name!r}")
            error.report = result
            raise error
        return result
    if not isinstance(result, Tensor) or result.shape != ():
        raise MinigradError(
            f"%%gradcheck: the cell's last line is {_what(result)}, not a scalar tensor",
            fix="end the cell with the loss, or with mg.testing.compare_gradients(...)",
        )
    graph = result.graph()
    leaves = _leaves(graph)
    if not leaves:
        raise MinigradError(
            "%%gradcheck: the result depends on no floating tensor that was made from data",
            fix="make the inputs with mg.tensor, and compute the loss in this cell",
        )
    function = _as_function(graph, leaves)
    check = import_module("minigrad.testing").check_grads
    check(function, tuple(np.asarray(_value(n), np.float64) for n in leaves), order=order)
    names = ", ".join(n.name or n.origin.target or repr(n.aval) for n in leaves)
    return Checked(names, order)


class Checked:
    """The outcome of a check that passed."""

    def __init__(self, names: str, order: int) -> None:
        self.names, self.order = names, order

    def __repr__(self) -> str:
        return f"gradients agree with numerical ones, up to order {self.order}: {self.names}"


def _what(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"of shape {result.shape}"
    return f"a {type(result).__name__}"


def _value(node: Node) -> Any:
    cell = node.params.get("cell")
    value = node.value if cell is None else cell.leaf.value
    if value is None:  # a literal inside a graph that was traced
        value = defined(node.primitive, (np,), node.params)
    return value if isinstance(value, np.ndarray) else value.get()


def _leaves(graph: Graph) -> list[Node]:
    """Return what to differentiate by: what asks for gradients, else every floating input."""
    floating = [n for n in graph.inputs if n.aval.kind == "f" and n.primitive is INPUT]
    asking = [
        n
        for n in floating
        if "owner" in n.params or getattr(n.params.get("cell"), "trainable", False)
    ]
    return asking or floating


def _as_function(graph: Graph, leaves: list[Node]) -> Any:
    """Return a function of the leaves' arrays that computes the graph again, in float64."""

    def function(*arrays: Tensor) -> Tensor:
        return _in_double(graph, dict(zip(leaves, arrays, strict=True)), graph.outputs[0])

    return function


def _in_double(graph: Graph, known: dict[Node, Tensor], out: Node) -> Tensor:
    """Record a graph again with float64 in place of its floating dtypes."""
    for node in (*graph.inputs, *graph.nodes):
        if node in known:
            continue
        operands = tuple(known[i] for i in node.inputs)
        name, params = node.primitive.name, node.params
        if not node.inputs:
            known[node] = as_tensor(_doubled(_value(node)))
        elif name == "astype" and node.aval.kind == "f":
            known[node] = operands[0].astype(np.float64)
        elif name == "call" and node.aval.kind == "f":
            inner = params["graph"]
            inside = dict(zip(inner.inputs, operands, strict=True))
            known[node] = _in_double(inner, inside, inner.outputs[params["index"]])
        else:
            known[node] = apply(node.primitive, operands, params)
    return known[out]


def _doubled(array: Any) -> Any:
    return array.astype(np.float64) if kind_of(array.dtype) == "f" else array


# IPython ---------------------------------------------------------------------------


def load_ipython_extension(shell: Any) -> None:
    """Add the magics to an IPython shell; ``%load_ext minigrad`` calls this."""
    shell.register_magic_function(_magic_graph(shell), "cell", "graph")
    shell.register_magic_function(_magic_gradcheck(shell), "cell", "gradcheck")
    shell.register_magic_function(_magic_minigrad, "line", "minigrad")


def _run_cell(shell: Any, cell: str) -> Any:
    """Run a cell in the user's namespace and return the value of its last expression.

    The source is compiled under the name of a cell, so that nodes know their line.
    """
    source = "\n" + shell.transform_cell(cell)  # the first line is that of the magic itself
    tree = ast.parse(source)
    name = shell.compile.cache(source, _cell_number(shell), raw_code=source)
    last = tree.body[-1] if tree.body else None
    space = shell.user_ns
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(tree.body[:-1], []), name, "exec"), space)
        return eval(compile(ast.Expression(last.value), name, "eval"), space)
    exec(compile(tree, name, "exec"), space)
    if isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name):
        return space[last.targets[0].id]
    return None


def _cell_number(shell: Any) -> int:
    """Return the number of the cell that is running: that of the innermost cell's frame."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        label = shell.compile.format_code_name(frame.f_code.co_filename)
        if label and label[1].startswith("In[") and label[1][3:-1].isdigit():
            return int(label[1][3:-1])
        frame = frame.f_back
    return int(shell.execution_count)


def _options(line: str) -> dict[str, Any]:
    """Return ``fold=2 direction=LR`` as keyword arguments."""
    found: dict[str, Any] = {}
    for word in line.split():
        key, equals, value = word.partition("=")
        if not equals:
            raise MinigradError(f"%%graph: {word!r} is no option", fix="write e.g. fold=False")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def _magic_graph(shell: Any) -> Any:
    def graph(line: str, cell: str) -> Picture:
        """Run the cell and draw what its last line built; options as in mg.viz.draw."""
        return draw_result(_run_cell(shell, cell), **_options(line))

    return graph


def _magic_gradcheck(shell: Any) -> Any:
    def gradcheck(line: str, cell: str) -> Any:
        """Run the cell and check the gradients of its last line; ``order=2`` for two orders."""
        return gradcheck_result(_run_cell(shell, cell), **_options(line))

    return gradcheck


def _magic_minigrad(line: str) -> Any:
    """Report what is here and what is missing: %minigrad doctor."""
    if line.strip() not in ("", "doctor"):
        raise MinigradError(f"%minigrad: unknown command {line.strip()!r}", fix="%minigrad doctor")
    return import_module("minigrad.viz.doctor").doctor()
