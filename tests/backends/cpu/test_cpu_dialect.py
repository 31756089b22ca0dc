"""The LLVM writer against the reference of every elementwise primitive, and its own rules."""

from __future__ import annotations

import numpy as np
import pytest

from minigrad.backends.cpu.dialect import Value, Writer
from minigrad.backends.cpu.target import host_target
from minigrad.backends.cpu.vectormath import ERRORS
from minigrad.core import Primitive
from minigrad.dtypes import (
    ALL,
    INTEGERS,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint8,
    uint32,
)
from minigrad.dtypes import bool as bool_
from minigrad.errors import DtypeError
from tests.ops import checkers as check
from tests.ops.test_scalar import CASES, LIBRARY, combinations, extremes

from .writer import LEVELS, Array, lanes_of, run, target_named, ulps

#: (target, lanes per register or None for as many as fit, registers).
SHAPES = [("host", 1, 1), ("host", None, 1), ("host", None, 4), *((n, None, 1) for n in LEVELS[1:])]


def compute(
    primitive: Primitive, operands: list[Array], shape: tuple[str, int | None, int]
) -> Array:
    name, lanes, unroll = shape
    target = target_named(name)
    params = primitive.samples[0].params
    kinds = [a.dtype for a in operands]
    if "dtype" in params:
        kinds.append(params["dtype"])
    lanes = lanes or lanes_of(target, *kinds)
    return run(
        target, lambda k, *xs: primitive.scalar(k, *xs, **params), *operands,
        lanes=lanes, unroll=unroll,
    )  # fmt: skip


def check_result(primitive: Primitive, operands: list[Array], found: Array) -> None:
    params, dtype = primitive.samples[0].params, operands[-1].dtype
    expected = check.run(primitive, operands, params)
    assert found.dtype == expected.dtype
    if primitive.name in LIBRARY and dtype.kind == "f":
        wide = np.longdouble if dtype == float64 and primitive.name != "erf" else float64
        exact = check.run(primitive, [a.astype(wide) for a in operands], params)
        assert ulps(found, exact).max() <= limit(primitive.name, dtype)
        return
    if primitive.name in ("maximum", "minimum") and dtype.kind == "f":
        found, expected = found + np.zeros(1, dtype), expected + np.zeros(1, dtype)  # -0 is 0
    check.same_bits(found, expected)


def limit(name: str, dtype: np.dtype) -> float:
    """Return the error allowed: of a float16, that of rounding a float32."""
    single, double = ERRORS.get(name, (2.0, 2.0))  # the C library's
    if dtype == float16 and name != "rsqrt":  # which is two operations, each rounded
        return 0.51
    return double if dtype == float64 else single


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_writer_is_the_reference_at_extremes(
    primitive: Primitive, dtype: np.dtype, shape: tuple[str, int | None, int]
) -> None:
    operands = combinations(primitive, dtype)
    check_result(primitive, operands, compute(primitive, operands, shape))


@pytest.mark.parametrize("shape", [SHAPES[2], SHAPES[4]], ids=str)
@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_writer_is_the_reference_inside(
    primitive: Primitive, dtype: np.dtype, shape: tuple[str, int | None, int]
) -> None:
    sample = primitive.samples[0]
    kinds = {d.dtype for d in check.domains(sample) if d.dtype != np.bool_}
    drawn = [check.draw(primitive, sample, s, dict.fromkeys(kinds, dtype)) for s in range(20)]
    operands = [np.concatenate([x.ravel() for x in xs]) for xs in zip(*drawn, strict=True)]
    check_result(primitive, operands, compute(primitive, operands, shape))


@pytest.mark.parametrize("shape", SHAPES[1:4], ids=str)
@pytest.mark.parametrize("source", ALL, ids=str)
def test_writer_cast_is_astype(source: np.dtype, shape: tuple[str, int | None, int]) -> None:
    name, _, unroll = shape
    target, rng = target_named(name), np.random.default_rng(0)
    for aim in ALL:
        values = extremes(source)
        if source.kind == "f":
            more = rng.integers(0, 256, 4096, np.uint8).view(source)
            values = np.concatenate([values, more, np.linspace(-300, 300, 601).astype(source)])
        elif source.kind != "b":
            values = np.concatenate([values, rng.integers(0, 256, 4096, np.uint8).view(source)])
        if source.kind == "f" and aim.kind in "iu":  # elsewhere the C standard says nothing
            info = np.iinfo(aim)
            with np.errstate(invalid="ignore"):
                wide = values.astype(np.float64)
                inside = (wide > info.min - 1.0) & (wide < float(info.max) / 2)
            values = values[inside]
        found = run(
            target, lambda k, x, aim=aim: k.cast(x, aim), values,
            lanes=lanes_of(target, source, aim), unroll=unroll,
        )  # fmt: skip
        with np.errstate(all="ignore"):
            check.same_bits(found, values.astype(aim), f"{source} to {aim}")


