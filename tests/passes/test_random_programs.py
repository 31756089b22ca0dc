"""Random programs keep every bit through the passes, their types, tags and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings

import minigrad as mg
from minigrad.core import Graph, verify
from minigrad.passes import RULES, finalise, simplify
from minigrad.passes.rewrite import rewrite
from minigrad.passes.tidy import fold, inline, merge
from tests.ops.checkers import same_bits

from .programs import SMOOTH, STEPS, Step, arrays, program, steps

Pair = tuple[np.ndarray, np.ndarray]

EXACT = {
    final: {n: [r for r in rules if r.exact is True and (final or not r.final)]
            for n, rules in RULES.items()}
    for final in (False, True)
}  # fmt: skip


def outputs(graph: Graph, operands: Pair) -> list[np.ndarray]:
    found = graph(*operands)
    return [np.asarray(f) for f in (found if isinstance(found, tuple) else (found,))]


def trace(listed: list[Step], operands: Pair) -> Graph:
    with np.errstate(all="ignore"):
        return mg.trace(program(listed), *operands)


@settings(max_examples=150, deadline=None)
@given(steps(list(STEPS)), arrays(special=True))
def test_exact_passes_keep_every_bit(listed: list[Step], operands: Pair) -> None:
    """NaN, infinities and the signs of zeros too; each pass alone, and all to the end."""
    graph = trace(listed, operands)
    expected = outputs(graph, operands)
    for final in (False, True):
        stage = graph
        for _ in range(3):
            for one in (
                inline,
                lambda g, f=final: rewrite(g, EXACT[f], final=f),
                fold,
                merge,
            ):
                stage = verify(one(stage))
                for found, wanted in zip(outputs(stage, operands), expected, strict=True):
                    same_bits(found, wanted)


def unsigned(x: np.ndarray) -> np.ndarray:
    """Return floats with -0 as 0: what the two rules that are not exact may change."""
    return x + np.zeros(1, x.dtype) if x.dtype.kind == "f" else x


def operations(graph: mg.Graph) -> int:
    return len([node for node in graph.nodes if node.inputs])


@settings(max_examples=150, deadline=None)
@given(steps(list(SMOOTH)), arrays(special=True))
def test_simplify_and_finalise_keep_every_value(listed: list[Step], operands: Pair) -> None:
    """Without division: the sign of a zero, which two rules may change, reaches nothing else."""
    graph = trace(listed, operands)
    expected = outputs(graph, operands)
    for after in (simplify(graph), finalise(graph)):
        verify(after)
        assert operations(after) <= operations(graph)  # literals may be added
        assert {n.name for n in after.nodes if n.name} == {n.name for n in graph.nodes if n.name}
        for found, wanted in zip(outputs(after, operands), expected, strict=True):
            same_bits(unsigned(found), unsigned(wanted))


@settings(max_examples=80, deadline=None)
@given(steps(list(STEPS)), arrays(special=False))
def test_passes_come_to_rest(listed: list[Step], operands: Pair) -> None:
    graph = trace(listed, operands)
    for one in (simplify, finalise):
        once = one(graph)
        assert one(once).text() == once.text()


@settings(max_examples=80, deadline=None)
@given(steps([k for k in SMOOTH if k != "cast"], most=8), arrays(special=False))
def test_gradient_of_the_simplified_is_the_gradient(listed: list[Step], operands: Pair) -> None:
    def loss(x: Any, y: Any) -> Any:
        total = mg.zeros((), dtype=np.float64)
        for part in program(listed)(x, y):
            total = total + mg.sum(mg.tanh(part))
        return total

    with np.errstate(all="ignore"):
        graph = mg.trace(loss, *operands)
        expected = outputs(graph.grad(), operands)
        for version in (
            simplify(graph).grad(),
            simplify(graph.grad()),
            finalise(simplify(graph).grad()),
        ):
            verify(version)
            for found, wanted in zip(outputs(version, operands), expected, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
        eager = mg.grad(loss, (0, 1))(*operands)
        for found, wanted in zip(eager, expected[1:], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(steps(list(STEPS)), arrays(special=False))
def test_text_of_a_random_program_is_a_function_of_the_program(
    listed: list[Step], operands: Pair
) -> None:
    first = trace(listed, operands).text()
    program(listed)(*operands)
    assert trace(listed, operands).text() == first
