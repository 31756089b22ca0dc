"""The writer's loads, stores, gathers and counts, and its random words and reductions."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends.cpu.dialect import Value, Writer
from minigrad.backends.cpu.target import host_target
from minigrad.dtypes import (
    ALL,
    FLOATS,
    INTEGERS,
    float32,
    int32,
    int64,
    uint32,
    uint64,
)
from minigrad.dtypes import bool as bool_
from tests.ops import checkers as check
from tests.ops.test_scalar import extremes

from .writer import LEVELS, Array, address, call, lanes_of, module, run, target_named

INDEX = Value(("%i",), int64, 1, 1)


def numbers(dtype: np.dtype, size: int) -> Array:
    rng = np.random.default_rng(size)
    if dtype == bool_:
        return rng.random(size) < 0.5
    if dtype.kind == "f":
        return rng.normal(size=size).astype(dtype)
    return rng.integers(0, 100, size).astype(dtype)


# Memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_copy_keeps_the_bits(dtype: np.dtype, name: str) -> None:
    target = target_named(name)
    values = np.concatenate([extremes(dtype), numbers(dtype, 200)])
    for lanes, unroll in ((1, 1), (lanes_of(target, dtype), 4)):
        found = run(target, lambda k, x: x, values, lanes=lanes, unroll=unroll)
        check.same_bits(found, values)


def guarded(size: int) -> tuple[Array, Callable[[], None]]:
    """Return bytes that end where memory ends, and what gives them back."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    whole = np.frombuffer(memory, np.uint8)
    second = ctypes.c_void_p(whole.ctypes.data + page)
    protect = ctypes.CDLL(None).mprotect
    if protect(second, ctypes.c_size_t(page), 0):
        pytest.skip("memory cannot be protected here")

    def open_again() -> None:
        assert protect(second, ctypes.c_size_t(page), 3) == 0

    return whole[page - size : page], open_again


def tail(target: Any, source: Array, aim: Array, count: int, lanes: int, unroll: int) -> None:
    """Copy ``count`` elements, fewer than fit the registers, by masks."""
    k = Writer(target, 2, unroll, lanes)
    remaining = k.sub(Value(("%count",), int64, 1, 0), INDEX)
    mask = k.tail_mask(remaining)
    x = k.load(address(k, 0, source.dtype), source.dtype, lanes, 1, mask)
    k.store(address(k, 1, aim.dtype), x, 1, mask)
    call(module(k, 2, lanes * unroll), target, [source, aim], count)


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_a_tail_touches_nothing_beyond_its_end(dtype: np.dtype, name: str) -> None:
    target = target_named(name)
    lanes = lanes_of(target, dtype)
    for count in (1, lanes - 1, lanes + 1, 2 * lanes):
        source, open_source = guarded(count * dtype.itemsize)
        aim, open_aim = guarded(count * dtype.itemsize)
        source.view(dtype)[:] = numbers(dtype, count)
        tail(target, source.view(dtype), aim.view(dtype), count, lanes, 2)
        assert aim.tobytes() == source.tobytes()
        open_source()
        open_aim()


def test_lanes_outside_the_mask_are_zero() -> None:
    k = Writer(host_target(), 2, 1, 4)
    mask = k.tail_mask(k.literal(3, int64))
    x = k.load(address(k, 0, float32), float32, 4, 1, mask)
    k.store(address(k, 1, float32), x, 1)
    found = np.full(4, 7, float32)
    call(module(k, 2, 4), host_target(), [np.arange(5, 9, dtype=float32), found], 4)
    assert found.tolist() == [5, 6, 7, 0]


@pytest.mark.parametrize(
    ("kind", "name"), [*((i, "host") for i in INTEGERS), *((int32, name) for name in LEVELS[1:])]
)
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_gather_is_take(kind: np.dtype, dtype: np.dtype, name: str) -> None:
    target = target_named(name)
    table = numbers(dtype, 100)
    index = np.random.default_rng(0).integers(0, 100, 64).astype(kind)
    for lanes, unroll in ((1, 1), (lanes_of(target, dtype, kind), 2)):
        found = run(
            target, lambda k, i, x: k.gather("%p1", i, dtype, 1), index, np.resize(table, 128),
            lanes=lanes, unroll=unroll,
        )  # fmt: skip
        check.same_bits(found, table[index])


def test_gather_below_the_base_and_under_a_mask() -> None:
    table, index = np.arange(32, dtype=float32), np.array([-1, 0, 1, 1 << 40] * 4, int64)
    k = Writer(host_target(), 2, 2, 4)
    i = k.load(address(k, 1, int64), int64, 4, 1)
    inside = k.less(i, k.const(2, i))
    found = k.gather(address(k, 0, float32, "16"), i, float32, 1, inside)
    k.store(address(k, 2, float32), found, 1)
    out = np.ones(16, float32)
    call(module(k, 3, 8), host_target(), [table, index, out], 16)
    assert out.tolist() == [15, 16, 17, 0] * 4


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("dtype", [int32, int64, uint32, uint64], ids=str)
def test_iota_counts_by_steps(dtype: np.dtype, name: str) -> None:
    target = target_named(name)
    x = np.zeros(64, dtype)
    for lanes, unroll in ((1, 1), (lanes_of(target, dtype), 1), (lanes_of(target, dtype), 4)):
        found = run(
            target, lambda k, x: k.iota(k.mul(k.cast(INDEX, dtype), 3), 3, dtype), x,
            lanes=lanes, unroll=unroll,
        )  # fmt: skip
        check.same_bits(found, (np.arange(64) * 3).astype(dtype))


