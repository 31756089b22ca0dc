"""Composed functions where rounding, overflow or ties would spoil them, to second derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

from .checkers import central, close

INF, NAN = np.inf, np.nan


def second(f: Any, x: float) -> float:
    """Return the second derivative of an elementwise function at a point."""
    return float(mg.grad(mg.grad(f))(np.float64(x)).numpy())


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_is_the_ratio_and_shifts_away_large_numbers(axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    e = np.exp(x)
    expected = e / e.sum(axis, keepdims=True)
    close(mg.softmax(x, axis).numpy(), expected, 1e-12)
    close(mg.softmax(x + 1e4, axis).numpy(), expected, 1e-9)
    close(mg.log_softmax(x, axis).numpy(), np.log(expected), 1e-12)
    close(mg.logsumexp(x, axis).numpy(), np.log(e.sum(axis)), 1e-12)
    close(mg.logsumexp(x, axis, keepdims=True).numpy(), np.log(e.sum(axis, keepdims=True)), 1e-12)


def test_logsumexp_over_several_axes_and_none() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4))
    close(mg.logsumexp(x).numpy(), np.log(np.exp(x).sum()), 1e-12)
    close(mg.logsumexp(x, (0, 2)).numpy(), np.log(np.exp(x).sum((0, 2))), 1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-INF, -INF], -INF), ([INF, 0.0], INF), ([-INF, 0.0], 0.0), ([NAN, 0.0], NAN),
     ([1e4, 1e4], 1e4 + np.log(2)), ([-1e4, -1e4], -1e4 + np.log(2)), ([800.0], 800.0)],
)  # fmt: skip
def test_logsumexp_in_extremes(values: list[float], expected: float) -> None:
    close(mg.logsumexp(np.array(values)).numpy(), np.asarray(expected), 1e-15)


def test_softmax_gradients_survive_extremes() -> None:
    x = np.array([1e4, -1e4, 0.0, -INF])
    c = np.array([1.0, 2.0, 3.0, 4.0])
    p = np.array([1.0, 0.0, 0.0, 0.0])
    close(mg.softmax(x).numpy(), p, 0)
    close(mg.grad(lambda x: (mg.softmax(x) * c).sum())(x).numpy(), p * (c - (p * c).sum()), 0)
    close(mg.grad(mg.logsumexp)(x).numpy(), p, 0)
    close(mg.grad(lambda x: mg.log_softmax(x)[1])(x).numpy(), np.array([-1.0, 1, 0, 0]), 0)


def test_softmax_second_derivative_is_the_formula() -> None:
    """d2 logsumexp = diag(p) - p p', whatever is subtracted inside."""
    x = np.array([0.3, -1.0, 2.0])
    p = np.exp(x) / np.exp(x).sum()
    for shift in (0.0, 1e3):
        close(mg.hessian(mg.logsumexp)(x + shift).numpy(), np.diag(p) - np.outer(p, p), 1e-12)


def test_softmax_of_nan_is_nan_and_keeps_to_its_row() -> None:
    found = mg.softmax(np.array([[NAN, 0.0], [0.0, 0.0]]))
    assert np.isnan(found.numpy()[0]).all()
    assert found.numpy()[1].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("x", [-INF, -1e3, -40.0, -1.0, -0.0, 0.0, 1.0, 40.0, 1e3, INF, NAN])
def test_sigmoid_is_exact_in_both_tails_with_its_derivatives(x: float) -> None:
    with np.errstate(all="ignore"):
        wide = np.longdouble(x)
        s = 1 / (1 + np.exp(-wide))
        t = 1 / (1 + np.exp(wide))  # 1 - s without cancellation
    close(mg.sigmoid(np.float64(x)).numpy(), np.float64(s), 1e-15)
    if np.isfinite(x):
        d = mg.grad(mg.sigmoid)(np.float64(x)).item()
        close(d, float(s * t), 1e-13)
        assert abs(d - float(s * t)) <= 1e-13 * float(s * t)
        close(second(mg.sigmoid, x), float(s * t * (t - s)), 1e-13)
    elif not np.isnan(x):
        assert mg.grad(mg.sigmoid)(np.float64(x)).item() == 0.0


