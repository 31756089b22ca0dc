"""Batching is a loop and a stack, for whole functions; with state, random numbers and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import ShapeError, TraceError

RNG = np.random.default_rng(0)


def near(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


#: Functions of a (3, 4) matrix and a vector of 4 that use most kinds of primitives.
FUNCTIONS = {
    "elementwise": lambda a, b: mg.tanh(a) * b + mg.where(a > 0, a, b),
    "softmax": lambda a, b: mg.softmax(a, -1) + mg.logsumexp(b),
    "moments": lambda a, b: (a - mg.mean(a, 0, keepdims=True)) / (mg.std(a, 0) + 1.0) + b,
    "products": lambda a, b: a @ b + mg.sum(a.T @ a),
    "einsum": lambda a, b: mg.einsum("ij,kj,j->ik", a, a, b),
    "indexing": lambda a, b: a[[2, 0]][:, ::-1] * b[1:3].sum() + a[:2, None, 1],
    "choosing": lambda a, b: mg.take_along_axis(a, mg.argsort(a, axis=1), axis=1) + b,
    "argmax": lambda a, b: mg.take(a, mg.argmax(a, 0), axis=0) + b,
    "extremum": lambda a, b: mg.max(a, 1) + mg.prod(b) + mg.cumulative_sum(a, axis=1)[:, 1],
    "movement": lambda a, b: (
        mg.concat([mg.pad(a, 1), mg.roll(mg.pad(a, 1), 2, axis=1)])[:, 1:5] * b
    ),
    "several": lambda a, b: {"x": (a * 2, mg.sum(b)), "y": [mg.ones(3)]},
    "constant": lambda a, b: mg.arange(3),
    "gradient": lambda a, b: mg.grad(lambda a: mg.sum(mg.sin(a @ b)))(a),
    "forward": lambda a, b: mg.jvp(lambda b: mg.tanh(a @ b), (b,), (b * 2,))[1],
    "jacobian": lambda a, b: mg.jacobian(lambda b: mg.tanh(a @ b))(b),
    "nested": lambda a, b: mg.vmap(lambda row: row * b + mg.sum(row))(a),
    "checkpoint": lambda a, b: mg.checkpoint(lambda a: mg.exp(a) * b)(a),
    "compiled": lambda a, b: mg.compile(lambda a, b: a * b)(a, b),
}


@pytest.mark.parametrize("which", [(0, 0), (0, None), (None, 0)], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_is_a_loop_and_a_stack(name: str, which: Any) -> None:
    function = FUNCTIONS[name]
    a, b = RNG.normal(size=(5, 3, 4)), RNG.normal(size=(5, 4))
    a, b = (x if axis == 0 else x[0] for x, axis in zip((a, b), which, strict=True))
    found = mg.vmap(function, in_axes=which)(a, b)
    for i in range(5):
        one = function(*(x[i] if axis == 0 else x for x, axis in zip((a, b), which, strict=True)))
        leaves, structure = _flat(one)
        batched, same = _flat(found)
        assert structure == same
        for f, e in zip(batched, leaves, strict=True):
            assert f.shape == (5, *e.shape)
            near(np.asarray(f)[i], np.asarray(e))


def _flat(tree: Any) -> tuple[list[Any], Any]:
    from minigrad.trees import flatten

    return flatten(tree)


@pytest.mark.parametrize("name", ["elementwise", "softmax", "products", "indexing", "choosing"])
def test_gradient_through_vmap_is_the_sum_of_gradients(name: str) -> None:
    a, b = RNG.normal(size=(5, 3, 4)), RNG.normal(size=4)
    batched = lambda a, b: mg.sum(mg.vmap(FUNCTIONS[name], in_axes=(0, None))(a, b) ** 2)
    da, db = mg.grad(batched, (0, 1))(a, b)
    parts = [mg.grad(lambda a, b: mg.sum(FUNCTIONS[name](a, b) ** 2), (0, 1))(x, b) for x in a]
    near(da, np.stack([np.asarray(p[0]) for p in parts]))
    near(db, sum(np.asarray(p[1]) for p in parts))


@settings(max_examples=40, deadline=None)
@given(st.integers(-3, 2), st.integers(-3, 2))
def test_vmap_takes_and_puts_the_batch_on_any_axis(source: int, target: int) -> None:
    x = RNG.normal(size=(2, 3, 4))
    found = mg.vmap(lambda t: t * 2 + mg.sum(t), in_axes=source, out_axes=target)(x)
    rows = np.moveaxis(x, source, 0)
    near(found, np.moveaxis(np.stack([r * 2 + r.sum() for r in rows]), 0, target))


def test_vmap_out_axes_for_each_result() -> None:
    x = RNG.normal(size=(2, 3))
    a, b = mg.vmap(lambda t: (t, t * 2), out_axes=(0, 1))(x)
    near(a, x)
    near(b, 2 * x.T)


def test_vmap_of_nested_arguments_shares_one_axis() -> None:
    p = {"w": RNG.normal(size=(4, 2)), "b": [RNG.normal(size=4), None]}
    found = mg.vmap(lambda p: p["w"] * p["b"][0])(p)
    near(found, p["w"] * p["b"][0][:, None])


def test_vmap_of_an_empty_batch() -> None:
    assert mg.vmap(lambda x: mg.tanh(x) @ x)(np.zeros((0, 3))).shape == (0,)
    assert mg.vmap(mg.grad(lambda x: mg.prod(x)))(np.zeros((0, 3))).shape == (0, 3)


def test_vmap_under_trace_and_compile_is_the_same() -> None:
    x = RNG.normal(size=(5, 3))
    f = mg.vmap(lambda r: mg.softmax(r) * r)
    eager = np.asarray(f(x))
    near(mg.trace(f, x)(x), eager)
    near(mg.compile(f)(x), eager)


def test_vmap_reads_state_and_refuses_to_write_a_batch_into_it() -> None:
    p, b = mg.Parameter(np.arange(3.0)), mg.Buffer(np.zeros(3))
    x = RNG.normal(size=(4, 3))
    near(mg.vmap(lambda r: mg.sum(p * r))(x), x @ np.arange(3.0))

    def f(r: Any) -> Any:
        b.assign(r)
        return r

    with pytest.raises(TraceError, match="cannot be assigned a value for a whole batch"):
        mg.vmap(f)(x)
    assert b.tolist() == [0, 0, 0]


def test_vmap_of_a_product_with_a_shared_matrix_stays_one_product() -> None:
    w, x = np.ones((3, 4)), np.ones((7, 3))
    graph = mg.trace(mg.vmap(lambda r: r @ w), x).simplify()
    assert [n.primitive.name for n in graph.nodes if n.inputs].count("matmul") == 1
    assert all(n.aval.ndim <= 2 for n in graph.nodes)


def test_vmap_asks_for_no_value() -> None:
    with pytest.raises(TraceError, match="truth value"):
        mg.vmap(lambda x: x if x > 0 else -x)(np.ones(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mg.vmap(mg.add)(np.ones(2), np.ones(3)), r"batch sizes differ: \[2, 3\]"),
        (lambda: mg.vmap(mg.add, in_axes=(0,))(np.ones(2), np.ones(2)), "in_axes has 1 entries"),
        (lambda: mg.vmap(mg.sin, in_axes=None)(np.ones(2)), "no argument has a batch axis"),
        (lambda: mg.vmap(mg.sin)(np.float64(1.0)), "axis 0 does not exist"),
        (lambda: mg.vmap(mg.sin, in_axes=2)(np.ones((2, 2))), "axis 2 does not exist"),
        (lambda: mg.vmap(mg.sin, out_axes=(0, 0))(np.ones(2)), "out_axes has 2 entries"),
    ],
)
def test_vmap_that_does_not_fit_is_an_error(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()
