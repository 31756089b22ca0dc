"""Random programs: the transformations agree with each other, and with loops and differences."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import assume, given, settings

import minigrad as mg
from tests.ops.checkers import central
from tests.passes.programs import SMOOTH, Step, arrays, program, steps

Pair = tuple[np.ndarray, np.ndarray]
KINDS = [k for k in SMOOTH if k != "cast"]  # float32 in between would hide small mistakes
LEVEL = [k for k in KINDS if k != "mark"]  # stopped gradients are no derivatives


def loss_of(listed: list[Step]) -> Any:
    def loss(x: Any, y: Any) -> Any:
        total = mg.zeros((), dtype=np.float64)
        for part in program(listed)(x, y):
            total = total + mg.sum(mg.tanh(part * 0.3))
        return total

    return loss


def near(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=rtol)


@settings(max_examples=80, deadline=None)
@given(steps(KINDS, most=8), arrays(special=False))
def test_forward_and_reverse_mode_agree(listed: list[Step], operands: Pair) -> None:
    loss = loss_of(listed)
    directions = tuple(np.cos(np.arange(x.size)).reshape(x.shape) + 0.5 for x in operands)
    gradients = mg.grad(loss, (0, 1))(*operands)
    assume(all(np.isfinite(g.numpy()).all() for g in gradients))
    along = sum(float(np.sum(g.numpy() * d)) for g, d in zip(gradients, directions, strict=True))
    tangent = mg.jvp(loss, operands, directions)[1]
    assume(np.isfinite(tangent.numpy()))  # a padded zero has no tangent, and sqrt no slope there
    near(tangent, along)
    near(mg.compile(lambda x, y: mg.jvp(loss, (x, y), directions)[1])(*operands), along)


@settings(max_examples=60, deadline=None)
@given(steps(LEVEL, most=6), arrays(special=False))
def test_gradient_is_the_numerical_derivative(listed: list[Step], operands: Pair) -> None:
    loss = loss_of(listed)
    directions = [np.cos(np.arange(x.size)).reshape(x.shape) * 0.7 for x in operands]

    def line(t: float) -> float:
        return float(loss(*(x + t * d for x, d in zip(operands, directions, strict=True))).numpy())

    # at ties, steps and overflows there is no derivative: two step sizes then disagree
    coarse, fine = central(line, 1e-4), central(line, 1e-5)
    assume(np.isfinite(coarse) and abs(coarse - fine) < 1e-6 * (1 + abs(fine)))
    assume(abs(line(1e-9) - line(-1e-9)) < 1e-6)
    gradients = mg.grad(loss, (0, 1))(*operands)
    found = sum(float(np.sum(g.numpy() * d)) for g, d in zip(gradients, directions, strict=True))
    tied = abs(found - fine) > 1e-5 * (1 + abs(fine)) and _tied(loss, operands, directions)
    assert tied or abs(found - fine) < 1e-5 * (1 + abs(fine)), f"{found}, numerically {fine}"


def _tied(loss: Any, operands: Pair, directions: list[np.ndarray]) -> bool:
    """Whether the one-sided derivatives differ: a kink, where the sides are averaged."""
    ends = [
        float(loss(*(x + t * d for x, d in zip(operands, directions, strict=True))).numpy())
        for t in (-1e-6, 0.0, 1e-6)
    ]
    return abs((ends[2] - ends[1]) - (ends[1] - ends[0])) > 1e-9


@settings(max_examples=60, deadline=None)
@given(steps(KINDS, most=8), arrays(special=False))
def test_vmap_is_a_loop(listed: list[Step], operands: Pair) -> None:
    f = program(listed)
    x, y = operands
    batch = np.stack([x, x * 1.5 + 0.1, x[...] * 0.3 + 1.0])
    found = mg.vmap(f, in_axes=(0, None))(batch, y)
    gradients = mg.vmap(mg.grad(loss_of(listed)), in_axes=(0, None))(batch, y)
    for i in range(3):
        for part, alone in zip(found, f(batch[i], y), strict=True):
            near(np.asarray(part)[i], alone)
        near(gradients.numpy()[i], mg.grad(loss_of(listed))(batch[i], y))


@settings(max_examples=40, deadline=None)
@given(steps(KINDS, most=6), arrays(special=False))
def test_hessian_is_symmetric_and_agrees_with_products(listed: list[Step], operands: Pair) -> None:
    loss = loss_of(listed)
    x, y = operands
    h = mg.hessian(loss)(x, y).numpy().reshape(x.size, x.size)
    assume(np.isfinite(h).all())
    v = np.sin(np.arange(x.size) + 1.0).reshape(x.shape)
    near(mg.hvp(lambda t: loss(t, y), x, v).numpy().ravel(), h @ v.ravel(), 1e-8)
    forward = mg.jvp(mg.grad(lambda t: loss(t, y)), (x,), (v,))[1]
    near(forward.numpy().ravel(), h @ v.ravel(), 1e-8)


@settings(max_examples=40, deadline=None)
@given(steps(KINDS, most=8), arrays(special=False))
def test_checkpoint_compile_and_graphs_change_nothing(listed: list[Step], operands: Pair) -> None:
    loss = loss_of(listed)
    expected = mg.grad(loss, (0, 1))(*operands)
    ways = [
        mg.grad(mg.checkpoint(loss), (0, 1)),
        mg.compile(mg.grad(loss, (0, 1))),
        mg.compile(mg.grad(mg.checkpoint(loss), (0, 1))),
        lambda x, y: mg.trace(loss, x, y).grad()(x, y)[1:],
        lambda x, y: _by_backward(loss, x, y),
        lambda x, y: _by_backward(mg.compile(loss), x, y),
    ]
    for way in ways:
        for found, wanted in zip(way(*operands), expected, strict=True):
            near(found, wanted)


def _by_backward(f: Any, x: np.ndarray, y: np.ndarray) -> list[Any]:
    leaves = [mg.tensor(v, requires_grad=True) for v in (x, y)]
    with suppress(mg.errors.NotDifferentiable):  # if all of it was stopped
        f(*leaves).backward()
    return [np.zeros(t.shape) if t.grad is None else t.grad for t in leaves]