@pytest.mark.parametrize(
    ("a", "b"),
    [(0.3, 0.7), (2.0, 2.0), (1e4, -1e4), (-1e4, 1e4), (-INF, 0.5), (0.5, -INF), (800.0, 799.0)],
)
def test_logaddexp_and_its_derivatives(a: float, b: float) -> None:
    close(mg.logaddexp(np.float64(a), np.float64(b)).numpy(), np.logaddexp(a, b), 1e-15)
    da, db = mg.grad(mg.logaddexp, (0, 1))(np.float64(a), np.float64(b))
    with np.errstate(all="ignore"):
        p = 1 / (1 + np.exp(b - a))
        q = 1 / (1 + np.exp(a - b))
    close(da.numpy(), p, 1e-14)
    close(db.numpy(), q, 1e-14)
    h = mg.hessian(lambda v: mg.logaddexp(v[0], v[1]))(np.array([a, b]))
    close(h.numpy(), p * q * np.array([[1.0, -1.0], [-1.0, 1.0]]), 1e-13)


@pytest.mark.parametrize(
    ("a", "b"), [(INF, INF), (-INF, -INF), (INF, -INF), (NAN, 0.0), (0.0, NAN)]
)
def test_logaddexp_at_infinities_is_numpys(a: float, b: float) -> None:
    with np.errstate(all="ignore"):
        expected = np.logaddexp(a, b)
    close(mg.logaddexp(np.float64(a), np.float64(b)).numpy(), expected, 0)


@pytest.mark.parametrize(
    ("a", "b"),
    [(3.0, 4.0), (-3.0, 4.0), (0.0, 0.0), (1e300, 1e300), (1e-300, 1e-300), (INF, NAN), (NAN, -INF),
     (INF, INF), (-INF, 1.0), (NAN, 1.0), (5.0, 0.0)],
)  # fmt: skip
def test_hypot_is_numpys(a: float, b: float) -> None:
    with np.errstate(all="ignore"):
        expected = np.hypot(a, b)
    close(mg.hypot(np.float64(a), np.float64(b)).numpy(), expected, 1e-15)


@pytest.mark.parametrize(("a", "b"), [(3.0, -4.0), (2.0, 0.0), (0.0, -2.0), (1.0, 1.0)])
def test_hypot_derivatives_are_the_formulas(a: float, b: float) -> None:
    """h = hypot: first (a, b) / h, second (I h^2 - v v') / h^3, also on the axes."""
    v, h = np.array([a, b]), np.hypot(a, b)
    f = lambda t: mg.hypot(t[0], t[1])
    close(mg.grad(f)(v).numpy(), v / h, 1e-14)
    expected = (np.eye(2) * h * h - np.outer(v, v)) / h**3
    if a != b:  # at |a| = |b| the formula changes sides: only first derivatives meet
        close(mg.hessian(f)(v).numpy(), expected, 1e-13)


def test_hypot_gradient_at_infinity_is_no_nan() -> None:
    found = mg.grad(mg.hypot, (0, 1))(np.float64(INF), np.float64(3.0))
    assert [f.item() for f in found] == [0.0, 0.0]


POWERS = [
    # x, p, x**p, d/dx, d2/dx2
    (0.0, 0, 1.0, 0.0, 0.0),
    (0.0, 1, 0.0, 1.0, 0.0),
    (0.0, 2, 0.0, 0.0, 2.0),
    (0.0, 3, 0.0, 0.0, 0.0),
    (-2.0, 0, 1.0, 0.0, 0.0),
    (-2.0, 1, -2.0, 1.0, 0.0),
    (-2.0, 2, 4.0, -4.0, 2.0),
    (-2.0, 3, -8.0, 12.0, -12.0),
    (-2.0, -1, -0.5, -0.25, -0.25),
    (-2.0, 4, 16.0, -32.0, 48.0),
    (-2.0, -2, 0.25, 0.25, 0.375),
    (4.0, 0.5, 2.0, 0.25, -1 / 32),
    (4.0, -0.5, 0.5, -1 / 16, 3 / 128),
    (4.0, 1.5, 8.0, 3.0, 0.375),
    (0.0, 0.5, 0.0, INF, NAN),
]