def quotient(dtype: np.dtype, x: int, y: int) -> int:
    low, width = int(np.iinfo(dtype).min), 8 * dtype.itemsize
    exact = 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    return (exact - low) % 2**width + low


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division_truncates_and_never_traps(dtype: np.dtype, name: str) -> None:
    target, rng = target_named(name), np.random.default_rng(1)
    values = extremes(dtype)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    random = rng.integers(0, 256, (2, 8192), np.uint8)
    a = np.concatenate([a, random[0].view(dtype), random[0].view(dtype)])
    b = np.concatenate([b, random[1].view(dtype), random[1].view(dtype) >> dtype.itemsize * 4])
    expected = [quotient(dtype, x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    for lanes in (1, lanes_of(target, dtype)):
        found = run(target, lambda k, x, y: k.div(x, y), a, b, lanes=lanes)
        assert found.tolist() == expected


@pytest.mark.parametrize("number", [0, 1, 3, 7, 10, 64, -1, -5])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division_by_a_number(dtype: np.dtype, number: int) -> None:
    if number < 0 and dtype.kind == "u":
        number += 2 ** (8 * dtype.itemsize)
    values = np.concatenate([extremes(dtype), np.arange(100).astype(dtype)])
    target = host_target()
    for lanes in (1, lanes_of(target, dtype)):
        found = run(target, lambda k, x: k.div(x, k.const(number, x)), values, lanes=lanes)
        assert found.tolist() == [quotient(dtype, x, number) for x in values.tolist()]


@pytest.mark.parametrize("name", LEVELS)
def test_mulhi_is_the_high_word_of_the_product(name: str) -> None:
    target = target_named(name)
    a, b = np.random.default_rng(0).integers(0, 2**32, (2, 1024), dtype=np.uint32)
    a[:4], b[:4] = [0, 1, 2**32 - 1, 2**32 - 1], [5, 2**32 - 1, 2**32 - 1, 1]
    exact = [x * y >> 32 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    for lanes in (1, 2, 4, 8, 16):
        assert run(target, lambda k, x, y: k.mulhi(x, y), a, b, lanes=lanes).tolist() == exact
    with pytest.raises(DtypeError, match="uint32"):
        run(target, lambda k, x, y: k.mulhi(x, y), a.astype(np.uint64), b.astype(np.uint64))


def test_float16_is_rounded_after_each_operation() -> None:
    x = np.array([1.0, 2048.0, 60000.0, 1e-7], float16)
    found = run(
        host_target(), lambda k, x: k.add(k.add(x, k.const(1, x)), k.const(1, x)), x, lanes=4
    )
    check.same_bits(found, (x + float16.type(1)) + float16.type(1))
    assert found[1] == 2048.0  # twice a half of the last place is lost, not once all of it


def test_a_product_and_a_sum_may_become_one_operation_but_float16_not() -> None:
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(3, 4096)).astype(float16)
    found = run(host_target(), lambda k, x, y, z: k.add(k.mul(x, y), z), x, y, z, lanes=16)
    check.same_bits(found, x * y + z)


# Where the lines go ---------------------------------------------------------------


def vector(name: str, dtype: np.dtype, depth: int, unroll: int = 2) -> Value:
    return Value(tuple(f"%{name}{u}" for u in range(unroll)), dtype, 4, depth)


def test_an_operation_goes_to_the_deepest_level_of_its_operands() -> None:
    k = Writer(host_target(), 3, 2, 4)
    a, b = Value(("%a",), float32, 1, 0), Value(("%b",), float32, 1, 1)
    both = k.add(a, b)
    k.mul(vector("x", float32, 2), both)
    assert [len(lines) for lines in k.text] == [0, 3, 2]  # the scalar sum, and its splat
    assert both.depth == 1


def test_a_scalar_is_spread_once_for_a_level() -> None:
    k = Writer(host_target(), 2, 2, 4)
    a, x = Value(("%a",), float32, 1, 0), vector("x", float32, 1)
    k.mul(k.add(x, a), a)
    assert len(k.text[0]) == 2
    b = Value(("%b",), float32, 1, 1)
    k.add(x, b)
    assert sum("shufflevector" in line for line in k.take(1)) == 1
    assert k.text[1] == []
    k.add(x, b)  # a register of the loop that was taken away is not known in the next one
    k.add(x, a)
    assert sum("shufflevector" in line for line in k.text[1]) == 1
    assert len(k.text[0]) == 2


def test_registers_have_different_names() -> None:
    k = Writer(host_target(), 2, 2, 4)
    x = k.call("tanh", vector("x", float32, 1))
    k.reduce("sum", k.call("exp", x))
    names = [line.split(" = ")[0].strip() for line in k.text[0] + k.text[1]]
    assert len(names) == len(set(names)) > 40
    assert k.fresh() not in names


def test_numbers_cost_no_instruction() -> None:
    k = Writer(host_target(), 2, 2, 4)
    x = vector("x", float32, 1)
    y = k.add(x, k.cast(k.neg(k.const(3, Value((), int32, 1, 0))), float32))
    assert k.text == [[], [f"  {r} = fadd contract <4 x float> %x{u}, splat (float "
                           "0xC008000000000000)" for u, r in enumerate(y.regs)]]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "dtype", "text", "value"),
    [
        (0.0, float32, "0x0000000000000000", 0.0),
        (-0.0, float32, "0x8000000000000000", -0.0),
        (0.1, float32, "0x3FB99999A0000000", 13421773 / 2**27),
        (0.1, float16, "0x3FB9980000000000", 1638 / 2**14),
        (0.1, float64, "0x3FB999999999999A", 0.1),
        (1e300, float32, "0x7FF0000000000000", np.inf),
        (-np.nan, float64, "0x7FF8000000000000", np.nan),
        (255, uint8, "-1", 255),
        (-1, uint32, "-1", 2**32 - 1),
        (2**63, int64, "-9223372036854775808", -(2**63)),
        (1, bool_, "true", True),
        (False, bool_, "false", False),
    ],
)
def test_numbers_are_written_exactly(
    number: float, dtype: np.dtype, text: str, value: float
) -> None:
    k = Writer(host_target())
    for _ in range(2):  # the second time from a table, in which 0.0 is not -0.0
        found = k.literal(number, dtype)
        assert found == Value((text,), dtype, 1, 0)
    assert repr(k.number(found)) == repr(value)  # the sign of 0, and NaN


