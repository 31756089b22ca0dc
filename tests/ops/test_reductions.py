"""Reductions, scans and sorting against NumPy, their gradients at ties and zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.dtypes import FLOATS
from minigrad.errors import ShapeError

from .checkers import central, close, same_bits, tolerance_of

REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
}
CASES = [
    ((), None), ((), ()), ((3,), None), ((3,), 0), ((3,), -1), ((2, 3), (0, 1)), ((2, 3), (-1,)),
    ((2, 1, 4), (0, -1)), ((2, 1, 4), 1), ((2, 1, 4), ()), ((0, 3), 1), ((3, 0), 0),
]  # fmt: skip
EMPTY = [((0,), None), ((0, 3), 0), ((2, 0), (0, 1))]


def logsumexp(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    return np.log(np.sum(np.exp(x.astype(np.float64)), axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("shape", "axis"), CASES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_is_numpys(name: str, shape: Any, axis: Any, keepdims: bool) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    expected = np.asarray(REDUCTIONS[name](x, axis=axis, keepdims=keepdims))
    found = getattr(mg, name)(x, axis, keepdims=keepdims)
    method = getattr(mg.tensor(x), name)(axis, keepdims=keepdims)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    close(found.numpy(), expected, 1e-12)
    same_bits(method.numpy(), found.numpy())


@pytest.mark.parametrize(("shape", "axis"), EMPTY, ids=str)
def test_reduction_of_nothing(shape: Any, axis: Any) -> None:
    x = np.ones(shape)
    for name in ("sum", "prod", "any", "all"):
        same_bits(getattr(mg, name)(x, axis).numpy(), np.asarray(REDUCTIONS[name](x, axis=axis)))
    for name in ("max", "min"):
        with pytest.raises(ShapeError, match="no elements along axes"):
            getattr(mg, name)(x, axis)
    assert np.isnan(mg.mean(x, axis).numpy()).all()
    assert np.isnan(mg.var(x, axis).numpy()).all()
    gradient = mg.grad(lambda t: mg.sum(mg.prod(t, axis)) + mg.sum(t))(x)
    assert gradient.shape == shape


@pytest.mark.parametrize("name", ["sum", "max", "mean", "any", "argmax"])
def test_reduction_over_an_axis_that_is_not_there(name: str) -> None:
    with pytest.raises(ShapeError, match="axis 2 does not exist in an array of 2 axes"):
        getattr(mg, name)(np.ones((2, 3)), 2)


def test_reduction_over_an_axis_named_twice() -> None:
    with pytest.raises(ShapeError, match="named twice"):
        mg.sum(np.ones((2, 3)), (0, -2))


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [(bool, np.int64), (np.int8, np.int64), (np.uint16, np.uint64), (np.float16, np.float16)],
)
def test_sums_and_products_widen_small_integers(dtype: Any, wide: Any) -> None:
    x = np.ones((2, 3), dtype)
    for axis in (None, 1, ()):
        assert mg.sum(x, axis).dtype == mg.prod(x, axis).dtype == wide
    assert mg.sum(x, dtype=np.float64).dtype == mg.prod(x, dtype=np.float64).dtype == np.float64
    assert mg.cumulative_sum(x, axis=0).dtype == wide
    assert mg.max(x).dtype == dtype
    if np.dtype(dtype).kind != "f":
        assert mg.mean(x).dtype == mg.float32


@pytest.mark.parametrize("correction", [0, 1, 0.5])
def test_variance_takes_a_correction(correction: float) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4))
    expected = np.var(x, axis=0, ddof=correction)
    close(mg.var(x, 0, correction=correction).numpy(), expected, 1e-12)
    close(mg.std(x, 0, correction=correction).numpy(), np.sqrt(expected), 1e-12)


def test_variance_of_a_single_element_with_correction_is_nan_or_infinite() -> None:
    assert np.isnan(mg.var(np.ones(1), correction=1).item())
    assert mg.var(np.array([1.0, 2.0]), correction=3).item() == np.inf  # as NumPy: not negative


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_long_sum_keeps_its_precision(dtype: np.dtype) -> None:
    x = np.full(2048, 0.1, dtype)
    assert abs(mg.sum(x).item() - 2048 * float(x[0])) <= 205 * tolerance_of(dtype)


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremum_shares_the_cotangent_among_ties(name: str) -> None:
    sign = 1.0 if name == "max" else -1.0
    x = sign * np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    function = getattr(mg, name)
    rows = mg.grad(lambda t: (function(t, 1) * np.array([6.0, 9.0])).sum())(x)
    assert rows.tolist() == [[0, 3, 3], [3, 3, 3]]
    assert mg.grad(lambda t: function(t))(x).tolist() == [[0, 0.5, 0.5], [0, 0, 0]]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_elementwise_extremum_gives_each_operand_half_at_a_tie(name: str) -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    da, db = mg.grad(lambda a, b: getattr(mg, name)(a, b).sum(), (0, 1))(a, b)
    first = [0, 0.5, 1] if name == "maximum" else [1, 0.5, 0]
    assert da.tolist() == first
    assert db.tolist() == first[::-1]
    both = mg.grad(lambda a: getattr(mg, name)(a, a).sum())(a)
    assert both.tolist() == [1, 1, 1]


def test_extremum_of_nan_is_nan_and_wins() -> None:
    x = np.array([1.0, np.nan, 3.0])
    assert np.isnan(mg.max(x).item())
    assert np.isnan(mg.min(x).item())
    assert mg.argmax(x).item() == np.argmax(x) == 1
    for name in ("maximum", "minimum"):
        found = getattr(mg, name)(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
        assert np.isnan(found.numpy()).all()


PRODUCTS = [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [5.0], [-1.0, 2.0]]


@pytest.mark.parametrize("values", PRODUCTS, ids=str)
def test_product_has_first_and_second_derivatives_at_zeros(values: list[float]) -> None:
    n = len(values)
    first = [np.prod([v for k, v in enumerate(values) if k != i]) for i in range(n)]
    second = [
        [0.0 if i == j else np.prod([v for k, v in enumerate(values) if k not in (i, j)])
         for j in range(n)]
        for i in range(n)
    ]  # fmt: skip
    x = np.array(values)
    close(mg.grad(mg.prod)(x).numpy(), np.array(first), 1e-12)
    close(mg.hessian(mg.prod)(x).numpy(), np.array(second), 1e-12)


def test_product_over_inner_axes_has_the_numerical_gradient() -> None:
    rng = np.random.default_rng(2)
    x, v, c = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3, 2)), rng.normal(size=3)
    x[0, 1, 0] = 0.0
    f = lambda t: (mg.prod(t, (0, 2)) * c).sum()
    numeric = central(lambda t: f(mg.tensor(x + t * v)).item())
    assert abs(numeric - float((mg.grad(f)(x).numpy() * v).sum())) < 1e-9


# Positions, scans, sorting ----------------------------------------------------------


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_position_is_numpys_first(name: str, axis: Any, keepdims: bool) -> None:
    x = np.array([[3, 1, 3], [1, 1, 3]])
    expected = np.asarray(getattr(np, name)(x, axis=axis, keepdims=keepdims))
    found = getattr(mg, name)(x, axis, keepdims=keepdims)
    same_bits(found.numpy(), expected)
    same_bits(getattr(mg.tensor(x), name)(axis, keepdims=keepdims).numpy(), expected)


def test_position_in_nothing_is_an_error() -> None:
    with pytest.raises(ShapeError, match="no elements along axis"):
        mg.argmax(np.ones((0, 2)), 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_sum_is_numpys(axis: int) -> None:
    x = np.random.default_rng(3).normal(size=(3, 4))
    close(mg.cumulative_sum(x, axis=axis).numpy(), np.cumsum(x, axis), 1e-12)
    found = mg.cumulative_sum(x, axis=axis, include_initial=True)
    close(found.numpy(), np.cumulative_sum(x, axis=axis, include_initial=True), 1e-12)
    weights = np.random.default_rng(4).normal(size=(3, 4))
    gradient = mg.grad(lambda t: (mg.cumulative_sum(t, axis=axis) * weights).sum())(x)
    close(gradient.numpy(), np.flip(np.cumsum(np.flip(weights, axis), axis), axis), 1e-12)


def test_cumulative_sum_of_several_axes_needs_one_named() -> None:
    assert mg.cumulative_sum(np.arange(3.0)).tolist() == [0, 1, 3]
    with pytest.raises(ShapeError, match="the axis must be named"):
        mg.cumulative_sum(np.ones((2, 2)))


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.integers(0, 3)),
    st.booleans(),
    st.data(),
)
def test_sorting_is_stable_both_ways(x: np.ndarray, descending: bool, data: Any) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    order = mg.argsort(x, axis=axis, descending=descending).numpy()
    expected = np.argsort(-x if descending else x, axis=axis, stable=True)
    same_bits(order, expected)
    found = mg.sort(x, axis=axis, descending=descending)
    same_bits(found.numpy(), np.take_along_axis(x, expected, axis))


def test_sort_puts_nan_last_and_carries_the_gradient() -> None:
    x = np.array([3.0, np.nan, 1.0, 2.0])
    same_bits(mg.sort(x).numpy(), np.sort(x))
    weights = np.array([1.0, 10.0, 100.0, 1000.0])
    assert mg.grad(lambda t: (mg.sort(t) * weights).sum())(x).tolist() == [100, 1000, 1, 10]
    assert mg.sort(np.zeros((2, 0))).shape == (2, 0)
