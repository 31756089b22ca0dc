"""The words in a picture: what a box, a wire and a tooltip say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.core.node import Node
from minigrad.core.text import params
from minigrad.dtypes import kind_of as letter_of

from .anatomy import Anatomy
from .groups import REST, SHARED, Group
from .scopes import kind_of, path_text
from .sketch import Line, Span
from .stats import number, to_numpy, value_text
from .symbols import commutes, is_infix, literal_text, moved_mark, sign, written
from .theme import fitted

__all__ = ["Labels", "byte_text", "kind_text", "place_text"]

_LONG = 36  # characters in a line
_SHORT = 10  # characters of an operand's name that fit into a formula
_MANY = 6  # lines of details in a box
_WRITTEN = 4  # elements of a gradient that are written out


def kind_text(node: Node) -> str:
    """Return shape and dtype, ``f32[32, 16]``; a scalar is only ``f32``."""
    return repr(node.aval).removesuffix("[]")


def byte_text(count: float) -> str:
    """Return a number of bytes in the unit that fits: ``6.1 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _within(name: str, path: Sequence[str]) -> str:
    """Return a name without the path of the layer whose box it stands in."""
    for mark in ("∂", "new "):
        if name.startswith(mark):
            return mark + _within(name.removeprefix(mark), path)
    for i in range(len(path)):
        prefix = path_text(path[i:]) + "."
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _uses_text(uses: Sequence[str], group: Group) -> str:
    """Return what a box reads from other columns: named values as far as there is room."""
    named = [_within(u, group.path) for u in uses if not u.startswith("%")]
    if group.kind == "update":  # that it reads its own parameter goes without saying
        named = [u for u in named if u.startswith("∂")] or named
    if not named:
        return f"uses {_count(len(uses), 'value')}"
    text = f"uses {named[0]}"
    for i, name in enumerate(named[1:]):
        if i == 2 or len(text) + len(name) > _LONG:
            return f"{text}, …"
        text += f", {name}"
    return text if len(named) == len(uses) or group.kind == "update" else f"{text}, …"


def place_text(node: Node) -> str:
    """Return the user's place that made a node; nothing for what the library made itself."""
    origin = node.origin
    return "" if origin.code is None or origin.file.startswith("<frozen") else origin.label


