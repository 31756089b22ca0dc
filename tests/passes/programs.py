"""Random programs: lists of small steps that any list of numbers can mean, so they shrink well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import apply, registry

Step = tuple[str, int, int, int]

LITERALS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -4.0, 3.0]
UNARY = ["negative", "abs", "exp", "sin", "tanh", "sign", "floor", "square", "sqrt", "log1p"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum"]


def _unary(x: Any, a: int, b: int, other: Any) -> Any:
    return getattr(mg, UNARY[a % len(UNARY)])(x)


def _binary(x: Any, a: int, b: int, other: Any) -> Any:
    name = BINARY[a % len(BINARY)]
    return getattr(mg, name)(x, other) if b % 2 else getattr(mg, name)(other, x)


def _literal(x: Any, a: int, b: int, other: Any) -> Any:
    value = LITERALS[b % len(LITERALS)]
    name = BINARY[a % 3]
    return getattr(mg, name)(x, value) if a % 2 else getattr(mg, name)(value, x)


def _divide(x: Any, a: int, b: int, other: Any) -> Any:
    return x / LITERALS[b % len(LITERALS)] if a % 3 else x / other


def _twice(x: Any, a: int, b: int, other: Any) -> Any:
    return [
        lambda: mg.negative(mg.negative(x)),
        lambda: x * x + x,
        lambda: mg.flip(mg.flip(x)),
        lambda: x - (-other),
    ][a % 4]()


def _where(x: Any, a: int, b: int, other: Any) -> Any:
    condition = [x > other, x == x, ~(x < 0.5), x <= other][a % 4]
    return mg.where(condition, x, [other, 0.0, 1.0, x][b % 4])


def _reduce(x: Any, a: int, b: int, other: Any) -> Any:
    name = ["sum", "max", "min", "prod", "mean"][a % 5]
    if not x.ndim or 0 in x.shape:
        return x
    axis = b % x.ndim if b % 3 else None
    return getattr(mg, name)(x, axis, keepdims=bool(a % 2))


def _reshape(x: Any, a: int, b: int, other: Any) -> Any:
    if a % 3 == 0:
        return mg.reshape(x, -1)
    if a % 3 == 1:
        return mg.expand_dims(x, axis=b % (x.ndim + 1)) if x.ndim < 4 else x
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    return mg.squeeze(x, ones[b % len(ones)]) if ones else mg.reshape(x, x.shape)


def _permute(x: Any, a: int, b: int, other: Any) -> Any:
    if not x.ndim:
        return x
    axes = list(np.random.default_rng(a).permutation(x.ndim))
    return apply(registry["permute_dims"], (x,), {"axes": tuple(int(i) for i in axes)})


def _broadcast(x: Any, a: int, b: int, other: Any) -> Any:
    shape = tuple(3 if n == 1 and a % 2 else n for n in x.shape)
    return mg.broadcast_to(x, (1 + b % 2, *shape) if len(shape) < 4 else shape)


def _slice(x: Any, a: int, b: int, other: Any) -> Any:
    keys = [slice(None), slice(None, None, -1), slice(1, None), slice(None, None, 2), slice(0, 1)]
    return x[keys[a % 5]] if x.ndim == 1 else x[..., keys[a % 5]] if x.ndim else x


def _pad(x: Any, a: int, b: int, other: Any) -> Any:
    widths = [((a + i) % 2, (b + i) % 2) for i in range(x.ndim)]
    return mg.pad(x, widths, constant_values=LITERALS[a % 4])


def _concat(x: Any, a: int, b: int, other: Any) -> Any:
    if not x.ndim or x.size > 40:
        return x
    parts = [x] if a % 3 == 0 else [x, x * 2.0]
    return apply(registry["concat"], tuple(parts), {"axis": b % x.ndim})


def _matmul(x: Any, a: int, b: int, other: Any) -> Any:
    if x.ndim < 2 or 0 in x.shape:
        return x
    return x @ mg.matrix_transpose(x) if a % 2 else mg.matrix_transpose(x) @ x


def _take(x: Any, a: int, b: int, other: Any) -> Any:
    if not x.ndim or 0 in x.shape:
        return x
    axis = b % x.ndim
    index = np.array([a, a + 1, -1]) % x.shape[axis]
    return mg.take(x, index, axis=axis)


def _windows(x: Any, a: int, b: int, other: Any) -> Any:
    if not x.ndim or x.ndim > 3 or x.shape[-1] < 2 or x.size > 40:
        return x
    from minigrad.ops.windows import windows

    return windows(x, (x.ndim - 1,), (2,), (1 + a % 2,), (1,))


def _cast(x: Any, a: int, b: int, other: Any) -> Any:
    return [
        lambda: mg.astype(mg.astype(x, np.float32), np.float64),
        lambda: mg.astype(x > 0, np.float64),
        lambda: apply(registry["astype"], (x,), {"dtype": np.dtype(np.float64)}),
        lambda: mg.astype(mg.isfinite(x) | mg.isnan(x), np.float64) + x,
    ][a % 4]()


def _mark(x: Any, a: int, b: int, other: Any) -> Any:
    if a % 3 == 0:
        return mg.tag(x, f"tag{a}")
    if a % 3 == 1:
        return mg.stop_gradient(x)
    with mg.no_grad():
        return [lambda: x * 1.0, lambda: mg.negative(mg.negative(x)), lambda: mg.sin(x)][b % 3]()


def _constant(x: Any, a: int, b: int, other: Any) -> Any:
    return x * np.linspace(0.5, 2.0, x.size).reshape(x.shape) if a % 2 else x + np.float64(a)


SMOOTH: dict[str, Callable[..., Any]] = {
    "unary": _unary, "binary": _binary, "literal": _literal, "twice": _twice, "where": _where,
    "reduce": _reduce, "reshape": _reshape, "permute": _permute, "broadcast": _broadcast,
    "slice": _slice, "pad": _pad, "concat": _concat, "matmul": _matmul, "take": _take,
    "windows": _windows, "cast": _cast, "mark": _mark, "constant": _constant,
}  # fmt: skip
STEPS: dict[str, Callable[..., Any]] = {**SMOOTH, "divide": _divide}

MOST = 200  # elements: a program does not grow beyond


def program(steps: Sequence[Step]) -> Callable[..., Any]:
    """Return the function that the steps mean: every step uses earlier results."""

    def run(x: Any, y: Any) -> Any:
        pool = [mg.asarray(x), mg.asarray(y)]
        for name, which, a, b in steps:
            source = pool[which % len(pool)]
            other = next((p for p in reversed(pool) if p.shape == source.shape), source)
            made = STEPS[name](source, a, b, other)
            pool.append(made if made.size <= MOST else mg.sum(made))
        return tuple(pool[-3:])

    return run


def steps(kinds: Sequence[str], most: int = 12) -> st.SearchStrategy[list[Step]]:
    number = st.integers(0, 23)
    return st.lists(
        st.tuples(st.sampled_from(list(kinds)), number, number, number), min_size=1, max_size=most
    )


SPECIAL = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 5e-324, 1e308, 0.3]


def arrays(special: bool) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Return a strategy for the two inputs, with or without special values."""
    shape = st.sampled_from([(2, 3), (3,), (1, 2), (), (2, 1, 3), (0, 2)])
    value = st.sampled_from(SPECIAL) if special else st.floats(0.1, 2.0)

    @st.composite
    def pair(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
        size = draw(shape)
        count = int(np.prod(size))
        values = draw(st.lists(value, min_size=2 * count, max_size=2 * count))
        both = np.array(values, np.float64).reshape((2, *size))
        return both[0], both[1]

    return pair()