@pytest.mark.parametrize(("x", "p", "value", "first", "curvature"), POWERS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_power_and_its_derivatives_at_special_points(
    x: float, p: float, value: float, first: float, curvature: float, as_tensor: bool
) -> None:
    exponent = mg.tensor(np.float64(p)) if as_tensor else p
    f = lambda t: t**exponent
    assert f(mg.tensor(np.float64(x))).item() == pytest.approx(value)
    assert mg.grad(f)(np.float64(x)).item() == pytest.approx(first)
    if not np.isnan(curvature):
        assert second(f, x) == pytest.approx(curvature)


def test_power_gradient_by_the_exponent() -> None:
    f = lambda b, a: mg.pow(np.float64(a), b)
    for a, b, expected in [
        (2.0, 3.0, 8 * np.log(2)),
        (0.0, 2.0, 0.0),
        (-2.0, 3.0, 0.0),
        (1.0, 9, 0),
    ]:
        assert mg.grad(f)(np.float64(b), a).item() == pytest.approx(expected)


def test_where_does_not_leak_nan_from_the_other_branch() -> None:
    x = np.array([-1.0, 0.0, 4.0])
    values = mg.where(x > 0, mg.sqrt(x), 0.0)
    assert values.tolist() == [0, 0, 2]
    guarded = lambda t: mg.where(t > 0, mg.sqrt(mg.where(t > 0, t, 1.0)), 0.0).sum()
    assert mg.grad(guarded)(x).tolist() == [0, 0, 0.25]
    assert mg.grad(mg.grad(lambda t: guarded(t) * 1.0))(np.float64(-1.0)).item() == 0.0
    chosen = mg.grad(lambda a, b: mg.where(np.array([True, False]), a, b).sum(), (0, 1))
    da, db = chosen(np.array([1.0, NAN]), np.array([NAN, 2.0]))
    assert (da.tolist(), db.tolist()) == ([1, 0], [0, 1])


def test_where_takes_conditions_of_any_dtype_and_numbers() -> None:
    x = np.array([0, 2, 0])
    assert mg.where(x, 1.0, -1.0).tolist() == [-1, 1, -1]
    assert mg.where(np.array([True, False]), 1, 2).dtype == mg.float32
    assert mg.where(np.array([True, False]), True, False).dtype == np.bool_
    assert mg.where(True, np.ones(2), np.zeros((3, 1))).shape == (3, 2)
    assert mg.where(np.array([True]), x, 0.5).dtype == mg.float32


def test_absolute_value_has_derivative_zero_at_zero() -> None:
    assert mg.grad(lambda x: mg.abs(x).sum())(np.array([-2.0, -0.0, 0.0, 3.0])).tolist() == [
        -1,
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round", "sign"])
def test_step_functions_have_derivative_zero(name: str) -> None:
    assert mg.grad(lambda x: getattr(mg, name)(x).sum())(np.array([0.3, -1.7])).tolist() == [0, 0]


def test_remainder_and_floor_divide_derivatives() -> None:
    a, b = np.array([5.3, -5.3]), np.array([1.9, 1.9])
    da, db = mg.grad(lambda a, b: mg.remainder(a, b).sum(), (0, 1))(a, b)
    assert da.tolist() == [1, 1]
    assert db.tolist() == (-np.floor(a / b)).tolist()
    numeric = central(lambda t: mg.sum(mg.remainder(a, b + t)).item(), 1e-6)
    assert db.numpy().sum() == pytest.approx(numeric)


def test_standard_deviation_has_the_numerical_gradient() -> None:
    rng = np.random.default_rng(2)
    x, v = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    f = lambda t: mg.std(t, 1, correction=1).sum()
    numeric = central(lambda t: f(mg.tensor(x + t * v)).item())
    assert float((mg.grad(f)(x).numpy() * v).sum()) == pytest.approx(numeric, rel=1e-9)
