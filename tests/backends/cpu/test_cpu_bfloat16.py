"""bfloat16 in native code: stored as 16 bits, computed in float32, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backends.cpu.target import host_target
from minigrad.dtypes import convert, float16, float32, float64, int32

from .writer import LEVELS, run, target_named

pytest.importorskip("ml_dtypes", reason="pip install 'minigrad[lowp]'")

BF16: np.dtype[Any] = mg.bfloat16
ALL_BITS = np.arange(1 << 16, dtype=np.uint16)
PATTERNS = ALL_BITS.view(BF16)
IS_NAN = np.isnan(PATTERNS.astype(np.float32))


def bits(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(x).view(np.uint16)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_loading_and_storing_keeps_all_65536_patterns(level: str, lanes: int) -> None:
    found = run(target_named(level), lambda k, x: x, PATTERNS, lanes=lanes, unroll=2)
    np.testing.assert_array_equal(bits(found), ALL_BITS)


@pytest.mark.parametrize("level", LEVELS)
def test_float32_and_back(level: str) -> None:
    target = target_named(level)
    wide = run(target, lambda k, x: k.cast(x, float32), PATTERNS, lanes=8)
    np.testing.assert_array_equal(wide.view(np.uint32) >> 16, ALL_BITS)
    back = run(target, lambda k, x: k.cast(x, BF16), wide, lanes=8)
    np.testing.assert_array_equal(bits(back)[~IS_NAN], ALL_BITS[~IS_NAN])
    np.testing.assert_array_equal(bits(back)[IS_NAN], ALL_BITS[IS_NAN] | 1 << 6)  # made quiet


def hard_to_round(dtype: Any) -> np.ndarray[Any, Any]:
    """Return every tie between two neighbours, its neighbours, and numbers of any bits."""
    exact = PATTERNS[~IS_NAN].astype(np.float64)
    ties = (exact[:-1] + exact[1:]) / 2
    near = np.nextafter(ties.astype(dtype), np.array(np.inf, dtype))
    below = np.nextafter(ties.astype(dtype), np.array(-np.inf, dtype))
    rng = np.random.default_rng(0)
    any_bits = rng.integers(0, 2**64, 1 << 15, dtype=np.uint64).view(np.float64)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e39, -1e300, 5e-324, 1e-42])
    return np.concatenate([ties.astype(dtype), near, below, any_bits.astype(dtype),
                           special.astype(dtype)])  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("source", [float32, float64], ids=str)
def test_rounding_is_that_of_the_reference(level: str, lanes: int, source: Any) -> None:
    with np.errstate(all="ignore"):
        x = hard_to_round(source)
        expected = convert(x, BF16)
    found = run(target_named(level), lambda k, x: k.cast(x, BF16), x, lanes=lanes)
    nan = np.isnan(x)
    np.testing.assert_array_equal(bits(found)[~nan], bits(expected)[~nan])
    assert np.isnan(found[nan].astype(np.float32)).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("other", [float16, float64, int32, np.dtype(np.bool_)], ids=str)
def test_other_conversions(level: str, other: Any) -> None:
    x = convert(np.linspace(-300, 300, 1024), BF16)
    target = target_named(level)
    found = run(target, lambda k, x: k.cast(x, other), x, lanes=8)
    np.testing.assert_array_equal(found, x.astype(np.float32).astype(other))
    back = run(target, lambda k, x: k.cast(x, BF16), found, lanes=8)
    np.testing.assert_array_equal(bits(back), bits(convert(found, BF16)))


def test_each_operation_is_rounded() -> None:
    x = convert(np.array([1.0, 256.0, 3e38, 1e-40]), BF16)
    one = lambda k, x: k.add(k.add(x, k.const(1, x)), k.const(1, x))
    assert run(host_target(), one, x, lanes=4).tolist()[1] == 256.0  # 257 is 256, twice
    assert run(host_target(), lambda k, x: k.mul(x, k.const(0.1, x)), x)[0] == BF16.type(0.1)


def steps_apart(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    """Return how many values lie between two arrays' elements, at the most."""
    u, v = (bits(x).astype(np.int64) for x in (a, b))
    ordered = [np.where(w >> 15, -(w & 0x7FFF), w) for w in (u, v)]
    nan = np.isnan(a.astype(np.float32))
    np.testing.assert_array_equal(nan, np.isnan(b.astype(np.float32)))
    return int(np.abs(ordered[0] - ordered[1])[~nan].max(initial=0))