class Labels:
    """Writes what is known of the nodes of one graph."""

    def __init__(self, anatomy: Anatomy, guilty: frozenset[Node]) -> None:
        self.anatomy = anatomy
        self.guilty = guilty
        self._whole = set(anatomy.cotangents.values())
        self._tooltips: dict[Node, str] = {}

    # Boxes ---------------------------------------------------------------------

    def operation(
        self, node: Node, operands: Sequence[str | None], drawn: Sequence[Node]
    ) -> list[Line]:
        """Return the lines of a box with one operation."""
        name = self.anatomy.names.get(node)
        known = [
            text if text is not None else self._short(source)
            for text, source in zip(operands, drawn, strict=True)
        ]
        if name:
            first: Line = (
                Span(fitted(name, _LONG), bold=True),
                Span(" = ", "soft"),
                Span(fitted(written(node, known, whole=True), _LONG)),
            )
        else:
            named = any(
                text is None and short is not None
                for text, short in zip(operands, known, strict=True)
            )
            ordered = is_infix(node) and not commutes(node) and named
            text = written(node, known, whole=True) if ordered else written(node, operands)
            first = (Span(fitted(text, _LONG)),)
            if node in self.anatomy.saved:
                first = (*first, Span(f"  %{self.anatomy.ids[node][1:]}", "soft", small=True))
        return [first, *self.values(node)]

    def _short(self, node: Node) -> str | None:
        name = self.anatomy.names.get(node)
        return name if name and len(name) <= _SHORT else None

    def leaf(self, node: Node) -> list[Line]:
        """Return the lines of an input, a parameter or a constant."""
        name = self.anatomy.names.get(node)
        if name is None:
            name = literal_text(node) if node.primitive.kind == "creation" else "constant"
        kind = kind_text(node)
        lines: list[Line] = [
            (Span(fitted(name, _LONG), bold=True), Span(f"  {kind}", "soft", small=True))
        ]
        return lines + self.values(node)

    def terminal(self, node: Node, name: str) -> list[Line]:
        """Return the lines of a result that a folded layer computes."""
        kind = Span(f"  {kind_text(node)}", "soft", small=True)
        return [(Span(fitted(name, _LONG), bold=True), kind), *self.values(node)]

    def values(self, node: Node) -> list[Line]:
        """Return what a run says about a node: its value, its gradient, what is wrong."""
        anatomy = self.anatomy
        lines: list[Line] = []
        if node in anatomy.values:
            lines.append(self._value(node))
            if anatomy.starts_alarm(node):
                lines[-1] = (*lines[-1], Span("  ◄ starts here", "alarm", small=True))
        if node in anatomy.gradients:
            lines.append(self._gradient(node))
        if node in self.guilty:
            lines.append((Span("◄ here", "alarm", bold=True, small=True),))
        return lines

    def _value(self, node: Node, brief: bool = False) -> Line:
        anatomy = self.anatomy
        backward = 0 < anatomy.column[node] < anatomy.after and node.aval.kind == "f"
        whole = node in self._whole or anatomy.roles[node] == "gradient_output"
        tone = "gradient" if backward else "ink"
        return self._array(anatomy.values[node], "", tone, brief, backward and whole)

    def _gradient(self, node: Node, brief: bool = False) -> Line:
        mark = "∂ " if brief else "∂  "
        return self._array(self.anatomy.gradients[node], mark, "gradient", brief, True)

    def _array(self, array: Any, mark: str, tone: str, brief: bool, may_die: bool) -> Line:
        """Return one line about an array; a whole gradient of zeros is dead, a part is not."""
        stats = self.anatomy.stats(array)
        if stats.alarm:
            return (Span(f"{mark}{stats.alarm}", "alarm", bold=True, small=True),)
        if may_die and stats.dead:
            return (Span(f"{mark}0  dead", "dead", bold=True, small=True),)
        floating = letter_of(to_numpy(array).dtype) == "f"
        long = brief or (tone == "gradient" and stats.size > _WRITTEN)
        if floating and stats.size > 1 and long:
            return (Span(f"{mark}‖{number(stats.norm)}‖", tone, small=True),)
        return (Span(mark + value_text(array, stats), tone, small=True),)

    # Folded layers --------------------------------------------------------------

    def group(
        self, group: Group, members: Sequence[Node], uses: Sequence[str], around: int
    ) -> list[Line]:
        """Return the lines of a box with several operations.

        ``members`` are the parameters, results and updates that are listed, ``uses`` what
        it reads from other columns, ``around`` how many frames already name the path.
        """
        operations = [n for n in group.nodes if n not in self.anatomy.hidden]
        lines: list[Line] = [self._title(group, around)]
        lines.append((Span(self._summary(operations), "soft", small=True),))
        details = [self._member(group, n) for n in members]
        if len(details) > _MANY:
            more = len(details) - _MANY + 1
            details = [*details[: _MANY - 1], (Span(f"and {more} more", "soft", small=True),)]
        lines += details
        if uses and group.times == 1:
            lines.append((Span(_uses_text(uses, group), "soft", small=True),))
        for node in group.nodes:
            if self.anatomy.starts_alarm(node):
                bad = self.anatomy.stats(self.anatomy.values[node]).alarm
                where = f"◄ {bad} starts at {self.anatomy.name(node)} = {sign(node)}"
                lines.append((Span(fitted(where, _LONG), "alarm", bold=True, small=True),))
                break
        if any(n in self.guilty for n in group.nodes):
            names = ", ".join(self.anatomy.name(n) for n in group.nodes if n in self.guilty)
            lines.append((Span(fitted(f"◄ {names}", _LONG), "alarm", bold=True, small=True),))
        return lines

    def _title(self, group: Group, around: int) -> Line:
        kind = kind_of(group.path[-1]) if group.path else ""
        text = path_text(group.path[min(around, len(group.path) - 1) :]) if group.path else ""
        if group.kind == "line":
            last = group.nodes[-1]
            text, kind = self.anatomy.names.get(last) or last.origin.text or "operations", ""
        elif group.kind == "update":
            kind = next((n.scope[0] for n in group.nodes if n.scope), "")
            text = "shared by all updates" if group.path == SHARED else f"update {text}".rstrip()
        if group.path == REST:
            text = "after the gradients"
        if group.times > 1:
            text = " … ".join(dict.fromkeys(group.ends))
            kind = f"× {group.times}"
        if group.serves is not None and group.kind != "update":
            text = f"{'∂' * group.column} {text}"
        title: Line = (Span(fitted(text, _LONG), bold=True),)
        return (*title, Span(f"  {kind}", "soft", small=True)) if kind else title

    def _summary(self, operations: Sequence[Node]) -> str:
        distinct = list(dict.fromkeys(sign(n) for n in operations))
        if len(operations) <= 3 and operations:
            return "  ".join(sign(n) for n in operations)
        if not operations:
            return "moves data"
        shown = "  ".join(distinct[:3])
        more = "  …" if len(distinct) > 3 else ""
        return f"{len(operations)} operations: {shown}{more}"

    def _member(self, group: Group, node: Node) -> Line:
        """Return one line about a parameter, a gradient or an update inside a box."""
        anatomy = self.anatomy
        name = _within(anatomy.name(node), group.path)
        if group.times > 1 and "." in name:
            name = ("∂" if name.startswith("∂") else "") + name.rpartition(".")[2]
        role = anatomy.roles[node]
        strong = role in ("parameter", "gradient_output")
        tone = "gradient" if role == "gradient_output" else "ink" if strong else "soft"
        spans: list[Span] = [
            Span(fitted(name, 22), tone, bold=strong, small=True),
            Span(f"  {kind_text(node)}", "soft", small=True),
        ]
        if group.times > 1:  # one line stands for all
            return tuple(spans)
        if node in anatomy.values:
            spans += [Span("  "), *self._value(node, brief=True)]
        if node in anatomy.gradients:
            spans += [Span("  "), *self._gradient(node, brief=True)]
        return tuple(spans)

    # Words elsewhere ------------------------------------------------------------

    def operand(self, node: Node, moves: Sequence[Node]) -> str:
        """Return an operand that is written instead of drawn."""
        if node.primitive.kind == "creation" or (not node.inputs and node in self.anatomy.hidden):
            return literal_text(node)
        return fitted(self.anatomy.name(node), 24) + moved_mark(moves)

    def wire(self, node: Node, moves: Sequence[Node]) -> str:
        """Return what is written on the edge that leaves a node."""
        return kind_text(node) + moved_mark(moves)

    def tooltip(self, node: Node) -> str:
        """Return all that is known of a node, for a tooltip: one fact a line."""
        found = self._tooltips.get(node)
        if found is None:
            found = self._tooltips[node] = "\n".join(self._facts(node))
        return found

    def _facts(self, node: Node) -> list[str]:
        anatomy = self.anatomy
        operands = [anatomy.name(i) for i in node.inputs]
        operands += [
            f"{k}={v}"
            for k, v in params(node).items()
            if k not in ("graph", "cell", "owner", "gradient")
        ]
        formula = (
            f"{node.primitive.name}({', '.join(operands)})" if node.inputs else anatomy.roles[node]
        )
        facts = [f"{anatomy.name(node)}: {node.aval!r} = {formula}"]
        if node.scope:
            facts.append("layer " + ".".join(node.scope))
        if place_text(node):
            facts.append(str(node.origin))
        served = anatomy.served.get(node)
        if served is not None:
            facts.append(f"serves {anatomy.name(served)} = {sign(served)}")
        if node in anatomy.saved:
            facts.append(f"kept for the backward pass, {byte_text(node.aval.nbytes)}")
        for what, arrays in (("value", anatomy.values), ("gradient", anatomy.gradients)):
            if node in arrays:
                s = anatomy.stats(arrays[node])
                facts.append(
                    f"{what}: norm {number(s.norm, 4)}, from {number(s.low, 4)} to "
                    f"{number(s.high, 4)}, {100 * s.zeros:.3g} % zero"
                    + (f", {s.alarm}" if s.alarm else "")
                )
        return facts
