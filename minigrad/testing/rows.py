"""One row of a comparison: what is found about one gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.dtypes import Array

from .diagnose import axis_sizes, diagnose
from .numeric import Perturbed
from .report import Row

__all__ = ["RowMaker"]

#: Above this number of elements, a gradient is tried along directions instead of in full.
FULL = 2000
DIRECTIONS = 3
COORDINATES = 32


class Point(Protocol):
    """What a row needs to know of the comparison: the program, and where it is evaluated."""

    graph: Graph
    double: Graph
    twin: dict[Node, Node]
    named: dict[str, Node]
    base: dict[Node, Any]
    cotangents: list[Array]
    rng: np.random.Generator

    def parts(self, name: str) -> dict[str, Array]:
        """Return the parts of a gradient that arrive through each tagged intermediate."""


class RowMaker:
    """Collects what is found about one gradient."""

    def __init__(
        self,
        point: Point,
        name: str,
        auto: Array,
        single: Array,
        tolerance: float,
        nothing: bool,
    ) -> None:
        self.point, self.name, self.auto, self.nothing = point, name, auto, nothing
        # Rounding in double precision is 2^-29 of that in single, which is known.
        self.rounding = 100.0 * 2.0**-29 * float(np.max(np.abs(single - auto), initial=0.0))
        self.node = point.named[name]
        self.result = Row(name, auto.shape, self.node, None, None, tolerance, "-", True, "")
        self.scale = float(np.max(np.abs(auto), initial=0.0))

    def _fail(self, verdict: str, **changes: Any) -> None:
        before = f"{self.result.verdict}; " if self.result.verdict else ""
        self.result = replace(self.result, ok=False, verdict=before + verdict, **changes)

    def compare_run(self, run: Array | None) -> None:
        """Compare with the gradient in the user's precision on the user's backend."""
        if run is None:
            return
        error = self._relative(run)
        if not error <= self.result.tolerance:
            self._fail(
                f"{run.dtype} differs from the float64 gradient by {error:.1e}, relative error"
            )

    def compare_numeric(self, written: Array | None) -> None:
        """Compare with numerical derivatives: in full, or along directions and coordinates."""
        p = self.point
        nudged = Perturbed(p.double, p.base, p.cotangents, p.twin[self.node])
        error, slack, kinks, method = 0.0, 0.0, 0, "-"
        worst: tuple[float, tuple[int, ...]] | None = None
        for direction, index in self._directions(written):
            d = nudged.derivative(direction)
            method = d.method
            expected = float(np.sum(self.auto * direction))
            size = self.scale if index is not None else float(np.linalg.norm(self.auto)) or 1.0
            size = size or 1.0
            off = abs(expected - d.value)
            allowed = self.result.tolerance * size + 10.0 * d.error + self.rounding
            if off > allowed and _in_kink(nudged, direction, expected, size):
                kinks += 1
                continue
            if not off <= allowed:
                worst = max(worst or (0.0, ()), (off / size, index or ()))
            error, slack = max(error, off / size), max(slack, d.error / size)
        if self.auto.size > FULL:
            method += f", {DIRECTIONS} directions, {COORDINATES} elements"
        self.result = replace(self.result, numeric_error=error, method=method, kinks=kinks)
        if worst is None and self.nothing:
            self.result = replace(self.result, numeric_error=0.0, verdict="zero up to rounding")
        if worst is not None:
            at = f" at {worst[1]}" if worst[1] else ""
            self._fail(
                f"the automatic gradient differs from the numerical one{at}, relative error "
                f"{worst[0]:.1e}"
            )

    def _directions(self, written: Array | None) -> list[tuple[Array, tuple[int, ...] | None]]:
        """Return unit directions with their index, and random ones without, for large arrays."""
        shape, rng = self.auto.shape, self.point.rng
        everything = range(self.auto.size)
        if self.auto.size <= FULL:
            chosen: Sequence[int] = everything
            random: list[tuple[Array, tuple[int, ...] | None]] = []
        else:
            random = [(rng.normal(size=shape), None) for _ in range(DIRECTIONS)]
            if written is not None and written.shape == shape:
                off = np.abs(written - self.auto).ravel()
                chosen = np.argsort(off)[-COORDINATES:].tolist()
            else:
                chosen = rng.choice(self.auto.size, COORDINATES, replace=False).tolist()
        units = []
        for i in chosen:
            unit = np.zeros(shape)
            unit.flat[i] = 1.0
            units.append((unit, tuple(int(k) for k in np.unravel_index(i, shape))))
        return [*random, *units]

    def compare_hand(self, hand: Array) -> None:
        """Compare with the hand-written gradient, and name the mistake."""
        same_shape = hand.shape == self.auto.shape
        error = self._relative(hand) if same_shape else float("inf")
        self.result = replace(self.result, hand_error=error)
        if self.nothing:
            if same_shape and not np.any(hand):
                self.result = replace(self.result, hand_error=0.0, verdict="zero, as stated")
                return
            self.result = replace(self.result, verdict="")
            self._fail(
                "the gradient is zero up to rounding, so the comparison proves nothing: use a "
                "random cotangent, or state an exact zero"
            )
            return
        if error <= self.result.tolerance:
            return
        p = self.point
        parts = p.parts(self.name) if same_shape else {}
        sizes = axis_sizes([n.aval.shape for n in (*p.graph.inputs, *p.graph.outputs)])
        mistake = diagnose(hand, self.auto, parts, sizes)
        if not same_shape:
            where = f"shape {hand.shape}, should be {self.auto.shape}"
        else:
            off = np.where(np.isfinite(hand), np.abs(hand - self.auto), np.inf)
            index = np.unravel_index(int(np.argmax(off)), hand.shape)
            at = tuple(int(i) for i in index)
            found, wanted = _told_apart(float(hand[index]), float(self.auto[index]))
            where = f"relative error {error:.1e} at {at}: {found}, should be {wanted}"
            mistake = mistake or _how_many(off, self.result.tolerance * self.scale)
        agree = self.result.numeric_error is not None and self.result.ok
        odd = "; automatic and numerical agree" if agree else ""
        likely = f"; {mistake}" if mistake else ""
        self._fail(f"by hand: {where}{odd}{likely}")

    def _relative(self, other: Array) -> float:
        """Return the largest difference from the automatic gradient, less rounding."""
        if not self.auto.size:
            return 0.0
        if not np.all(np.isfinite(other)):
            return float("nan") if np.any(np.isnan(other)) else float("inf")
        off = float(np.max(np.abs(other.astype(np.float64) - self.auto)))
        if off <= self.rounding:
            return min(off / self.scale, self.result.tolerance) if self.scale else 0.0
        return off / self.scale if self.scale else float("inf")


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Return two numbers with as many digits as it takes to see that they differ."""
    for digits in (6, 9, 12, 17):
        found = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if found[0] != found[1]:
            break
    return found


def _how_many(off: Array, allowed: float) -> str | None:
    """Say how many elements are wrong, if others are right."""
    wrong, size = int(np.count_nonzero(~(off <= allowed))), off.size
    if not 0 < wrong < size:
        return None
    verb = "is" if wrong == 1 else "are"
    return f"{wrong} of {size} elements {verb} wrong"


def _in_kink(nudged: Perturbed, direction: Array, expected: float, size: float) -> bool:
    low, high = nudged.slopes(direction)
    slack = 1e-4 * size
    return high - low > slack and low - slack <= expected <= high + slack
