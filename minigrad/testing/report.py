"""What a comparison of gradients found: one row per quantity, in backward order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.late import call
from minigrad.core.node import Node
from minigrad.shapes import Shape

__all__ = ["GradientReport", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One compared gradient.

    Attributes
    ----------
    name, shape
        The argument, parameter or tagged intermediate.
    hand_error
        Largest difference between the hand-written and the automatic gradient, divided
        by the largest element of the latter; None if there is no hand-written one.
    numeric_error
        The same for the automatic and the numerical gradient.
    tolerance
        What the errors are compared with.
    method
        How the numerical gradient was found.
    ok
        Whether all agree.
    verdict
        In words: which one is odd, where, by how much, and the likely mistake.
    kinks
        At how many elements the function has a kink, where any slope between the two
        one-sided ones was accepted.
    """

    name: str
    shape: Shape
    node: Node = field(repr=False)
    hand_error: float | None
    numeric_error: float | None
    tolerance: float
    method: str
    ok: bool
    verdict: str
    kinks: int = 0


@dataclass(frozen=True, slots=True)
class GradientReport:
    """The result of ``compare_gradients``: rows in backward order, and what they mean."""

    rows: tuple[Row, ...]
    graph: Graph = field(repr=False)
    seed: int
    cotangent: str

    @property
    def ok(self) -> bool:
        """Whether every row agrees."""
        return all(row.ok for row in self.rows)

    @property
    def first_wrong(self) -> Row | None:
        """The first row, in backward order, that does not agree: where the mistake is."""
        return next((row for row in self.rows if not row.ok), None)

    def __getitem__(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; rows: {', '.join(r.name for r in self.rows)}")

    def draw(self, **options: Any) -> Any:
        """Return the picture of the graph, with the first wrong step in red."""
        wrong = self.first_wrong
        return call("graph.draw", self.graph, highlight=[wrong.node] if wrong else (), **options)

    def __str__(self) -> str:
        header = ("gradient of", "shape", "hand", "numeric", "method", "")
        lines = [
            (
                row.name,
                str(row.shape),
                _number(row.hand_error),
                _number(row.numeric_error),
                row.method + (f", {row.kinks} kink{'s' * (row.kinks > 1)}" if row.kinks else ""),
                ("ok, " + row.verdict if row.verdict else "ok") if row.ok else row.verdict,
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in (header, *lines)) for i in range(5)]
        text = [
            "  ".join([*(c.ljust(w) for c, w in zip(line[:5], widths, strict=True)), line[5]])
            for line in (header, *lines)
        ]
        notes = f"relative to the automatic gradient; cotangent {self.cotangent}; seed {self.seed}"
        return "\n".join([*(line.rstrip() for line in text), notes])

    def __repr__(self) -> str:
        state = "all agree" if self.ok else f"first differs at {self.first_wrong.name!r}"  # type: ignore[union-attr]
        return f"<GradientReport of {len(self.rows)} gradients: {state}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