def test_a_condition_may_be_one_for_all_lanes() -> None:
    x, y = np.arange(16, dtype=np.float32), -np.arange(16, dtype=np.float32)
    for value, expected in ((True, x), (False, y)):
        flag = np.full(16, value)

        def body(k: Writer, x: Value, y: Value, f: Value) -> Value:
            first = k.line(1, f"extractelement <4 x i1> {f.regs[0]}, i64 0")
            return k.select(Value((first,), bool_, 1, 1), x, y)

        found = run(host_target(), body, x, y, flag, lanes=4, unroll=2)
        check.same_bits(found, expected)


def test_a_choice_of_scalars_by_lanes() -> None:
    x = np.arange(-8, 8, dtype=np.float32)

    def body(k: Writer, x: Value) -> Value:
        return k.select(k.less(x, k.const(0, x)), k.const(-1, x), k.const(2, x))

    found = run(host_target(), body, x, lanes=4, unroll=2)
    check.same_bits(found, np.where(x < 0, np.float32(-1), np.float32(2)))


def test_the_checker_of_errors_sees_them() -> None:
    one = np.array([1.0, 0.0, np.inf, np.nan, 1e-45], np.float32)
    assert ulps(one, one.astype(np.float64)).max() <= 0.5
    assert ulps(np.nextafter(one, np.float32(2)), np.float64(one))[0] == 1.0
    for wrong in (-0.0, 1.0):
        assert ulps(np.float32([wrong]), np.float64([0.0]))[0] > 1e6
    for wrong, right in ((np.nan, 1.0), (1.0, np.nan), (np.inf, np.nan), (-np.inf, np.inf)):
        assert ulps(np.float32([wrong]), np.float64([right]))[0] == np.inf