def held(f: Callable[..., Any], *arrays: Any, apart: int = 1) -> None:
    """Hold compiled code to the reference, within values of bfloat16."""
    given = [mg.tensor(a, dtype=BF16) for a in arrays]
    found = mg.compile(f, backend="cpu")(*given)
    expected = mg.compile(f, backend="numpy")(*given)
    pairs = zip(*(x if isinstance(x, tuple) else (x,) for x in (found, expected)), strict=True)
    for a, b in pairs:
        assert a.dtype == b.dtype
        if a.dtype == BF16:
            assert steps_apart(np.asarray(a), np.asarray(b)) <= apart
        else:
            np.testing.assert_array_equal(a, b)


def drawn(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape)


ELEMENTWISE = {
    "arithmetic": lambda x, y: (x + y, x - y, x * y, x / y, -x, mg.abs(x), mg.sign(x)),
    "order": lambda x, y: (x < y, mg.maximum(x, y), mg.where(x == y, x, y), mg.clip(x, -1, 1)),
    "exponential": lambda x, y: (mg.exp(x), mg.log(mg.abs(x)), mg.tanh(y), mg.expm1(x)),
    "circular": lambda x, y: (mg.sin(x), mg.cos(y), mg.atan2(x, y), mg.erf(x)),
    "whole": lambda x, y: (mg.floor(x), mg.round(y), x // y, mg.trunc(x)),
    "roots": lambda x, y: (mg.sqrt(mg.abs(x)), mg.pow(mg.abs(x), y), mg.rsqrt(mg.abs(y))),
    "casts": lambda x, y: (x.astype(mg.int32), x.astype(mg.float16).astype(BF16), x * 2.5),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(seed=st.integers(0, 99), n=st.integers(1, 70), m=st.integers(1, 5))
@settings(max_examples=6)
def test_elementwise(name: str, seed: int, n: int, m: int) -> None:
    held(ELEMENTWISE[name], 3 * drawn(seed, m, n), drawn(seed + 1, m, n))


@given(
    seed=st.integers(0, 99),
    shape=st.lists(st.integers(1, 40), min_size=2, max_size=3),
    axis=st.integers(0, 1),
)
@settings(max_examples=12)
def test_reductions_alone_and_together(seed: int, shape: list[int], axis: int) -> None:
    x = drawn(seed, *shape)
    held(lambda x: (mg.sum(x, axis), mg.sum(x, 1 - axis), mg.max(x, axis), mg.mean(x)), x)
    held(lambda x: (mg.prod(x, axis), mg.min(x, 1 - axis), mg.sum(x)), x)


@given(seed=st.integers(0, 99), sizes=st.tuples(*[st.integers(1, 40)] * 3))
@settings(max_examples=12)
def test_products(seed: int, sizes: tuple[int, int, int]) -> None:
    n, k, m = sizes
    held(lambda x, w: x @ w, drawn(seed, n, k), drawn(seed + 1, k, m))
    held(lambda x, w: mg.max((x @ w).T, 0), drawn(seed, n, k), drawn(seed + 1, k, m))


@pytest.mark.parametrize("shape", [(37, 53), (400, 33), (3, 20000), (20000, 3)])
def test_movement_and_large_sums(shape: tuple[int, int]) -> None:
    x = drawn(0, *shape)
    held(lambda x: (x.T + 1.0, mg.flip(x, axis=1), mg.pad(x, ((1, 0), (2, 3)))), x)
    held(lambda x: (mg.softmax(x), mg.sum(x, 0)), x)
    held(lambda x: (mg.sum(x, 0), mg.sum(x, 1), mg.concat([x, x * 2.0], axis=1)), x)


@pytest.mark.parametrize("dtype", [mg.float16, BF16], ids=str)
def test_sums_over_rows_beside_reductions_of_rows_stay_in_their_memory(dtype: Any) -> None:
    """They were added up as float32 where only half as many bytes were."""
    x = mg.tensor(np.random.default_rng(0).integers(-2, 3, (37, 53)), dtype=dtype)
    for f in (
        lambda x: (mg.sum(x, 0), mg.max(x, 1)),
        lambda x: (mg.max(x, 0), mg.sum(x, 1)),
        lambda x: (mg.sum(x), mg.max(x, 1), mg.sum(x, 0)),
    ):
        found = mg.compile(f, backend="cpu")(x)
        for a, b in zip(found, f(x), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("dtype", [mg.float16, BF16], ids=str)
@pytest.mark.parametrize("n", [5, 30, 300])
def test_long_and_short_sums_are_rounded_once(dtype: Any, n: int) -> None:
    """Short ones, which are written out, were rounded after each addition."""
    x = convert(drawn(1, n, 40), dtype)
    w = convert(drawn(2, 40, 7), dtype)
    for f, exact in (
        (lambda x, w: mg.sum(x, 0), x.astype(np.float64).sum(0)),
        (lambda x, w: w[:, :1].T @ x.T, w[:, :1].T.astype(np.float64) @ x.T.astype(np.float64)),
        (lambda x, w: x[:, :3] @ w[:3], x[:, :3].astype(np.float64) @ w[:3].astype(np.float64)),
    ):
        found = np.asarray(mg.compile(f, backend="cpu")(x, w)).astype(np.float64)
        unit = float(mg.finfo(dtype).eps)
        least = 1e-6 * np.abs(exact).max()  # what float32 may leave of what cancels
        assert (np.abs(found - exact) <= 0.51 * unit * np.abs(exact) + n * least).all()


def test_the_derivative_of_a_layer() -> None:
    def loss(x: Any, w: Any, b: Any) -> Any:
        y = mg.nn.functional.layer_norm(mg.tanh(x @ w + b), (24,))
        return mg.mean(mg.nn.functional.gelu(y) ** 2)

    args = [mg.tensor(a, dtype=BF16) for a in (drawn(0, 32, 48), drawn(1, 48, 24), drawn(2, 24))]
    found = mg.compile(mg.grad(loss, argnums=(0, 1, 2)), backend="cpu")(*args)
    wide = mg.grad(loss, argnums=(0, 1, 2))(*[a.astype(mg.float32) for a in args])
    for g, h in zip(found, wide, strict=True):
        assert g.dtype == BF16
        size = float(mg.max(mg.abs(h)).item())
        np.testing.assert_allclose(g.astype(mg.float32), h, rtol=0, atol=0.05 * size)


def test_convolutions_and_pooling() -> None:
    F = mg.nn.functional

    def loss(x: Any, w: Any) -> Any:
        return mg.sum(F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2) ** 2) / 100.0

    x, w = drawn(0, 2, 3, 12, 12), drawn(1, 8, 3, 3, 3)
    args = [mg.tensor(a, dtype=BF16) for a in (x, w)]
    found = mg.compile(mg.grad(loss, argnums=(0, 1)), backend="cpu")(*args)
    wide = mg.grad(loss, argnums=(0, 1))(*[a.astype(mg.float32) for a in args])
    for g, h in zip(found, wide, strict=True):
        size = float(mg.max(mg.abs(h)).item())
        np.testing.assert_allclose(g.astype(mg.float32), h, rtol=0, atol=0.05 * size)


def test_a_step_trains_and_updates_in_place() -> None:
    model = mg.nn.Sequential(mg.nn.Linear(6, 16), mg.nn.Tanh(), mg.nn.Dropout(0.2),
                             mg.nn.Linear(16, 2))  # fmt: skip
    model.astype(BF16)
    optimiser = mg.optim.AdamW(model.parameters(), lr=0.02)
    x = mg.random.normal((64, 6), dtype=BF16)
    labels = (x[:, 0] > 0).astype(mg.int64)

    @mg.compile(backend="cpu")
    def step(x: Any, labels: Any) -> Any:
        loss = mg.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    losses = [step(x, labels).item() for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_masks_are_those_of_every_dtype() -> None:
    def masks(x: Any) -> Any:
        return mg.nn.functional.dropout(x, 0.3) == 0

    found = []
    for dtype in (BF16, mg.float32):
        mg.random.seed(3)
        found.append(mg.compile(masks, backend="cpu")(mg.ones((9, 40), dtype=dtype)).numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kept", [1, 2, 5])
@pytest.mark.parametrize("to", [BF16, np.dtype(np.int8), np.dtype(np.int16)], ids=str)
def test_a_narrowed_tail_leaves_its_neighbours(to: Any, kept: int) -> None:
    """LLVM wrote the one lane of a tail before narrowing it, over what lies beside it."""
    x = np.arange(40 * (32 + kept)).reshape(40, -1) % 100

    def beside(x: Any) -> Any:
        return mg.concat([x.astype(to) * 1, (x * 2).astype(to)], axis=1)

    given = mg.tensor(x, dtype=mg.float32 if to == BF16 else mg.int32)
    found = mg.compile(beside, backend="cpu")(given)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(beside(given)))
