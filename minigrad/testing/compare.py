"""``compare_gradients``: hand-written, automatic and numerical gradients, step by step.

A hand derivation is a chain of steps. Each step that names an intermediate of the
forward pass, tagged with ``mg.tag``, is compared with the cotangent that the engine
derives for that node, so that a mistake is found where it was made and not where it
surfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.api.compiled import compile
from minigrad.api.tracing import argument_arrays, state_value, trace
from minigrad.core.door import as_tensor
from minigrad.core.graph import Graph, is_state
from minigrad.core.node import Node, ancestors
from minigrad.core.place import host
from minigrad.core.tape import placeholder
from minigrad.core.tensor import Tensor
from minigrad.dtypes import Array, DType, float32, float64, kind_of
from minigrad.errors import DataError, GradientMismatch, NotDifferentiable
from minigrad.ops.call import replay
from minigrad.transform import check_differentiable, pullback
from minigrad.trees import flatten

from .numeric import Perturbed
from .report import GradientReport
from .retype import retyped
from .rows import RowMaker

__all__ = ["compare_gradients", "generator"]

#: Largest relative difference between two ways to compute one gradient, by dtype.
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2, "bfloat16": 1.6e-1}
#: A gradient this much smaller than its cotangent may be nothing but rounding.
NOTHING = 1e-10

Hand = Mapping[str, Any] | Callable[..., Mapping[str, Any]]


def compare_gradients(
    f: Callable[..., Any],
    args: Any,
    *,
    hand: Hand | None = None,
    cotangent: Any = None,
    numeric: bool = True,
    wrt: Sequence[str] | None = None,
    backend: str | None = None,
    rtol: float | None = None,
    seed: int = 0,
) -> GradientReport:
    """Compare the gradients of ``f`` written by hand, derived automatically, and numerical.

    Parameters
    ----------
    f
        Any function of tensors; it is traced, so it must not ask for values. Random
        layers draw one mask, the same in all three gradients.
    args
        A tuple of arguments (or one array), arrays or nested containers of arrays.
        Use float64: float32 is compared to its own, lower, precision.
    hand
        Maps names of arguments, parameters and tagged intermediates to hand-written
        gradients; or a function that returns such a mapping, given the cotangent.
    cotangent
        The gradient with respect to the result. Random normal if left out, and 1 for a
        scalar. Hand-written gradients of an array need the one they were computed with.
    numeric
        Whether to compare with numerical derivatives as well: a complex step where all
        operations are analytic, central differences elsewhere.
    wrt
        Names to compare; all floating arguments, parameters and tags if left out.
    backend
        Where to run the automatic gradient; the reference always runs as well.
    rtol
        Tolerance relative to the largest element of a gradient, instead of the default
        for the dtype (1e-9 for float64).
    seed
        For the random cotangent and directions.

    Raises
    ------
    GradientMismatch
        Naming the first quantity, in backward order, that differs, by how much, and the
        likely mistake; or because the test is vacuous, the gradient being zero.
    DataError
        If ``hand`` names something that does not exist.
    """
    arguments = tuple(args) if isinstance(args, tuple | list) else (args,)
    arguments = tuple(_as_arrays(a) for a in arguments)
    graph = trace(f, *arguments)
    arrays = _input_arrays(graph, arguments)
    return Comparison(graph, arrays, cotangent, seed).report(hand, numeric, wrt, backend, rtol)


def generator(seed: int) -> np.random.Generator:
    """Return the source of random cotangents and directions.

    It is not ``default_rng(seed)``: that is what users make their data with, and a cotangent
    equal to the data is special. The gradient of a normalisation is then zero, say.
    """
    return np.random.default_rng((seed, 0x6D67))


def _as_arrays(argument: Any) -> Any:
    leaves, tree = flatten(argument)
    converted = [x if isinstance(x, Tensor) else _array(x) for x in leaves]
    return tree.build(converted)


def _array(x: Any) -> Any:
    """Return Python numbers and lists as float64: gradients are compared in double precision."""
    return np.float64(x) if type(x) is float else x


def _input_arrays(graph: Graph, arguments: Sequence[Any]) -> list[Any]:
    given = iter(argument_arrays(graph, arguments))
    return [state_value(n) if is_state(n) else next(given) for n in graph.inputs]


class Comparison:
    """One function at one point: its graph in double precision, and all gradients of it."""

    def __init__(self, graph: Graph, arrays: Sequence[Any], cotangent: Any, seed: int) -> None:
        self.graph, self.seed = graph, seed
        self.precision = _precision(graph)
        self.run_arrays = [host(a) for a in arrays]
        self.double, self.twin = retyped(graph, float64)
        self.arrays = [_cast(a, float64) for a in self.run_arrays]
        self.rng = generator(seed)
        for node in graph.outputs:
            check_differentiable(node, "compare_gradients: the result")
        self.given = cotangent is not None
        self.cotangents = self._cotangents(cotangent)
        self.base = Perturbed.values(self.double, self.arrays)
        self.named = _named(graph)

    def _cotangents(self, cotangent: Any) -> list[Array]:
        shapes = [n.aval.shape for n in self.graph.outputs]
        if cotangent is None:
            return [np.asarray(self.rng.normal(size=s) if s else 1.0) for s in shapes]
        leaves, _ = flatten(cotangent)
        found = [host(as_tensor(c).value).astype(np.float64) for c in leaves]
        if [c.shape for c in found] != shapes:
            raise DataError(
                f"cotangent: shapes {[c.shape for c in found]} do not fit the result's {shapes}",
                fix="give the cotangent the shape of the result",
            )
        return found

    def report(
        self,
        hand: Hand | None,
        numeric: bool,
        wrt: Sequence[str] | None,
        backend: str | None,
        rtol: float | None,
    ) -> GradientReport:
        written = self._hand(hand)
        names = self._names(wrt, written)
        auto = self.gradients(self.double, [self.twin[self.named[n]] for n in names], self.arrays)
        run = self._run(names, backend)
        single = self._in_single(names)
        tolerance = rtol if rtol is not None else TOLERANCE[self.precision.name]
        rows = []
        for i, name in enumerate(names):
            nothing = self._is_nothing(auto[i], single[i])
            row = RowMaker(self, name, auto[i], single[i], tolerance, nothing)
            row.compare_run(run[i] if run else None)
            if numeric:
                row.compare_numeric(written.get(name))
            if name in written:
                row.compare_hand(written[name])
            rows.append(row.result)
        kind = (
            "given" if self.given else "random normal" if self.graph.outputs[0].aval.shape else "1"
        )
        report = GradientReport(tuple(rows), self.graph, self.seed, kind)
        nothing = all(self._is_nothing(a, s) for a, s in zip(auto, single, strict=True))
        _raise_if_wrong(report, vacuous=nothing and not written)
        return report

    def _hand(self, hand: Hand | None) -> dict[str, Array]:
        if hand is None:
            return {}
        if callable(hand):
            hand = hand(*self.cotangents)
        elif not self.given and any(n.aval.shape for n in self.graph.outputs):
            raise DataError(
                "hand: the gradients of an array depend on the cotangent they were derived with",
                fix="pass cotangent=, or make hand a function of the cotangent",
            )
        unknown = [name for name in hand if name not in self.named]
        if unknown:
            raise DataError(
                f"hand: {', '.join(map(repr, unknown))} names no argument, parameter or tagged "
                "intermediate",
                rule=f"known names: {', '.join(self.named)}",
                fix=f"tag it in the function: {unknown[0]} = mg.tag({unknown[0]}, {unknown[0]!r})",
            )
        return {name: _written(name, value) for name, value in hand.items()}

    def _names(self, wrt: Sequence[str] | None, written: Mapping[str, Any]) -> list[str]:
        """Return what to compare, in backward order: the nearest to the result first."""
        wanted = list(wrt) if wrt is not None else list(self.named)
        missing = [n for n in wanted if n not in self.named]
        if missing:
            raise DataError(
                f"wrt: no argument or tagged intermediate is called {missing[0]!r}",
                rule=f"known names: {', '.join(self.named)}",
                fix="choose one of these, or tag it: mg.tag(x, name)",
            )
        if wrt is not None:
            wanted += [n for n in written if n not in wanted]
        if not wanted:
            raise NotDifferentiable(
                "compare_gradients: no argument is floating",
                fix="pass float64 arrays",
            )
        order = {n: i for i, n in enumerate((*self.graph.inputs, *self.graph.nodes))}
        inner = [n for n in wanted if self.named[n].inputs]
        leaves = [n for n in wanted if not self.named[n].inputs]
        return sorted(inner, key=lambda n: -order[self.named[n]]) + leaves

    def gradients(
        self, graph: Graph, targets: Sequence[Node], arrays: Sequence[Any]
    ) -> list[Array]:
        """Return the automatic gradients with respect to any nodes of a graph."""
        deltas = [placeholder(n.aval, "delta") for n in graph.outputs]
        found = pullback(list(graph.outputs), [Tensor(d) for d in deltas], targets)
        whole = Graph([*graph.inputs, *deltas], [g.node for g in found])
        cotangents = [_cast(c, d.aval.dtype) for c, d in zip(self.cotangents, deltas, strict=True)]
        values = Perturbed.values(whole, [*arrays, *cotangents])
        return [np.asarray(values[n]) for n in whole.outputs]

    def _run(self, names: Sequence[str], backend: str | None) -> list[Array] | None:
        """Return the gradients in the precision and on the backend that are asked for."""
        if backend is None and self.precision == float64:
            return None
        targets = [self.named[n] for n in names]

        def gradients(*arrays: Tensor) -> list[Tensor]:
            known = dict(zip(self.graph.inputs, arrays, strict=False))
            deltas = arrays[len(self.graph.inputs) :]
            replay(self.graph.nodes, known)
            outs = [known[n].node for n in self.graph.outputs]
            return pullback(outs, deltas, [known[t].node for t in targets])

        deltas = zip(self.cotangents, self.graph.outputs, strict=True)
        cotangents = [_cast(c, n.aval.dtype) for c, n in deltas]
        compiled = compile(gradients, backend=backend)
        return [np.asarray(g) for g in compiled(*self.run_arrays, *cotangents)]

    def _in_single(self, names: Sequence[str]) -> list[Array]:
        """Return the gradients in single precision, to tell zero from rounding."""
        graph, twin = retyped(self.graph, float32)
        arrays = [_cast(a, float32) for a in self.run_arrays]
        return self.gradients(graph, [twin[self.named[n]] for n in names], arrays)

    def _is_nothing(self, gradient: Array, single: Array) -> bool:
        """Whether a gradient is zero up to rounding: single precision sees another one."""
        if not gradient.size:
            return True
        size = float(np.max(np.abs(gradient)))
        reach = max(float(np.max(np.abs(c), initial=0.0)) for c in self.cotangents)
        noise = float(np.max(np.abs(single - gradient)))
        return size == 0.0 or (size <= NOTHING * reach and noise > 0.5 * size)

    def parts(self, name: str) -> dict[str, Array]:
        """Return the parts of a gradient that arrive through each tagged intermediate alone."""
        target = self.named[name]
        tags = {n: node for n, node in self.named.items() if node.inputs and node is not target}
        found: dict[str, Array] = {}
        for tag, node in tags.items():
            below = ancestors([node], since=target.serial)
            if target not in below:
                continue
            others = [w for w in tags.values() if w is not node]
            (d_tag,) = self.gradients(self.double, [self.twin[node]], self.arrays)
            found[tag] = self._part(self.twin[node], self.twin[target], others, d_tag)
        if found:
            (whole,) = self.gradients(self.double, [self.twin[target]], self.arrays)
            found["the direct path"] = whole - sum(found.values())
        return found

    def _part(self, node: Node, target: Node, others: Sequence[Node], d_node: Array) -> Array:
        """Return the pullback from one node to another that passes none of the others."""
        cut = [self.twin[w] for w in others if self.twin[w] is not target]
        stand_ins = [placeholder(w.aval, w.name) for w in cut]
        known = {w: Tensor(p) for w, p in zip(cut, stand_ins, strict=True)}
        replay(ancestors([node]), known)
        top = known[node].node if node in known else node
        delta = placeholder(node.aval, "delta")
        (part,) = pullback([top], [Tensor(delta)], [target])
        inputs = [*self.double.inputs, *stand_ins, delta]
        graph = Graph(inputs, [part.node])
        arrays = [*self.arrays, *(self.base[w] for w in cut), d_node]
        return np.asarray(Perturbed.values(graph, arrays)[part.node])


def _written(name: str, value: Any) -> Array:
    """Return a hand-written gradient as float64."""
    found = np.asarray(value if value is not None else np.array(None))
    if kind_of(found.dtype) not in "biuf":
        raise DataError(
            f"hand: the gradient of {name!r} is {found.dtype}, not real numbers",
            fix="return an array of floats"
            + (", e.g. its real part" if kind_of(found.dtype) == "c" else ""),
        )
    return found.astype(np.float64)


def _raise_if_wrong(report: GradientReport, *, vacuous: bool) -> None:
    wrong = report.first_wrong
    if wrong is not None:
        message = f"the gradient first differs at {wrong.name!r}: {wrong.verdict}"
        operands = [wrong.node.describe()]
    elif vacuous:
        message = "the test is vacuous: every gradient is zero up to rounding"
        operands = []
    else:
        return
    error = GradientMismatch(
        f"{message}\n\n{report}\n",
        operands=operands,
        fix="steps before it, in backward order, agree: look at this one"
        if wrong
        else "use other inputs, or a cotangent that is not constant",
    )
    error.report = report
    raise error


def _precision(graph: Graph) -> DType:
    """Return the lowest floating precision among the inputs."""
    kinds = [n.aval.dtype for n in graph.inputs if n.aval.kind == "f"]
    return min(kinds, key=lambda d: d.itemsize, default=float64)


def _cast(array: Any, dtype: DType) -> Any:
    a = np.asarray(array)
    return a.astype(dtype) if kind_of(a.dtype) == "f" else a


def _named(graph: Graph) -> dict[str, Node]:
    """Return the floating inputs and tagged intermediates that reach the result, by name.

    A tag that occurs in several layers is qualified by the layer: ``bn1.u``.
    """
    reached = set(ancestors(graph.outputs))
    nodes = [
        n
        for n in (*graph.inputs, *graph.nodes)
        if n.name and n.aval.kind == "f" and n in reached and n.primitive.name != "constant"
    ]
    names = [str(n.name) for n in nodes]
    found: dict[str, Node] = {}
    for node, name in zip(nodes, names, strict=True):
        if names.count(name) > 1 and node.scope:
            name = ".".join([*(s.split(":")[0] for s in node.scope[1:]), name])
        while name in found:
            name += "'"
        found[name] = node
    return found
