"""Elementwise functions against NumPy: values, shapes, broadcasting, dtypes, Python numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.dtypes import ALL, FLOATS, INTEGERS
from minigrad.errors import DtypeError, ShapeError

from .checkers import close, same_bits, tolerance_of

SHAPES = [(), (0,), (3,), (2, 3), (2, 1, 4)]

#: name -> (NumPy's function, interval)
UNARY: dict[str, tuple[Callable[..., Any], tuple[float, float]]] = {
    "abs": (np.abs, (-3, 3)),
    "acos": (np.arccos, (-1, 1)),
    "acosh": (np.arccosh, (1, 4)),
    "asin": (np.arcsin, (-1, 1)),
    "asinh": (np.arcsinh, (-4, 4)),
    "atan": (np.arctan, (-4, 4)),
    "atanh": (np.arctanh, (-0.9, 0.9)),
    "ceil": (np.ceil, (-3, 3)),
    "cos": (np.cos, (-9, 9)),
    "cosh": (np.cosh, (-3, 3)),
    "exp": (np.exp, (-5, 5)),
    "expm1": (np.expm1, (-3, 3)),
    "floor": (np.floor, (-3, 3)),
    "isfinite": (np.isfinite, (-1, 1)),
    "isinf": (np.isinf, (-1, 1)),
    "isnan": (np.isnan, (-1, 1)),
    "log": (np.log, (0.1, 9)),
    "log10": (np.log10, (0.1, 9)),
    "log1p": (np.log1p, (-0.5, 9)),
    "log2": (np.log2, (0.1, 9)),
    "logical_not": (np.logical_not, (-1, 1)),
    "negative": (np.negative, (-3, 3)),
    "reciprocal": (np.reciprocal, (0.5, 3)),
    "round": (np.round, (-3, 3)),
    "rsqrt": (lambda x: (1 / np.sqrt(x)).astype(x.dtype), (0.1, 9)),
    "sign": (np.sign, (-1, 1)),
    "signbit": (np.signbit, (-1, 1)),
    "sin": (np.sin, (-9, 9)),
    "sinh": (np.sinh, (-3, 3)),
    "sqrt": (np.sqrt, (0, 9)),
    "square": (np.square, (-3, 3)),
    "stop_gradient": (lambda x: x, (-1, 1)),
    "tan": (np.tan, (-1.4, 1.4)),
    "tanh": (np.tanh, (-4, 4)),
    "trunc": (np.trunc, (-3, 3)),
}
BINARY: dict[str, tuple[Callable[..., Any], tuple[float, float]]] = {
    "add": (np.add, (-3, 3)),
    "atan2": (np.arctan2, (-3, 3)),
    "copysign": (np.copysign, (-3, 3)),
    "divide": (np.divide, (0.5, 3)),
    "equal": (np.equal, (-1, 1)),
    "floor_divide": (np.floor_divide, (0.5, 9)),
    "greater": (np.greater, (-1, 1)),
    "greater_equal": (np.greater_equal, (-1, 1)),
    "hypot": (np.hypot, (-3, 3)),
    "less": (np.less, (-1, 1)),
    "less_equal": (np.less_equal, (-1, 1)),
    "logaddexp": (np.logaddexp, (-3, 3)),
    "logical_and": (np.logical_and, (-1, 1)),
    "logical_or": (np.logical_or, (-1, 1)),
    "logical_xor": (np.logical_xor, (-1, 1)),
    "maximum": (np.maximum, (-3, 3)),
    "minimum": (np.minimum, (-3, 3)),
    "multiply": (np.multiply, (-3, 3)),
    "not_equal": (np.not_equal, (-1, 1)),
    "pow": (np.power, (0.2, 3)),
    "remainder": (np.remainder, (0.5, 9)),
    "subtract": (np.subtract, (-3, 3)),
}
BITWISE = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_left_shift": np.left_shift,
    "bitwise_right_shift": np.right_shift,
}


def uniform(shape: tuple[int, ...], interval: tuple[float, float], dtype: Any, seed: int) -> Any:
    return np.random.default_rng(seed).uniform(*interval, shape).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_unary_function_is_numpys(name: str, dtype: np.dtype) -> None:
    reference, interval = UNARY[name]
    for shape in SHAPES:
        x = uniform(shape, interval, dtype, 0)
        found, expected = getattr(mg, name)(x), np.asarray(reference(x))
        assert found.dtype == expected.dtype
        # a chain of a few roundings at most, except for the logarithms by division
        close(found.numpy(), expected, 4 * tolerance_of(dtype))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_binary_function_is_numpys_and_broadcasts(name: str, dtype: np.dtype) -> None:
    reference, interval = BINARY[name]
    pairs = [((), ()), ((3,), ()), ((), (2, 3)), ((2, 1, 4), (3, 1)), ((0,), (1,)), ((2, 3), (3,))]
    for left, right in pairs:
        x, y = uniform(left, interval, dtype, 1), uniform(right, interval, dtype, 2)
        found, expected = getattr(mg, name)(x, y), np.asarray(reference(x, y))
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        close(found.numpy(), expected, 4 * tolerance_of(dtype))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize(
    "name",
    ["add", "subtract", "multiply", "floor_divide", "remainder", "maximum", "minimum", "pow"],
)
def test_integer_arithmetic_wraps_as_numpys(name: str, dtype: np.dtype) -> None:
    info = np.iinfo(dtype)
    x = np.array([info.min, info.min, info.max, info.max, 7, 0, 100], dtype)
    y = np.array([0, 1, 1, 2, 3, 0, 100], dtype)
    with np.errstate(all="ignore"):
        expected = BINARY[name][0](x, y)
    same_bits(getattr(mg, name)(x, y).numpy(), expected)


@pytest.mark.parametrize("name", BITWISE)
@pytest.mark.parametrize("dtype", [np.dtype(bool), *INTEGERS], ids=str)
def test_bitwise_function_is_numpys(name: str, dtype: np.dtype) -> None:
    x, y = np.array([0, 1, 1, 7, 100]).astype(dtype), np.array([1, 0, 1, 3, 2]).astype(dtype)
    if dtype.kind == "b" and "shift" in name:
        with pytest.raises(DtypeError, match="integers"):
            getattr(mg, name)(x, y)
        return
    same_bits(getattr(mg, name)(x, y).numpy(), BITWISE[name](x, y))
    same_bits(mg.bitwise_invert(x).numpy(), np.invert(x))


@pytest.mark.parametrize("name", ["exp", "sin", "sqrt", "log", "tanh", "erf", "log2", "asinh"])
@pytest.mark.parametrize("dtype", [np.dtype(bool), np.dtype(np.int64)], ids=str)
def test_transcendental_function_refuses_integers(name: str, dtype: np.dtype) -> None:
    with pytest.raises(DtypeError, match=r"(?s)not accepted.*takes floats.*astype"):
        getattr(mg, name)(np.ones(3, dtype))


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round"])
def test_rounding_leaves_integers_alone(name: str) -> None:
    x = np.array([-3, 0, 7])
    same_bits(getattr(mg, name)(x).numpy(), x)


def test_round_takes_halves_to_even_and_keeps_the_sign_of_zero() -> None:
    x = np.array([-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, np.inf, np.nan])
    same_bits(mg.round(x).numpy(), np.rint(x))


def test_erf_has_known_values() -> None:
    # Abramowitz and Stegun, table 7.1
    x = [0.0, 0.5, 1.0, 2.0, -1.0, np.inf]
    known = [0.0, 0.5204998778, 0.8427007929, 0.9953222650, -0.8427007929, 1.0]
    close(mg.erf(np.array(x)).numpy(), np.array(known), 1e-10)


def test_clip_limits_keeps_nan_and_takes_tensors_as_limits() -> None:
    x = np.array([-2.0, -1.0, 0.5, 3.0, np.nan])
    same_bits(mg.clip(x, -1, 1).numpy(), np.clip(x, -1, 1))
    same_bits(mg.clip(x, max=1.0).numpy(), np.clip(x, None, 1.0))
    same_bits(mg.clip(x, min=0.0).numpy(), np.clip(x, 0.0, None))
    same_bits(mg.clip(x).numpy(), x)
    low, high = np.full(5, -0.5), np.arange(5.0)
    same_bits(mg.clip(x, low, high).numpy(), np.clip(x, low, high))
    assert mg.clip(np.arange(5), 1, 3).dtype == np.int64


def test_clip_passes_the_gradient_inside_and_at_the_limits() -> None:
    found = mg.grad(lambda x: mg.clip(x, -1.0, 1.0).sum())(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    assert found.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("values", [[1.0, 0.0, -0.0, -2.0, np.inf, -np.inf]])
def test_signs_of_zero_are_seen(values: list[float]) -> None:
    x = np.array(values)
    same_bits(mg.signbit(x).numpy(), np.signbit(x))
    same_bits(mg.copysign(np.full(6, -3.0), x).numpy(), np.copysign(-3.0, x))
    assert not mg.signbit(np.array([-np.nan])).item()  # documented: NaN has no sign


# Dtypes ---------------------------------------------------------------------------


def promoted(a: np.dtype, b: np.dtype) -> np.dtype:
    """Return the documented promotion: a float absorbs, and keeps its width."""
    if (a.kind == "f") != (b.kind == "f"):
        return a if a.kind == "f" else b
    return np.result_type(a, b)


@pytest.mark.parametrize("a", ALL, ids=str)
@pytest.mark.parametrize("b", ALL, ids=str)
def test_promotion_is_the_documented_one(a: np.dtype, b: np.dtype) -> None:
    x, y, expected = np.ones(2, a), np.ones(2, b), promoted(a, b)
    assert mg.where(np.array([True, False]), x, y).dtype == expected
    assert mg.concat([x, y]).dtype == expected
    assert mg.maximum(x, y).dtype == expected
    assert mg.equal(x, y).dtype == np.bool_
    if expected != np.bool_:
        assert mg.add(x, y).dtype == expected
        assert mg.multiply(x, y).dtype == expected
        assert (mg.tensor(x) @ mg.tensor(y)).dtype == expected
    floating = expected if "f" in a.kind + b.kind else np.dtype(np.float32)
    assert mg.divide(x, y).dtype == floating


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("number", [2, 2.0, True])
def test_python_number_adopts_the_dtype(dtype: np.dtype, number: float) -> None:
    x = mg.tensor(np.ones(2, dtype))
    if dtype.kind == "f" or type(number) is bool:
        expected = dtype
    elif type(number) is float:
        expected = np.dtype(np.float32)
    else:
        expected = dtype if dtype.kind != "b" else np.dtype(np.int64)
    for found in (mg.maximum(x, number), mg.maximum(number, x)):
        assert found.dtype == expected
    if expected != np.bool_:
        for symbol in (operator.add, operator.mul, operator.sub, operator.mod):
            assert symbol(x, number).dtype == symbol(number, x).dtype == expected


def test_python_numbers_alone_become_the_default_dtype() -> None:
    assert mg.add(1, 2).dtype == mg.float32
    assert mg.divide(1, 2).item() == 0.5
    mg.set_default_dtype(mg.float64)
    try:
        assert mg.add(1, 2).dtype == mg.tensor([1]).dtype == mg.zeros(2).dtype == mg.float64
        assert (mg.arange(3) / 2).dtype == mg.float64
    finally:
        mg.set_default_dtype(mg.float32)
    with pytest.raises(DtypeError, match="not a floating dtype"):
        mg.set_default_dtype(np.int64)


def test_python_number_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DtypeError, match="300 does not fit uint8"):
        mg.tensor(np.ones(2, np.uint8)) + 300
    with pytest.raises(DtypeError, match="-1 does not fit uint32"):
        mg.tensor(np.ones(2, np.uint32)) * -1
    assert mg.tensor(np.ones(2, np.float16)).__add__(1e6).tolist() == [np.inf, np.inf]


def test_integer_beside_a_wide_float_loses_nothing() -> None:
    whole = np.array([16_777_217])  # 2**24 + 1 is not a float32
    assert mg.divide(whole, np.array([1.0])).item() == 16_777_217
    assert mg.hypot(whole, np.array([0.0])).item() == 16_777_217
    assert mg.logaddexp(whole, np.array([0.0])).item() == 16_777_217


@pytest.mark.parametrize(
    ("exponent", "dtype"), [(2, np.int64), (3, np.int64), (0, np.int64), (2.0, np.float32)]
)
def test_power_of_integers_by_a_number(exponent: float, dtype: Any) -> None:
    found = mg.tensor(np.array([1, 2, 3])) ** exponent
    assert found.dtype == dtype
    assert found.tolist() == [x**exponent for x in (1, 2, 3)]


@pytest.mark.parametrize("exponent", [-1, -2, 0.5, -0.5])
def test_power_of_integers_by_a_fraction_is_floating(exponent: float) -> None:
    found = mg.tensor(np.array([1, 2, 3])) ** exponent
    assert found.dtype == mg.float32
    close(found.numpy(), np.array([1.0, 2.0, 3.0], np.float32) ** np.float32(exponent), 1e-6)


def test_power_of_integers_by_a_negative_array_is_an_error() -> None:
    with pytest.raises(mg.errors.DataError, match="negative integer power"):
        mg.pow(np.array([2]), np.array([-1]))


# Shapes ---------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3), st.data())
def test_broadcasting_is_numpys_forward_and_back(
    shapes: hnp.BroadcastableShapes, data: st.DataObject
) -> None:
    rng = np.random.default_rng(0)
    x, y, z = (rng.normal(size=s) for s in shapes.input_shapes)
    found = mg.where(mg.tensor(x) > 0, y * mg.tensor(x), z)
    close(found.numpy(), np.where(x > 0, y * x, z), 0.0)
    assert found.shape == shapes.result_shape
    gradients = mg.grad(lambda x, y, z: (x * y + z).sum(), (0, 1, 2))(x, y, z)
    whole = np.broadcast_shapes(x.shape, y.shape, z.shape)
    hand = [np.broadcast_to(y, whole), np.broadcast_to(x, whole), np.ones(whole)]
    for gradient, operand, expected in zip(gradients, (x, y, z), hand, strict=True):
        assert gradient.shape == operand.shape
        close(gradient.numpy(), _reduced(expected, operand.shape), 1e-12)


def _reduced(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(ShapeError, match=r"add: .*axis -1 has sizes 3 and 4") as caught:
        mg.ones((2, 3)) + mg.ones((2, 4))
    assert len(caught.value.operands) == 2
    assert "test_elementwise.py" in str(caught.value)


def test_numpy_array_on_the_left_hands_over() -> None:
    x = np.arange(3.0)
    for symbol in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        found = symbol(x, mg.tensor(x + 1))
        assert isinstance(found, mg.Tensor)
        close(found.numpy(), symbol(x, x + 1), 1e-12)
    assert isinstance(x @ mg.tensor(x), mg.Tensor)
    assert (x < mg.tensor(x + 1)).all().item() is True


@pytest.mark.parametrize(
    ("symbol", "values"),
    [
        (operator.add, (5, 3)), (operator.sub, (5, 3)), (operator.mul, (5, 3)),
        (operator.floordiv, (5, 3)), (operator.mod, (-5, 3)), (operator.pow, (5, 3)),
        (operator.and_, (5, 3)), (operator.or_, (5, 3)), (operator.xor, (5, 3)),
        (operator.lshift, (5, 3)), (operator.rshift, (5, 1)), (operator.eq, (5, 3)),
        (operator.ne, (5, 3)), (operator.lt, (5, 3)), (operator.le, (5, 3)),
        (operator.gt, (5, 3)), (operator.ge, (5, 3)), (operator.truediv, (5, 4)),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)  # fmt: skip
def test_operator_means_the_same_from_both_sides(symbol: Any, values: tuple[int, int]) -> None:
    a, b = values
    left, right = mg.tensor(np.array([a])), mg.tensor(np.array([b]))
    expected = [symbol(a, b)]
    assert symbol(left, right).tolist() == symbol(left, b).tolist() == expected
    assert symbol(a, right).tolist() == expected


def test_unary_operators() -> None:
    x = mg.tensor(np.array([-2, 0, 3]))
    assert (-x).tolist() == [2, 0, -3]
    assert (+x) is x
    assert abs(x).tolist() == [2, 0, 3]
    assert (~x).tolist() == [1, -1, -4]
    assert (~(x > 0)).tolist() == [True, True, False]
