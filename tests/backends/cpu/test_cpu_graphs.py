"""Graphs on which compiled code once differed from the reference, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends.cpu.target import named_target, use_target
from minigrad.core import apply, registry
from minigrad.errors import BackendUnavailable

from .held import Limits, hold, limits

RNG = np.random.default_rng(0)


def whole(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Return small whole numbers: sums and products of them are exact."""
    return np.asarray(RNG.integers(-3, 4, shape), dtype)


def padded(x: Any, low: Any, high: Any, inner: Any, value: float) -> Any:
    params = {"low": low, "high": high, "inner": inner, "value": value}
    return apply(registry["pad"], (mg.asarray(x),), params)


@pytest.mark.parametrize("inner", [(0, 0), (0, 1), (2, 1)])
@pytest.mark.parametrize("value", [0.0, -7.0])
def test_padding_as_a_result_is_filled(inner: Any, value: float) -> None:
    """A result is memory of the caller's, not the padding's own that was filled once."""
    x = whole(3, 5)
    hold(lambda x: padded(x, (0, 1), (1, 2), inner, value), [x])
    hold(lambda x: (padded(x * 2, (1, 0), (1, 2), inner, value), x * 2), [x])
    hold(lambda x: padded(x > 0, (1, 0), (1, 2), inner, bool(value)), [x])
    cell = mg.Buffer(np.zeros((3, 7), np.float32))
    step = mg.compile(lambda x: cell.assign(padded(x, (0, 1), (0, 1), (0, 0), value)))
    for k in range(3):
        step(x + k)
        assert cell.tolist() == np.pad(x + k, ((0, 0), (1, 1)), constant_values=value).tolist()


def test_padding_of_nothing_is_all_padding() -> None:
    for inner in ((0, 0), (0, 1)):
        hold(lambda x, inner=inner: padded(x, (0, 1), (1, 2), inner, 4.0), [whole(0, 3)])


@pytest.mark.parametrize("shape", [(3, 0, 2), (0,), (2, 0), (0, 3)])
def test_a_result_without_elements_writes_nothing(shape: tuple[int, ...]) -> None:
    """The axes of size 1 and 0 were left out of the loops, and the rest of the result written."""
    hold(lambda x: (-x, mg.sum(x), mg.zeros((4, 3)), x), [whole(*shape)])


@pytest.mark.parametrize("target", [(64, 3), (3, 64), (4, 48), (2, 48, 2)])
def test_reshape_that_no_index_map_describes(target: tuple[int, ...]) -> None:
    """As a result by itself: its operand's memory is read with another shape."""
    x = whole(64, 3)
    hold(lambda x: mg.reshape(x, target), [x])
    hold(lambda x: (x * 2, mg.reshape(x * 2, target), mg.reshape(x.T, target)), [x])


def test_short_product_beside_a_reshape_of_it() -> None:
    """A product of few terms is a sum, which is stored when its reshape cannot be read."""

    def f(a: Any, b: Any) -> Any:
        y = a @ mg.matrix_transpose(b)
        return y, mg.reshape(y, (3, 3, 2))

    hold(f, [whole(2, 3, 4), whole(2, 3, 4)])


def test_dear_sum_of_one_part_is_not_divided() -> None:
    """Every thread wrote its share of the elements as the whole sum."""
    x = whole(15000, dtype=np.float64)
    hold(lambda x: mg.sum(mg.where(mg.pow(mg.abs(x) + 1.0, 1.0) > 2.0, 1.0, 3.0)), [x])
    hold(lambda x: mg.sum(x), [whole(33)], Limits(serial=False))


def test_random_words_within_padding() -> None:
    """Key and stream are read once, also where a guard covers only some lanes."""
    x = whole(3, 5)

    def f(x: Any) -> Any:
        y = x * mg.astype(mg.random.bernoulli(0.5, x.shape), x.dtype)
        return y, padded(y, (0, 1), (0, 1), (0, 0), 0.0)

    hold(f, [x])


def test_rows_that_return_as_columns() -> None:
    """A square array: a value of each row, repeated along the other axis, is no row's value."""

    def f(x: Any) -> Any:
        total = mg.sum(x, 0)
        return x * mg.expand_dims(total, axis=1), x * total

    for shape in ((13, 13), (64, 64)):
        hold(f, [whole(*shape)])
        hold(lambda x: f(mg.matrix_transpose(x)), [whole(*shape)])


def test_array_that_is_copied_first_has_loops_of_its_own() -> None:
    """Two loops that were one in the original are not one in its copy of another order."""

    def f(x: Any) -> Any:
        y = mg.permute_dims(x, (3, 2, 0, 1))
        return y, mg.sum(y, (0, 1))

    hold(f, [whole(4, 5, 13, 20)])


def test_like_kernels_read_their_operands_where_they_lie() -> None:
    """One text for all kernels of an operation, but not for an operand of another order."""
    apart = Limits(separate=1, across=16)

    def turned(x: Any) -> Any:
        y = mg.sin(x) + 1.0
        return mg.matrix_transpose(y) + x, y * mg.matrix_transpose(x), y + x

    hold(turned, [whole(20, 20)], apart)
    hold(lambda x: (mg.reshape(x, (4, 15)), x + 1.0, (x + 1.0) + x), [whole(60)], apart)
    hold(
        lambda x: (x * 2.0, padded(x * 2.0, (1,), (1,), (0,), 0.0), x + x * 2.0), [whole(9)], apart
    )


