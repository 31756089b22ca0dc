"""From a graph and a way of folding to a sketch: which boxes there are, and what joins them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from minigrad.core.node import Node

from .anatomy import Anatomy
from .fold import Grouping
from .groups import SHARED, Frame, Group
from .labels import Labels
from .scopes import kind_of, name_of, path_text
from .sketch import Box, FrameBox, Line, Link, Sketch, Wire

__all__ = ["build"]


@dataclass(slots=True)
class _Operand:
    """Where an operand comes from, past operations that only move data."""

    source: Node
    moves: list[Node]


@dataclass(slots=True)
class _Work:
    anatomy: Anatomy
    grouping: Grouping
    labels: Labels
    boxes: dict[str, Box] = field(default_factory=dict)
    uses: dict[str, dict[str, None]] = field(default_factory=dict)
    wires: dict[tuple[str, str], list[_Operand]] = field(default_factory=dict)


def build(
    anatomy: Anatomy,
    grouping: Grouping,
    *,
    guilty: frozenset[Node] = frozenset(),
    backward: str = "both",
    direction: str = "TB",
    title: str | None = None,
) -> Sketch:
    """Return the sketch of a graph.

    ``backward`` is "both", "hide" or "only"; ``guilty`` nodes are painted red.
    """
    work = _Work(anatomy, grouping, Labels(anatomy, guilty))
    forward, rest = backward != "only", backward != "hide"
    drawn = [
        n
        for n in anatomy.order
        if (rest if anatomy.column[n] else forward) and n not in anatomy.hidden
    ]
    for node in drawn:
        _connect(work, node)
    for node in drawn:
        _box(work, node, guilty)
    _terminals(work, forward)
    columns = sorted({b.column for b in work.boxes.values()})
    position = {c: i for i, c in enumerate(columns)}
    frames, inner = _frames(work)
    boxes = [
        replace(b, column=position[b.column], frame=inner.get(b.id)) for b in work.boxes.values()
    ]
    return Sketch(
        name=anatomy.graph.name,
        boxes=tuple(boxes),
        wires=tuple(_wires(work)),
        frames=tuple(replace(f, column=position[f.column]) for f in frames),
        links=tuple(_links(work)),
        headings=tuple(_heading(anatomy, c, len(columns)) for c in columns),
        upward=tuple(0 < c < anatomy.after and c % 2 == 1 for c in columns),
        direction=direction,
        title=title,
    )


def _frame_label(part: str) -> str:
    return f"{name_of(part)}  {kind_of(part)}".rstrip()


def _heading(anatomy: Anatomy, column: int, columns: int) -> str:
    if columns == 1 and column == 0:
        return ""
    if column == 0:
        return "forward ↓"
    if column < anatomy.after:
        return "backward ↑" if column == 1 else f"backward of backward {'↑' if column % 2 else '↓'}"
    updates = {node for _, node in anatomy.graph.updates}
    late = any(anatomy.column[n] == column for n in updates)
    return "update ↓" if late else "then ↓"


# Connections -------------------------------------------------------------------


def _home(work: _Work, node: Node) -> str:
    group = work.grouping.of(node)
    return group.id if group else work.anatomy.ids[node]


def _operands(work: _Work, node: Node) -> list[_Operand]:
    found = []
    for source in node.inputs:
        moves: list[Node] = []
        while source in work.anatomy.hidden and source.inputs:
            moves.insert(0, source)
            source = source.inputs[0]
        found.append(_Operand(source, moves))
    return found


def _drawn_wire(work: _Work, node: Node, operand: _Operand) -> bool:
    """Whether an operand is an edge: drawn, and in the same column."""
    anatomy = work.anatomy
    return (
        operand.source not in anatomy.hidden
        and anatomy.column[operand.source] == anatomy.column[node]
    )


def _connect(work: _Work, node: Node) -> None:
    head = _home(work, node)
    for operand in _operands(work, node):
        if _drawn_wire(work, node, operand):
            tail = _home(work, operand.source)
            if tail != head and not _is_shared(work, operand.source):
                work.wires.setdefault((tail, head), []).append(operand)
        elif operand.source not in work.anatomy.hidden:
            text = work.labels.operand(operand.source, operand.moves)
            work.uses.setdefault(head, {})[text] = None


def _is_shared(work: _Work, node: Node) -> bool:
    """Whether a node is in the box that serves all updates: edges to all say nothing."""
    group = work.grouping.of(node)
    return group is not None and group.path == SHARED


def _wires(work: _Work) -> Iterable[Wire]:
    """Return the wires; what leaves a box is labelled once, at its first wire."""
    anatomy = work.anatomy
    norms = _norms(work)
    largest = max(norms.values(), default=0.0)
    said: set[tuple[Node, str]] = set()
    for (tail, head), operands in work.wires.items():
        if tail not in work.boxes or head not in work.boxes:
            continue
        sources = list(dict.fromkeys(o.source for o in operands))
        label = ""
        if len(sources) > 1:
            label = f"{len(sources)} arrays"
        elif sources[0].inputs or work.grouping.of(sources[0]):
            text = work.labels.wire(sources[0], operands[0].moves)
            label = "" if (sources[0], text) in said else text
            said.add((sources[0], text))
        tooltip = "\n\n".join(work.labels.tooltip(s) for s in sources[:4])
        norm = max((norms.get(s, 0.0) for s in sources), default=0.0)
        strength = (norm / largest) ** 0.5 if norm > 0.0 else 0.0
        alarm = any(_alarm(anatomy, s) for s in sources)
        yield Wire(tail, head, label, tooltip, strength, alarm)


def _norms(work: _Work) -> dict[Node, float]:
    """Return the gradient norms that the widths of backward edges show."""
    anatomy = work.anatomy
    sources = {o.source for operands in work.wires.values() for o in operands}
    return {
        n: anatomy.stats(anatomy.values[n]).norm
        for n in sources
        if n in anatomy.values and n.aval.kind == "f" and 0 < anatomy.column[n] < anatomy.after
    }


def _alarm(anatomy: Anatomy, node: Node) -> bool:
    arrays = [m[node] for m in (anatomy.values, anatomy.gradients) if node in m]
    return any(anatomy.stats(a).alarm is not None for a in arrays)


def _links(work: _Work) -> Iterable[Link]:
    """Return the pairs of a forward box and the box that serves it."""
    seen: set[tuple[str, int]] = set()
    for box in work.boxes.values():
        group = work.grouping.of(box.nodes[0])
        if group is not None and group.serves is not None and group.id == box.id:
            forward: str | None = group.serves
        else:
            served = work.anatomy.served.get(box.nodes[0])
            forward = _home(work, served) if served is not None and group is None else None
        if forward in work.boxes and forward is not None and (forward, box.column) not in seen:
            seen.add((forward, box.column))
            yield Link(forward, box.id)


# Boxes -------------------------------------------------------------------------


def _box(work: _Work, node: Node, guilty: frozenset[Node]) -> None:
    anatomy, group = work.anatomy, work.grouping.of(node)
    if group is not None:
        if group.id not in work.boxes:
            work.boxes[group.id] = _group_box(work, group, guilty)
        return
    name = anatomy.ids[node]
    lines = _operation_lines(work, node) if node.inputs else work.labels.leaf(node)
    work.boxes[name] = Box(
        id=name,
        role=anatomy.roles[node],
        column=anatomy.column[node],
        lines=tuple(lines),
        tooltip=work.labels.tooltip(node),
        nodes=(node,),
        saved=node in anatomy.saved,
        alarm=node in guilty or _alarm(anatomy, node),
    )


def _operation_lines(work: _Work, node: Node) -> list[Line]:
    texts: list[str | None] = []
    operands = _operands(work, node)
    for operand in operands:
        drawn = _drawn_wire(work, node, operand)
        texts.append(None if drawn else work.labels.operand(operand.source, operand.moves))
    return work.labels.operation(node, texts, [o.source for o in operands])


def _group_box(work: _Work, group: Group, guilty: frozenset[Node]) -> Box:
    anatomy, labels = work.anatomy, work.labels
    backward = 0 < group.column < anatomy.after
    uses = list(work.uses.get(group.id, ()))
    around = len(work.grouping.frames.get(group.nodes[0], ()))
    return Box(
        id=group.id,
        role="update" if group.kind == "update" else "gradient_layer" if backward else "layer",
        column=group.column,
        lines=tuple(labels.group(group, _members(work, group), uses, around)),
        tooltip=_group_tooltip(work, group),
        nodes=group.nodes,
        saved=any(n in anatomy.saved for n in group.nodes),
        alarm=any(n in guilty or _alarm(anatomy, n) for n in group.nodes),
        times=group.times,
    )


def _members(work: _Work, group: Group) -> list[Node]:
    """Return the nodes listed in a folded box: parameters, gradients, tags, state."""
    anatomy = work.anatomy
    updates = {node: cell.trainable for cell, node in anatomy.graph.updates}
    found = [n for n in anatomy.order if not n.inputs and work.grouping.of(n) is group]
    for node in group.nodes:
        tagged = node.name is not None and group.column == 0
        if node in updates or tagged or anatomy.roles[node] == "gradient_output":
            found.append(node)
    order = {"parameter": 0, "gradient_output": 0, "state": 2, "update": 3}
    found = [
        n
        for n in found
        if n not in anatomy.hidden and not _is_counter(n) and anatomy.roles[n] != "constant"
    ]
    found.sort(key=lambda n: 0 if updates.get(n) else order.get(anatomy.roles[n], 1))
    return found[: -(-len(found) // group.times)]  # of equal layers, those of one


def _is_counter(node: Node) -> bool:
    """Whether a node is one integer, such as the count of random draws."""
    return node.aval.kind in "iu" and node.aval.size == 1


def _group_tooltip(work: _Work, group: Group) -> str:
    shown = [n for n in group.nodes if n not in work.anatomy.hidden]
    lines = [work.labels.tooltip(n).partition("\n")[0] for n in shown[:12]]
    if len(shown) > 12:
        lines.append(f"and {len(shown) - 12} more")
    return "\n".join([path_text(group.path), *lines])


def _terminals(work: _Work, forward: bool) -> None:
    """Add a box for each result that a folded layer computes, so that the end is seen."""
    anatomy = work.anatomy
    if not forward:
        return
    ends = [n for n in anatomy.graph.outputs if not 0 < anatomy.column[n] < anatomy.after]
    several = len(ends) > 1
    for i, node in enumerate(anatomy.graph.outputs):
        group = work.grouping.of(node)
        if group is None or 0 < anatomy.column[node] < anatomy.after:
            continue
        name = anatomy.names.get(node) or (f"result {i}" if several else "result")
        work.boxes[f"o{i}"] = Box(
            id=f"o{i}",
            role="output",
            column=anatomy.column[node],
            lines=tuple(work.labels.terminal(node, name)),
            tooltip=work.labels.tooltip(node),
            nodes=(node,),
            alarm=_alarm(anatomy, node),
        )
        work.wires[group.id, f"o{i}"] = [_Operand(node, [])]


# Frames ------------------------------------------------------------------------


def _frames(work: _Work) -> tuple[list[FrameBox], dict[str, str]]:
    """Return the frames worth drawing, and the innermost one of each box.

    A frame around one box, or around all that is in its column, says nothing.
    """
    around: dict[str, tuple[Frame, ...]] = {}
    for box in work.boxes.values():
        around[box.id] = work.grouping.frames.get(box.nodes[0], ())
    members: dict[tuple[int, str], set[str]] = {}
    per_column: dict[int, int] = {}
    for box in work.boxes.values():
        per_column[box.column] = per_column.get(box.column, 0) + (box.role != "input")
        for frame in around[box.id]:
            members.setdefault((box.column, frame.id), set()).add(box.id)
    kept: dict[str, FrameBox] = {}
    inner: dict[str, str] = {}
    for box in work.boxes.values():
        parent: str | None = None
        for frame in around[box.id]:
            inside = members[box.column, frame.id]
            if not 1 < len(inside) < per_column[box.column]:
                continue
            made = FrameBox(frame.id, _frame_label(frame.label), parent, box.column)
            kept.setdefault(frame.id, made)
            parent = frame.id
        if parent is not None:
            inner[box.id] = parent
    return list(kept.values()), inner