def test_iota_of_numbers_is_no_instruction() -> None:
    k = Writer(host_target(), 1, 2, 4)
    x = k.iota(5, -2, int32)
    assert x.regs == ("<i32 5, i32 3, i32 1, i32 -1>", "<i32 -3, i32 -5, i32 -7, i32 -9>")
    assert k.text == [[]]
    assert k.iota(5, -2, int32, lanes=1) == k.literal(5, int32)


# Reductions -----------------------------------------------------------------------

MODELS = {
    "sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum,
    "and": np.logical_and, "or": np.logical_or,
}  # fmt: skip


def reduced(target: Any, op: str, values: Array, lanes: int, unroll: int) -> Any:
    k = Writer(target, 2, unroll, lanes)
    x = k.load(address(k, 0, values.dtype), values.dtype, lanes, 1)
    k.store("%p1", k.reduce(op, x), 1)
    out = np.zeros(1, values.dtype)
    call(module(k, 2, lanes * unroll), target, [values, out], values.size)
    return out[0]


def model(op: str, values: Array, lanes: int) -> Any:
    """Join neighbouring registers, then the upper half of the lanes to the lower."""
    rows = list(values.reshape(-1, lanes))
    with np.errstate(all="ignore"):
        while len(rows) > 1:
            odd = rows[len(rows) // 2 * 2 :]
            rows = [MODELS[op](a, b) for a, b in zip(rows[::2], rows[1::2], strict=False)] + odd
        row = rows[0]
        while row.size > 1:
            row = MODELS[op](row[: row.size // 2], row[row.size // 2 :])
    return row[0]


def operations(dtype: np.dtype) -> list[str]:
    return ["max", "min", "and", "or"] if dtype == bool_ else ["sum", "prod", "max", "min"]


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_reductions_have_one_order(dtype: np.dtype, name: str) -> None:
    target = target_named(name)
    for op in operations(dtype):
        for lanes, unroll in ((1, 1), (2, 3), (lanes_of(target, dtype), 4)):
            values = numbers(dtype, lanes * unroll)
            found = reduced(target, op, values, lanes, unroll)
            expected = np.asarray(model(op, values, lanes), dtype)
            check.same_bits(found, expected, f"{op} {lanes}x{unroll}")


def test_a_mask_is_reduced_whatever_it_holds() -> None:
    for count in range(9):
        values = np.arange(8) < count
        assert reduced(host_target(), "or", values, 8, 1) == (count > 0)
        assert reduced(host_target(), "and", values, 8, 1) == (count == 8)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_wins_wherever_it_stands(op: str, dtype: np.dtype) -> None:
    for place in range(16):
        values = numbers(dtype, 16)
        values[place] = np.nan
        assert np.isnan(reduced(host_target(), op, values, 4, 4))


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_the_identity_changes_nothing(dtype: np.dtype) -> None:
    values = extremes(dtype)
    for op in operations(dtype):
        for flip in (False, True):

            def body(k: Writer, x: Value, op: str = op, flip: bool = flip) -> Value:
                pair = (x, k.identity(op, dtype))
                return k.combine(op, *(pair[::-1] if flip else pair))

            found = run(host_target(), body, values, lanes=4, unroll=2)
            np.testing.assert_array_equal(found, values, f"{op} {flip}")


# Random words ---------------------------------------------------------------------

SEED, STREAM = 0x123456789ABCDEF0, 0xFEDCBA98_00000007


@pytest.fixture(scope="module")
def words() -> Array:
    """The first words of a draw, from the composition of primitives."""
    generator = mg.random.Generator(SEED)
    generator.stream.assign(np.uint64(STREAM))
    return generator.bits((1024,)).numpy()


def state(k: Writer) -> list[Value]:
    halves = [SEED & 0xFFFFFFFF, SEED >> 32, STREAM & 0xFFFFFFFF, STREAM >> 32]
    return [k.literal(half, uint32) for half in halves]


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("unroll", [1, 2, 4, 8])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_words_in_a_row(lanes: int, unroll: int, name: str, words: Array) -> None:
    target = target_named(name)
    found = run(
        target, lambda k, x: k.bits(*state(k), k.sub(INDEX, 0)), np.zeros(1024, np.uint32),
        lanes=lanes, unroll=unroll,
    )  # fmt: skip
    check.same_bits(found, words)


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("kind", [int32, int64, uint32, uint64], ids=str)
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_words_in_any_order(lanes: int, kind: np.dtype, name: str, words: Array) -> None:
    index = np.random.default_rng(0).permutation(1024).astype(kind)
    found = run(
        target_named(name), lambda k, i: k.bits_at(*state(k), i), index, lanes=lanes, unroll=2
    )
    check.same_bits(found, words[index])


def test_words_of_registers_and_far_along() -> None:
    """Both ways agree at elements that 32 bits cannot count, with seed and stream in registers."""

    def key(k: Writer) -> list[Value]:
        texts = [k.line(0, f"add i32 {v.regs[0]}, 0") for v in state(k)]
        return [Value((t,), uint32, 1, 0) for t in texts]

    start = (1 << 34) - 128
    index = np.arange(start, start + 128, dtype=np.int64)
    fast = run(
        host_target(), lambda k, i: k.bits(*key(k), k.add(INDEX, start)), index, lanes=8, unroll=4
    )
    slow = run(host_target(), lambda k, i: k.bits_at(*key(k), i), index, lanes=8, unroll=4)
    check.same_bits(fast, slow)
    assert len(set(fast.tolist())) > 120
