"""Numerical derivatives of a graph, with respect to any of its nodes.

The complex step is exact to rounding where every operation on the way continues
analytically to complex numbers; elsewhere, central differences of fourth order at two
step sizes give a derivative and an estimate of its error. Neither knows a gradient rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.backends import program
from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.place import host
from minigrad.dtypes import Array

__all__ = ["Derivative", "Perturbed"]

#: Far below rounding, far above underflow: the truncation error h^2 vanishes.
COMPLEX_STEP = 1e-30
#: Relative error of a complex step through a few hundred operations in float64.
COMPLEX_ERROR = 1e-12


@dataclass(frozen=True, slots=True)
class Derivative:
    """A directional derivative, how it was found, and how far off it may be."""

    value: float
    error: float
    method: str


class Perturbed:
    """A graph whose node ``target`` can be nudged, and the inner product of its results.

    Parameters
    ----------
    graph
        In float64.
    arrays
        One for each input.
    cotangents
        One for each output: the scalar that is differentiated is their inner product.
    target
        Any floating node: an input or an intermediate, at which the graph is cut.
    """

    def __init__(
        self, graph: Graph, base: dict[Node, Any], cotangents: Sequence[Array], target: Node
    ) -> None:
        self.target = target
        self.base = base
        self.cotangents = cotangents
        self.outputs = graph.outputs
        moved = {target}
        self.moving: list[Node] = []
        for node in graph.nodes:
            if node is not target and not node.stopped and any(i in moved for i in node.inputs):
                moved.add(node)
                self.moving.append(node)
        self.analytic = all(
            n.primitive.analytic for n in self._relevant(moved) if n.aval.kind == "f"
        )

    def _relevant(self, moved: set[Node]) -> list[Node]:
        """Return the moving nodes on which an output depends."""
        needed = {n for n in self.outputs if n in moved}
        for node in reversed(self.moving):
            if node in needed:
                needed.update(i for i in node.inputs if i in moved)
        self.moving = [n for n in self.moving if n in needed]
        return self.moving

    @staticmethod
    def values(graph: Graph, arrays: Sequence[Any]) -> dict[Node, Any]:
        """Return the value of every node, to start from."""
        return program(graph).trace([host(a) for a in arrays], np)

    def __call__(self, value: Array) -> Any:
        """Return the inner product with the target at ``value``, which may be complex."""
        values: dict[Node, Any] = {self.target: value}
        complex_step = np.iscomplexobj(value)
        with np.errstate(all="ignore"):
            for node in self.moving:
                operands = [values[i] if i in values else self.base[i] for i in node.inputs]
                values[node] = _evaluate(node, operands, complex_step)
        total = 0.0
        for node, cotangent in zip(self.outputs, self.cotangents, strict=True):
            total = total + np.sum(
                cotangent * (values[node] if node in values else self.base[node])
            )
        return total

    def derivative(self, direction: Array) -> Derivative:
        """Return the derivative along a direction of the target's shape."""
        if self.analytic:
            step = self.base[self.target] + 1j * COMPLEX_STEP * direction
            value = float(np.imag(self(step)) / COMPLEX_STEP)
            return Derivative(value, abs(value) * COMPLEX_ERROR, "complex step")
        return self._central(direction)

    def _central(self, direction: Array) -> Derivative:
        x = self.base[self.target]
        size = float(np.max(np.abs(direction), initial=0.0)) or 1.0
        h = 1e-3 * max(1.0, float(np.max(np.abs(x), initial=0.0))) / size
        coarse, fine = (self._fourth(x, direction, step) for step in (h, h / 2))
        noise = 1e-15 * abs(float(self(x))) / h
        return Derivative(fine, abs(fine - coarse) + noise, "central differences")

    def _fourth(self, x: Array, direction: Array, h: float) -> float:
        """Return the five-point difference quotient, whose error is of order h^4."""
        near = self(x + h * direction) - self(x - h * direction)
        far = self(x + 2 * h * direction) - self(x - 2 * h * direction)
        return float((8.0 * near - far) / (12.0 * h))

    def slopes(self, direction: Array) -> tuple[float, float]:
        """Return the one-sided derivatives along a direction, the smaller first.

        They differ at a kink, where any value between them is a fair answer.
        """
        x = self.base[self.target]
        h = 1e-6 * max(1.0, float(np.max(np.abs(x), initial=0.0)))
        middle = self(x)
        right = float((self(x + h * direction) - middle) / h)
        left = float((middle - self(x - h * direction)) / h)
        return min(left, right), max(left, right)


def _evaluate(node: Node, operands: Sequence[Any], complex_step: bool) -> Any:
    """Return the value of a node, continued to complex numbers where its operands are."""
    primitive, params = node.primitive, node.params
    if not complex_step:
        return primitive.reference(*operands, **params)
    if node.aval.kind != "f":  # a decision: it is taken on the real parts
        return primitive.reference(*(np.real(v) for v in operands), **params)
    if primitive.analytic is True:
        return primitive.reference(*operands, **params)
    return primitive.analytic(*operands, **params)
