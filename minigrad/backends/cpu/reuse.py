"""Which results may be written over the state that they replace.

A new value is written where the old one lies if nothing needs the old one any more. In the
step that writes it, that is so if the step reads of the old value just the element that it
is about to write, and reads it before. Whatever may fail comes earlier, so that an error
finds all state as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minigrad.core.node import Node
from minigrad.dtypes import uint8
from minigrad.passes.affine import Affine, flatten
from minigrad.passes.bodies import Body, Stored
from minigrad.passes.terms import Gather, Load, Term, walk

from .order import every_term, reduces, sweeps

if TYPE_CHECKING:
    from .program import Program, Step

__all__ = ["reuse"]


def reuse(program: Program) -> dict[int, int]:
    """Return the numbers of results and, for each, the input in whose place it is written."""
    inputs = {n.params["cell"]: i for i, n in enumerate(program.graph.inputs) if "cell" in n.params}
    lowered, layout = program.schedule.graph, program.layout
    # Checks find errors, and the steps that are not native are Python's: anything may happen.
    fails = [i for i, s in enumerate(program.steps) if program.checks(s) or s.code is None]
    first = max(fails, default=-1) + 1
    found: dict[int, int] = {}
    for cell, node in lowered.updates:
        if cell not in inputs or node not in layout.results:
            continue
        if node.aval.dtype == uint8:  # cannot be told from memory that others use
            continue
        source = lowered.inputs[inputs[cell]]
        result = layout.buffers[layout.place(node).buffer]
        before = layout.buffers[layout.place(source).buffer]
        if (
            result.last >= 0
            and result.first >= max(before.last, first)
            and source not in lowered.results
            and _aligned(program, program.steps[result.first], source, node)
        ):
            found[layout.results[node]] = inputs[cell]
    return found


def _aligned(program: Program, step: Step, source: Node, result: Node) -> bool:
    """Whether a step reads of ``source`` only the element of ``result`` that it will write."""
    place = program.layout.place
    buffer = place(source).buffer
    if step.code is None or step.body is None:
        return False
    if buffer not in step.code.slots:
        return True
    body = step.body
    if any(f is not None and place(f.node).buffer == buffer for f in (body.left, body.right)):
        return False
    stores = [s for s in body.stores if s.target is result]
    if len(stores) != 1 or any(s.target is result for s in body.sums):
        return False

    def address(node: Node, index: Sequence[Affine]) -> Affine:
        return flatten(index, place(node).strides) + place(node).offset

    wanted = address(result, stores[0].index)
    loads = [t for t in every_term(body) if isinstance(t, Load | Gather)]
    reads = [t for t in loads if place(t.node).buffer == buffer]
    if not all(isinstance(t, Load) and address(t.node, t.index) == wanted for t in reads):
        return False
    return not body.rows or _last_to_read(body, stores[0], lambda t: t in reads)


def _last_to_read(body: Body, store: Stored, reads: Callable[[Term], bool]) -> bool:
    """Whether no sweep through a row reads after the one that stores.

    What is stored once for a row is stored after all sweeps.
    """
    inside = {v for v in body.vars if v not in body.rows}
    if not any(v in inside for at in store.index for v, _ in at.terms):
        return True
    stage = sweeps(body)
    roots = [*[s.term for s in body.stores], *[s.term for s in body.sums]]
    roots += [t.args[0] for t in walk(roots) if reduces(t)]
    return all(
        stage[root] <= stage[store.term] for root in roots if any(reads(t) for t in _near(root))
    )


def _near(root: Term) -> list[Term]:
    """Return the terms that are computed in the sweep of one: not those behind a reduction."""
    found: dict[Term, None] = {}
    todo = [root]
    while todo:
        term = todo.pop()
        if term not in found:
            found[term] = None
            todo += () if reduces(term) else term.args
    return list(found)
