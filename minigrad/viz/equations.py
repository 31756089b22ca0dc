r"""A graph as equations: the user's names, each primitive's template, :math:`\bar u` backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigrad.core.graph import Graph
from minigrad.core.node import Node
from minigrad.core.tensor import Tensor

from .anatomy import Anatomy, anatomy
from .symbols import is_literal
from .texnames import bar, symbol
from .texterms import ATOM, LOOSE, Term, literal_term, term

__all__ = ["Equation", "Equations", "equations", "latex"]

_LONG = 90  # characters of LaTeX, from which an expression becomes a line of its own
_SHOWN = 120  # lines that a notebook typesets in reasonable time


@dataclass(frozen=True, slots=True)
class Equation:
    """One line: what is defined, by what, and for a gradient the forward step it serves."""

    left: str
    right: str
    remark: str
    node: Node
    relation: str = "="

    @property
    def latex(self) -> str:
        """The line without alignment, ready for a formula of its own."""
        return f"{self.left} {self.relation} {self.right}"


@dataclass(frozen=True, slots=True)
class Equations:
    """The equations of a graph, in order; shows itself as formulas in a notebook."""

    lines: tuple[Equation, ...]
    name: str

    @property
    def latex(self) -> str:
        """All lines in an ``aligned`` environment."""
        return _aligned(self.lines)

    def __str__(self) -> str:
        return self.latex

    def __repr__(self) -> str:
        return f"<{len(self.lines)} equations of {self.name}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = self.lines[:_SHOWN]
        more = len(self.lines) - len(shown)
        note = f"\n({more} lines more: .latex has them all)" if more else ""
        return {
            "text/plain": self.latex + note,
            "text/latex": f"$$\n{_aligned(shown)}\n$${note}",
        }


def _aligned(lines: Sequence[Equation]) -> str:
    rows = []
    for line in lines:
        remark = f" && {line.remark}" if line.remark else ""
        rows.append(f"{line.left} &{line.relation} {line.right}{remark}")
    body = " \\\\\n".join(rows)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def latex(graph: Graph) -> str:
    """Return a graph as aligned equations in LaTeX; see ``equations``."""
    return equations(graph).latex


def equations(graph: Graph | Tensor) -> Equations:
    r"""Return the equations of a graph.

    What has a name of the user's, or is used more than once, has a line; the rest is
    written where it is used. The cotangent of :math:`u` is :math:`\bar u`, and its line
    says which forward step it comes from. Operations that only move data are left out.
    """
    if isinstance(graph, Tensor):
        graph = graph.graph()
    return Equations(tuple(_Writer(graph).lines()), graph.name)


class _Writer:
    """Names what needs a name, then writes line by line."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.read: Anatomy = anatomy(graph, values=False)
        self.terms: dict[Node, Term] = {}
        self.symbols: dict[Node, str] = {}
        self._count = 0
        self._taken: set[str] = set()
        # several steps may share a cotangent, as u and v in u = v + 1: the named one counts
        pairs = sorted(self.read.cotangents.items(), key=lambda p: p[0] in self.read.names)
        self._cotangent_of = {g: f for f, g in pairs}
        self._results = set(graph.results)
        self._updates = {node: cell for cell, node in graph.updates}

    def lines(self) -> list[Equation]:
        """Return the equations, in the order of the graph."""
        for node in self.graph.inputs:
            self._name(node, symbol(self.read.names[node]))
        found = []
        for node in self.graph.nodes:
            if not node.inputs:
                self.terms[node] = self._leaf(node)
                continue
            written = term(node, [self._operand(i) for i in node.inputs])
            if self._wants_line(node, written):
                found.append(self._line(node, written))
            else:
                self.terms[node] = written
        found += [self._line(n, self.terms[n]) for n in self.graph.outputs if n not in self.symbols]
        return found

    def _operand(self, node: Node) -> Term:
        return self.terms[node]

    def _leaf(self, node: Node) -> Term:
        if is_literal(node):
            return literal_term(node)
        name = self.read.names.get(node) or f"c{self.read.ids[node][1:]}"
        return self._name(node, symbol(name))

    def _name(self, node: Node, wanted: str) -> Term:
        """Give a node a symbol of its own: the second ``h`` has the index (2)."""
        found, copies = wanted, 1
        while found in self._taken:
            copies += 1
            found = rf"{wanted}_{{({copies})}}" if "^" in wanted else f"{wanted}^{{({copies})}}"
        self._taken.add(found)
        self.symbols[node] = found
        binding = ATOM if "^" not in found else ATOM - 1
        self.terms[node] = Term(found, binding)
        return self.terms[node]

    def _wants_line(self, node: Node, written: Term) -> bool:
        if node in self._results or node.name:
            return True
        if node in self.read.hidden:
            return False
        named = node in self.read.names or self._served_symbol(node) is not None
        used = sum(c.inputs.count(node) for c in self._users(node))
        square = all(c.inputs == (node, node) for c in self._users(node))
        return named or (used > 1 and not square) or len(written.text) > _LONG

    def _users(self, node: Node) -> list[Node]:
        """Return the consumers of a node, past operations that are not written."""
        found: list[Node] = []
        todo = list(self.read.consumers[node])
        while todo:
            at = todo.pop()
            if at in self.read.hidden and at.primitive.name != "astype":
                todo += self.read.consumers[at]
            else:
                found.append(at)
        return found

    def _served_symbol(self, node: Node) -> str | None:
        """Return the symbol of the forward node whose cotangent this is."""
        forward = self._cotangent_of.get(node)
        return self.symbols.get(forward) if forward is not None else None

    def _line(self, node: Node, written: Term) -> Equation:
        name = self.read.names.get(node)
        forward = self._served_symbol(node)
        cell = self._updates.get(node)
        relation = "="
        if cell is not None and not node.name:
            left, relation = symbol(cell.name or "state"), r"\leftarrow"
            self.terms[node] = Term(left)
            self.symbols[node] = left
        elif forward is not None and not node.name:
            left = self._name(node, bar(forward)).text
        elif name is not None and not name.startswith("∂"):
            left = self._name(node, symbol(name)).text
        else:
            self._count += 1
            letter = "s" if node in self.read.served else "t"
            left = self._name(node, f"{letter}_{{{self._count}}}").text
        return Equation(left, written.within(LOOSE), self._remark(node), node, relation)

    def _remark(self, node: Node) -> str:
        """Return the line of the forward pass that a line of the backward pass comes from."""
        served = self.read.served.get(node)
        while served is not None and served not in self.symbols:
            users = [c for c in self.read.consumers[served] if self.read.column[c] == 0]
            served = users[0] if users else None
        return "" if served is None else rf"\text{{from }} {self.symbols[served]}"
