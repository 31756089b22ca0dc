"""The writer's mathematical functions: errors over bit patterns, special values, sameness."""

from __future__ import annotations

import numpy as np
import pytest

from minigrad.backends.cpu.dialect import Value, Writer
from minigrad.backends.cpu.target import host_target
from minigrad.backends.cpu.vectormath import ERRORS, FUNCTIONS
from minigrad.backends.scalar import FUNCTIONS as REFERENCES
from minigrad.dtypes import float32, float64

from .writer import LEVELS, Array, lanes_of, run, target_named, ulps

UNARY = sorted(set(ERRORS) - {"pow", "rsqrt"})
BINARY = ("atan2", "copysign", "fmod", "pow")

#: A float64 result needs more digits to be judged by.
EXTENDED = np.finfo(np.longdouble).nmant >= 63


def patterns(dtype: np.dtype, count: int, seed: int) -> Array:
    """Return numbers of every size and both signs, subnormals, infinities and NaN among them."""
    rng = np.random.default_rng(seed)
    special = np.array([0, np.inf, np.nan, 1, np.finfo(dtype).max, np.finfo(dtype).tiny], dtype)
    special = np.concatenate([special, [np.finfo(dtype).smallest_subnormal]])
    if dtype == float32:
        bits = np.arange(count, dtype=np.uint64) * (2**32 // count)
        anywhere = (bits + rng.integers(0, 2**32 // count)).astype(np.uint32).view(float32)
    else:
        anywhere = rng.integers(0, 2**64, count // 2, np.uint64).view(float64)
    near = np.ldexp(rng.uniform(0.5, 1, count // 2), rng.integers(-30, 12, count // 2))
    near *= rng.choice([-1, 1], near.size)
    found = np.concatenate([special, -special, anywhere, near.astype(dtype)])
    found[np.isnan(found)] = np.nan  # quiet: NumPy warns of the others
    return found


def erf_of(x: Array) -> Array:
    """Return erf from the series e^-x^2 2x/sqrt(pi) (1 + 2x^2/3 + (2x^2)^2/15 + ...)."""
    a = np.minimum(np.abs(x), x.dtype.type(7))
    term = total = a
    for n in range(1, 260):
        term = term * (2 * a * a) / (2 * n + 1)
        total = total + term
    pi = 4 * np.arctan(x.dtype.type(1))
    return np.copysign(np.where(a > 6.5, 1, total * np.exp(-a * a) * 2 / np.sqrt(pi)), x)


def exact(name: str, *operands: Array) -> Array:
    """Return the function with more digits than the operands have."""
    wide = np.float64 if operands[0].dtype == float32 else np.longdouble
    with np.errstate(all="ignore"):
        widened = [x.astype(wide) for x in operands]
        return erf_of(*widened) if name == "erf" else REFERENCES[name](*widened)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_error_over_bit_patterns(name: str, dtype: np.dtype, level: str) -> None:
    if dtype == float64 and not EXTENDED:
        pytest.skip("this machine has no floats of more digits than float64's")
    target = target_named(level)
    count = (1 << 17 if dtype == float32 else 1 << 15) >> (3 if name == "erf" else 0)
    x = patterns(dtype, count, LEVELS.index(level))
    found = run(target, lambda k, x: k.call(name, x), x, lanes=lanes_of(target, dtype), unroll=2)
    error = ulps(found, exact(name, x))
    worst = int(np.argmax(error))
    assert error[worst] <= ERRORS[name][dtype == float64], (x[worst], found[worst])
    assert error[worst] > 0.5, "the error stated is one that occurs"


@pytest.mark.parametrize("level", LEVELS)
def test_pow_of_float32_over_bit_patterns(level: str) -> None:
    target, rng = target_named(level), np.random.default_rng(0)
    x, y = patterns(float32, 1 << 16, 1), rng.permutation(patterns(float32, 1 << 16, 2))
    whole = np.where(np.abs(y) < 100, np.round(y), y)
    base = np.exp(rng.uniform(-3, 3, x.size)).astype(float32)
    for a, b in ((x, y), (x, whole), (base, rng.uniform(-40, 40, x.size).astype(float32))):
        found = run(target, lambda k, x, y: k.call("pow", x, y), a, b, lanes=lanes_of(target, "f4"))
        error = ulps(found, exact("pow", a, b))
        worst = int(np.argmax(error))
        assert error[worst] <= ERRORS["pow"][0], (a[worst], b[worst], found[worst])


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_pow_of_special_values(dtype: np.dtype, lanes: int) -> None:
    sizes = [0, 0.5, 1, 1.5, 2, 3, 4, 1e30, 2.0**24, 2.0**24 - 1, np.inf, np.finfo(dtype).max]
    values = np.array([*sizes, *[-s for s in sizes], np.nan], dtype)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    found = run(host_target(), lambda k, x, y: k.call("pow", x, y), x, y, lanes=lanes)
    assert ulps(found, exact("pow", x, y)).max() <= 1.0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_fmod_is_exact(dtype: np.dtype, level: str) -> None:
    target = target_named(level)
    x, y = (
        patterns(dtype, 1 << 14, 3),
        np.random.default_rng(1).permutation(patterns(dtype, 1 << 14, 4)),
    )
    n = min(x.size, y.size)
    near = np.round(np.random.default_rng(2).uniform(-300, 300, n)).astype(dtype)
    factor = np.random.default_rng(3).uniform(0.1, 5, n).astype(dtype)
    for a, b in ((x[:n], y[:n]), (near, factor), (near * factor, factor), (near, near[::-1])):
        with np.errstate(all="ignore"):
            expected = np.fmod(a, b)
        found = run(
            target, lambda k, x, y: k.call("fmod", x, y), a, b, lanes=lanes_of(target, dtype)
        )
        np.testing.assert_array_equal(found, expected)
        sure = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[sure], np.signbit(expected)[sure])


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_angles_of_any_size(name: str, dtype: np.dtype) -> None:
    """Multiples of pi/2 and what is next to them, across the border of the own reduction."""
    n = np.concatenate([np.arange(1, 2000), np.unique(np.geomspace(2e3, 1e6, 3000).astype(int))])
    x = (n * (np.pi / 2)).astype(dtype)
    x = np.concatenate([x, np.nextafter(x, np.float32(0)), -np.nextafter(x, np.float32(1e9))])
    x = np.concatenate([x, np.geomspace(1e4, 1e38, 500).astype(dtype)])
    if dtype == float64 and not EXTENDED:
        pytest.skip("this machine has no floats of more digits than float64's")
    for level in LEVELS:
        target = target_named(level)
        found = run(target, lambda k, x: k.call(name, x), x, lanes=lanes_of(target, dtype))
        error = ulps(found, exact(name, x))
        assert error.max() <= ERRORS[name][dtype == float64], x[np.argmax(error)]


def test_one_far_lane_does_not_change_the_others() -> None:
    x = np.linspace(-3, 3, 16, dtype=float32)
    alone = run(host_target(), lambda k, x: k.call("sin", x), x, lanes=16)
    x[5] = 1e30
    found = run(host_target(), lambda k, x: k.call("sin", x), x, lanes=16)
    assert found[5] == np.sin(np.float64(x[5])).astype(float32)
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(alone, 5))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_lanes_scalars_and_shared_functions_give_the_same_bits(
    name: str, dtype: np.dtype, level: str
) -> None:
    target, count = target_named(level), 1 << 9
    operands = [patterns(dtype, count, s) for s in range(2 if name in BINARY else 1)]

    def found(lanes: int, unroll: int, shared: bool = False) -> Array:
        return run(
            target, lambda k, *xs: k.call(name, *xs), *operands,
            lanes=lanes, unroll=unroll, shared=shared,
        )  # fmt: skip

    wide = lanes_of(target, dtype)
    expected = found(1, 1)
    for other in (found(wide, 1), found(wide, 3), found(wide, 2, True), found(wide // 2, 1)):
        np.testing.assert_array_equal(other, expected)
        np.testing.assert_array_equal(np.signbit(other), np.signbit(expected))


def test_a_shared_function_is_written_once() -> None:
    k = Writer(host_target(), 1, 2, 4, shared=True)
    x = k.splat(k.literal(1, float32))
    for _ in range(3):
        x = k.call("tanh", x)
    assert len(k.text[0]) == 6
    assert all("call <4 x float> @mg.tanh.v4f32(" in line for line in k.text[0])
    assert sum(text.startswith("define") for text in k.declarations) == 1


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8"])
def test_integer_powers_wrap(dtype: str) -> None:
    kind = np.dtype(dtype)
    x = np.arange(-20, 44).astype(kind)
    for exponent in (0, 1, 2, 7, 63, 100):
        y = np.full(x.size, exponent, kind)
        y[::3] = 3
        for lanes in (1, lanes_of(host_target(), kind)):
            found = run(host_target(), lambda k, x, y: k.call("pow", x, y), x, y, lanes=lanes)
            np.testing.assert_array_equal(found, REFERENCES["pow"](x, y))


def test_the_writer_has_every_function_of_the_dialect() -> None:
    assert set(FUNCTIONS) == set(REFERENCES)


def test_a_function_of_a_number_alone() -> None:
    def body(k: Writer, x: Value) -> Value:
        return k.add(x, k.call("exp", k.literal(1.0, float32)))

    found = run(host_target(), body, np.zeros(8, float32), lanes=4)
    np.testing.assert_allclose(found, np.exp(np.float32(1)), rtol=2e-7)


def test_a_function_of_a_scalar_is_hoisted() -> None:
    k = Writer(host_target(), 2, 2, 4)
    k.call("exp", Value(("%a",), float32, 1, 0))
    assert len(k.text[0]) > 10
    assert k.text[1] == []
    assert k.call("rint", Value(("%b",), float64, 1, 1)).depth == 1