def test_row_buffers_where_vectors_go_from_row_to_row() -> None:
    """What is kept of a row is kept of as many rows as there are lanes."""

    def f(x: Any) -> Any:
        y = mg.exp(mg.matrix_transpose(x) * 0.1)
        return y / mg.sum(y, 0)

    for shape in ((22, 27), (40, 9), (16, 64)):
        hold(f, [RNG.normal(size=shape).astype(np.float32)])


def test_numbers_do_not_make_kernels_of_their_own() -> None:
    """Many operations that differ by a number are one kernel, which loads the number."""
    factors = np.linspace(0.1, 0.9, 50).astype(np.float32).tolist()

    def f(x: Any) -> Any:
        scaled = [mg.tanh(x) * factor for factor in factors]
        return sum(scaled, x * 2.0 - 1.0), scaled[3]

    x = np.linspace(-1, 1, 33, dtype=np.float32)
    hold(f, [x], Limits(separate=60))
    with limits(Limits(separate=60)):
        plan = mg.compile(f, backend="cpu").explain(x)
    sources = [s.source.partition("(")[2] for s in plan.steps]
    assert len(sources) >= 25 and len(set(sources)) <= 6, "three in a row, a few kinds of rows"
    with limits(Limits(separate=200)):
        plan = mg.compile(f, backend="cpu").explain(x)
    assert all("constant" not in b.kind for b in plan.buffers), "fused, numbers are in the code"


def test_an_infinite_factor_of_a_sum() -> None:
    """The one place where compiled code is not the reference; docs/conventions.md says so."""
    x = np.array([[0.0, 1.0], [2.0, 3.0]])
    factor = np.array([np.inf, 2.0])

    def f(x: Any, factor: Any) -> Any:
        return mg.sum(x * factor, 0)

    hold(f, [x, factor], Limits(distribute=False))
    np.testing.assert_array_equal(mg.compile(f, backend="numpy")(x, factor), [np.nan, 8.0])
    np.testing.assert_array_equal(mg.compile(f, backend="cpu")(x, factor), [np.inf, 8.0])


@pytest.mark.parametrize("rows", [3, 16, 37])
def test_sums_over_the_rows_that_lie_in_lanes(rows: int) -> None:
    """Vectors go from row to row: what is added up over the rows is added up over the lanes."""
    given = RNG.normal(size=(rows, 45)), RNG.normal(size=(rows, 1)), RNG.normal(size=(45, rows))

    def f(x: Any, w: Any, k: Any) -> Any:
        y = mg.matrix_transpose(x)
        c = y - mg.mean(y, 0, keepdims=True)
        u = c * mg.rsqrt(mg.mean(c * c, 0, keepdims=True) + 0.1)
        return u + k, mg.matmul(u, w)

    for dtype in (np.float32, np.float64):
        hold(f, [x.astype(dtype) for x in given])


@pytest.mark.parametrize("target", ["host", "x86-64", "x86-64-v3"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quotients_in_the_last_vector(dtype: Any, target: str) -> None:
    """What lies beyond the end is 0 / 0, and must not be seen."""
    try:
        chosen = named_target(target)
    except BackendUnavailable as error:
        pytest.skip(str(error))

    def f(x: Any, y: Any) -> Any:
        return mg.sum(x / y), mg.sum(x / y, 1), mg.max(x / y, 1), x / mg.sum(x, 1, keepdims=True)

    with use_target(chosen):
        for n in (1, 2, 3, 5, 9, 17, 25, 33):
            hold(f, [RNG.uniform(0.5, 2.0, size=(4, n)).astype(dtype) for _ in range(2)])


def test_product_whose_axes_are_mixed_by_what_follows() -> None:
    """What is no index map of the product's loops is not done as the product is stored."""
    a, b, c = whole(3, 12), whole(12, 5), whole(5, 3)
    hold(lambda a, b, c: mg.reshape(a @ b, (5, 3)) + c, [a, b, c])
    hold(lambda a, b, c: mg.reshape(mg.reshape(a @ b, (15,)) * 2.0, (5, 3)) * c, [a, b, c])
    hold(lambda a, b, c: (mg.reshape(a @ b, (15,)), mg.reshape(a @ b + 1.0, (5, 3)) * c), [a, b, c])


@pytest.mark.parametrize("order", [1, 2])
def test_text_of_a_scan_by_doubling_is_bounded(order: int) -> None:
    """Each step reads the one before at two places: written out, that is 2^steps times."""
    loss: Any = lambda x: mg.sum(mg.prod(x, 1) ** 2)
    for _ in range(order):
        loss = (lambda f: lambda x: mg.sum(mg.grad(f)(x) ** 2))(loss)
    executable = hold(loss, [RNG.uniform(0.9, 1.1, size=(5, 200)).astype(np.float32)])
    assert len(executable.program.text) < 1_500_000
