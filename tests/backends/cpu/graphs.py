"""Random graphs for compiled code: every kind of operation, dtype and movement, and gradients.

A program is a list of small steps that any list of numbers can mean, so it shrinks well; it
goes on from ``tests.passes.programs``. With whole numbers as inputs nearly every step is
exact, and then results must have the reference's bits, whatever the order of additions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.core import apply, registry
from minigrad.ops.windows import positions, windows

Step = tuple[str, int, int, int]
Tensor = Any

#: Elements: what grows beyond is summed up; windows and products do not begin above a part of it.
MOST = 6000
#: Magnitude above which a step's result is clipped, so that sums of products stay exact.
LARGE = 64

ROUNDED = ["exp", "tanh", "sin", "sigmoid", "erf", "log1p", "rsqrt", "cos", "expm1", "atan"]
EXACT = ["negative", "abs", "sign", "floor", "square", "round", "trunc", "ceil"]
SHAPES = [(), (1,), (7,), (33,), (70,), (3, 5), (17, 9), (1, 16), (5, 1), (64, 3), (31, 40),
          (2, 3, 4), (3, 1, 18), (4, 8, 8), (2, 3, 6, 7), (2, 4, 1, 5), (0, 3),
          (3, 0, 2)]  # fmt: skip


def _odd(x: Tensor) -> bool:
    return x.dtype.kind == "f"


def _unary(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.dtype.kind == "b":
        return ~x
    if not _odd(x):
        return [lambda: mg.abs(x), lambda: mg.negative(x), lambda: mg.square(x) % 50,
                lambda: ~x, lambda: mg.sign(x)][a % 5]()  # fmt: skip
    return getattr(mg, EXACT[a % len(EXACT)])(x)


def _rounded(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not _odd(x):
        return mg.astype(x, mg.float32) * 0.5
    name = ROUNDED[a % len(ROUNDED)]
    if name in ("log1p", "rsqrt"):
        return getattr(mg, name)(mg.square(x) + 0.5)
    return getattr(mg, name)(x * 0.25 if name in ("exp", "expm1") else x)


def _binary(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.dtype.kind == "b":
        return [lambda: x & other, lambda: x | other, lambda: x ^ other][a % 3]()
    name = ["add", "subtract", "multiply", "maximum", "minimum"][a % 5]
    return getattr(mg, name)(x, other) if b % 2 else getattr(mg, name)(other, x)


def _literal(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.dtype.kind == "b":
        return mg.where(x, 1.0, float(b))
    if not _odd(x):
        return [lambda: x + b, lambda: x * 3, lambda: x // (b % 5 + 1), lambda: x % (b % 7 + 1),
                lambda: x - 2, lambda: mg.abs(x) >> (b % 3), lambda: x & 5,
                lambda: mg.floor_divide(x, other),
                lambda: mg.remainder(x, other)][a % 9]()  # fmt: skip
    value = [1.0, -1.0, 2.0, 0.5, -4.0, 3.0, 0.0][b % 7]
    return [lambda: x + value, lambda: value - x, lambda: x * value, lambda: x / 2.0,
            lambda: mg.maximum(x, value)][a % 5]()  # fmt: skip


def _compare(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    test = [x > other, x <= other, x == other, x != other][a % 4]
    if b % 3 == 0:
        return test
    if x.dtype.kind == "b":
        return mg.where(test, x, other)
    return mg.where(test, x, 0.0 if b % 3 == 1 and _odd(x) else other)


def _cast(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if _odd(x):
        if a % 3 == 0:
            return mg.astype(mg.clip(mg.where(mg.isfinite(x), x, 1.0), -20.0, 20.0), mg.int32)
        kinds = (mg.float64, mg.float32)
        return mg.astype(x, kinds[a % 2])
    if x.dtype.kind == "b":
        return mg.astype(x, [mg.float32, mg.int32, mg.float64, mg.uint8][a % 4])
    return mg.astype(x, [mg.float32, mg.float64, mg.bool, mg.int64, mg.int16][a % 5])


def _reduce(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    axes = tuple(i for i in range(x.ndim) if b >> i & 1) or None
    if x.dtype.kind == "b":
        return getattr(mg, ["any", "all"][a % 2])(x, axes, keepdims=a % 4 > 1)
    name = ["sum", "max", "min", "sum", "mean", "sum"][a % 6]
    if 0 in x.shape and name != "sum":
        return x
    if name == "mean" and not _odd(x):
        name = "sum"
    return getattr(mg, name)(x, axes, keepdims=a % 4 > 1)


def _prod(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.dtype.kind == "b" or not x.ndim:
        return x
    return mg.prod(mg.clip(x, 0, 1) if a % 2 else mg.sign(x), b % x.ndim, keepdims=bool(a % 3))


def _position(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not x.ndim or x.shape[b % x.ndim] == 0 or x.dtype.kind == "b":
        return x
    axis = b % x.ndim
    if a % 4 == 0:
        return mg.argmax(x, axis, keepdims=bool(a % 8))
    if a % 4 == 1:
        return mg.argmin(x, axis, keepdims=bool(a % 8))
    if a % 4 == 2:
        return mg.sort(x, axis=axis, descending=bool(b % 3))
    return mg.cumulative_sum(x, axis=axis)


def _reshape(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    shape = list(x.shape)
    if a % 5 == 0 or not shape:
        return mg.reshape(x, (-1,) if x.size else (x.size,))
    i = b % len(shape)
    if a % 5 == 1:
        return mg.expand_dims(x, axis=i) if x.ndim < 5 else x
    if a % 5 == 2 and len(shape) > 1:  # join two axes
        j = min(i, len(shape) - 2)
        return mg.reshape(x, (*shape[:j], shape[j] * shape[j + 1], *shape[j + 2 :]))
    n = shape[i]
    factor = next((f for f in (2, 3, 4, 5, 8, 16) if n and n % f == 0 and f < n), None)
    if factor and x.ndim < 5:  # cut one
        pair = (factor, n // factor) if b % 2 else (n // factor, factor)
        return mg.reshape(x, (*shape[:i], *pair, *shape[i + 1 :]))
    return mg.reshape(x, tuple(reversed(shape)))  # neither: it mixes all


def _permute(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    axes = np.random.default_rng(a + 24 * b).permutation(x.ndim)
    return apply(registry["permute_dims"], (x,), {"axes": tuple(int(i) for i in axes)})


def _broadcast(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    sizes = (3, 17, 2, 9)
    shape = tuple(sizes[a % 4] if n == 1 and b % 3 else n for n in x.shape)
    more = (sizes[b % 4],) if x.ndim < 4 and a % 3 else ()
    return x if prod(shape) * prod(more) > MOST else mg.broadcast_to(x, (*more, *shape))


def _meet(x: Tensor, a: int, b: int, other: Tensor, pool: Sequence[Tensor]) -> Tensor:
    """Combine with whatever broadcasts against x."""
    for y in reversed(pool):
        try:
            shape = np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            continue
        if y.shape != x.shape and prod(shape) <= MOST and "b" not in (x.dtype.kind, y.dtype.kind):
            return [lambda y=y: x + y, lambda y=y: y - x, lambda y=y: x * y,
                    lambda y=y: mg.where(x > y, x, y)][a % 4]()  # fmt: skip
    return x


def _slice(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    keys = [slice(None), slice(None, None, -1), slice(1, None), slice(None, None, 2), slice(0, 1),
            slice(None, -1), slice(1, None, 3), slice(-1, None)]  # fmt: skip
    at = [slice(None)] * x.ndim
    if at:
        at[b % x.ndim] = keys[a % 8]
        at[a % x.ndim] = keys[b % 8] if x.shape[a % x.ndim] > 2 else slice(None)
    return x[tuple(at)]


def _pad(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    inner = tuple((a + i) % 3 if b % 2 else 0 for i in range(x.ndim))
    low = tuple((a + i) % 2 for i in range(x.ndim))
    high = tuple((b + i) % 3 for i in range(x.ndim))
    size = prod(n + k * max(n - 1, 0) + lo + hi
                for n, k, lo, hi in zip(x.shape, inner, low, high, strict=True))  # fmt: skip
    if size > MOST:
        return x
    value = a % 2 if x.dtype.kind == "b" else [0, 1, -3][b % 3]
    if x.dtype.kind == "u":
        value = abs(value)
    params = {"low": low, "high": high, "inner": inner, "value": value}
    return apply(registry["pad"], (x,), params)


def _flip(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not x.ndim:
        return x
    return mg.flip(x, axis=a % x.ndim) if b % 2 else mg.roll(x, b % 5, axis=a % x.ndim)


def _concat(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.size > MOST // 4:
        return x
    if a % 3 == 0:
        return mg.stack([x, other], axis=b % (x.ndim + 1)) if x.ndim < 5 else x
    if not x.ndim:
        return x
    parts = [x, other, x] if a % 3 == 1 else [mg.flip(x), x]
    return mg.concat(parts, axis=b % x.ndim)


def _matmul(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not x.ndim or x.dtype.kind == "b" or x.size > 2500:
        return x
    if a % 2 or x.ndim < 2:
        columns = (1, 2, 5, 16, 17, 33, 64)[b % 7]
        values = np.random.default_rng(a).integers(-2, 3, (x.shape[-1], columns))
        y = x @ mg.tensor(np.abs(values).astype(x.dtype))
        return [lambda: y, lambda: mg.maximum(y, 1),
                lambda: y + other if y.shape == x.shape else -y,
                lambda: mg.matrix_transpose(y) if y.ndim > 1 else y][a % 4]()  # fmt: skip
    t = mg.matrix_transpose(other)
    found = [lambda: x @ t, lambda: t @ x, lambda: mg.einsum("...ij,...kj->...ik", x, other),
             lambda: x[..., :1, :] @ t, lambda: x @ t[..., :1]][a // 2 % 5]  # fmt: skip
    n, m = x.shape[-2:]
    batch = prod(x.shape[:-2])
    return found() if batch * max(n * n, m * m) <= MOST else x


def _convolve(x: Tensor, a: int, b: int, other: Tensor, pool: Sequence[Tensor]) -> Tensor:
    if not _odd(x) or 0 in x.shape or x.size > 1500:
        return x
    n = 1 + (x.ndim == 4)
    if x.ndim < 2 or x.ndim > 4 or min(x.shape[-n:]) < 3:
        return x
    x = x[None] if x.ndim == 2 else x
    channels = x.shape[1]
    if channels > 8:
        return x
    size = (2, 3, 1)[a % 3]
    out = (1, 3, 4, 5)[b % 4]
    rng = np.random.default_rng(a + 24 * b)
    w = mg.tensor(rng.integers(-2, 3, (out, channels, *[size] * n)).astype(x.dtype))
    stride, dilation, padding = 1 + a % 2, 1 + (b % 3 == 2), b % 2
    if min(x.shape[2:]) + 2 * padding < dilation * (size - 1) + 1:
        return x
    convolve = F.conv1d if n == 1 else F.conv2d
    y = convolve(x, w, None, stride, padding, dilation)
    return F.relu(y) if a % 4 == 3 else y


def _pool(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not _odd(x) or x.ndim not in (3, 4) or 0 in x.shape or min(x.shape[2:]) < 3:
        return x
    size, stride = 2 + a % 2, 1 + b % 3
    if x.ndim == 3:
        return (F.max_pool1d if a % 4 > 1 else F.avg_pool1d)(x, size, stride, padding=b % 2)
    return (F.max_pool2d if a % 4 > 1 else F.avg_pool2d)(x, size, stride, padding=b % 2)


def _take(x: Tensor, a: int, b: int, other: Tensor, pool: Sequence[Tensor]) -> Tensor:
    if not x.ndim or 0 in x.shape:
        return x
    axis = b % x.ndim
    n = x.shape[axis]
    whole = next((p for p in reversed(pool) if p.dtype.kind == "i" and 0 < p.size < 20), None)
    if a % 3 == 0 or whole is None:
        return mg.take(x, np.array([a, a + 1, -1]) % n, axis=axis)
    if a % 3 == 1 and x.dtype.kind != "b":
        order = mg.argsort(x, axis=axis)
        return mg.take_along_axis(x, order, axis=axis)
    index = mg.remainder(whole, n)
    return mg.take(x, index, axis=axis) if x.size // n * index.size <= MOST else x


def _scatter(x: Tensor, a: int, b: int, other: Tensor, pool: Sequence[Tensor]) -> Tensor:
    if not x.ndim or 0 in x.shape or x.dtype.kind == "b":
        return x
    axis, n = b % x.ndim, 1 + a
    index = mg.tensor((np.arange(x.shape[axis]) * (a + 1) // 2) % n)
    return apply(registry["scatter_add"], (x, index), {"axis": axis, "n": n})


def _windows(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not x.ndim or x.ndim > 3 or x.dtype.kind == "b":
        return x
    axes = tuple(range(x.ndim))[-(1 + b % 2) :]
    size, stride, dilation = 1 + a % 3, 1 + a % 4, 1 + b % 2
    if any(x.shape[i] < dilation * (size - 1) + 1 for i in axes):
        return x
    many = {"axes": axes, "sizes": (size,) * len(axes), "strides": (stride,) * len(axes),
            "dilations": (dilation,) * len(axes)}  # fmt: skip
    count = prod(positions(x.shape[i], size, stride, dilation) for i in axes) * size ** len(axes)
    if x.size // prod(x.shape[i] for i in axes or (0,)) * count > MOST if x.size else False:
        return x
    found = windows(x, **many)
    if a % 2:
        return found
    return apply(registry["fold_windows"], (found,), {**many, "shape": x.shape})


def _triangle(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.ndim < 2 or x.dtype.kind == "b":
        return x
    return (mg.tril if a % 2 else mg.triu)(x, k=b % 3 - 1)


def _random(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not _odd(x):
        return mg.random.randint(0, 5, x.shape) if a % 2 else x
    if a % 3 == 0:
        return x * mg.astype(mg.random.bernoulli(0.5, x.shape), x.dtype)
    if a % 3 == 1:
        return F.dropout(x, 0.5)
    return mg.where(mg.random.uniform(x.shape, dtype=x.dtype) < 0.5, x, other)


def _composed(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if not _odd(x) or not x.ndim or 0 in x.shape:
        return x
    axis = b % x.ndim
    centred = x - mg.mean(x, axis, keepdims=True)
    return [
        lambda: mg.softmax(x, axis),
        lambda: mg.logsumexp(x, axis, keepdims=True),
        lambda: centred * mg.rsqrt(mg.mean(centred * centred, axis, keepdims=True) + 0.1),
        lambda: mg.log_softmax(x, axis),
        lambda: F.gelu(x),
        lambda: F.layer_norm(x, x.shape[-1:]),
    ][a % 6]()


def _statistics(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    """Return a normalisation that is exact: by sums, without a division or a root."""
    if x.dtype.kind == "b" or not x.ndim:
        return x
    axes = tuple(i for i in range(x.ndim) if (a + 1) >> i & 1) or (0,)
    total = mg.sum(x, axes, keepdims=True, dtype=x.dtype)
    return x - total if b % 2 else x * total + total


def _mark(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if a % 3 == 0:
        return mg.tag(x, f"tag{a}")
    return mg.stop_gradient(x) if a % 3 == 1 else mg.zeros_like(x)


def _constant(x: Tensor, a: int, b: int, other: Tensor) -> Tensor:
    if x.dtype.kind == "b":
        return x
    values = (np.arange(x.size) % (a + 2)).reshape(x.shape[::-1]).T.astype(x.dtype)
    index = mg.arange(x.shape[-1] if x.ndim else 1, dtype=x.dtype)
    return x + values if b % 2 else mg.where(index % 3 == 1, x, 1)


Made = Callable[..., Tensor]
#: Steps that keep whole numbers whole, and those that round.
WHOLE: dict[str, Made] = {
    "unary": _unary, "binary": _binary, "literal": _literal, "compare": _compare, "cast": _cast,
    "reduce": _reduce, "prod": _prod, "position": _position, "reshape": _reshape,
    "permute": _permute, "broadcast": _broadcast, "meet": _meet, "slice": _slice, "pad": _pad,
    "flip": _flip, "concat": _concat, "matmul": _matmul, "convolve": _convolve, "take": _take,
    "scatter": _scatter, "windows": _windows, "triangle": _triangle, "random": _random,
    "statistics": _statistics, "mark": _mark, "constant": _constant,
}  # fmt: skip
STEPS: dict[str, Made] = {**WHOLE, "rounded": _rounded, "pool": _pool, "composed": _composed}
#: Steps with jumps: small differences may become large, so they stand among exact ones only.
JUMPS = {"compare", "cast", "position", "random", "unary", "take", "prod"}
_WITH_POOL = {"meet", "convolve", "take", "scatter"}


@dataclass(frozen=True)
class Case:
    """A program, the arrays that it takes, and how many times it is differentiated."""

    steps: tuple[Step, ...]
    arrays: tuple[np.ndarray, ...]
    order: int
    exact: bool

    def function(self) -> Callable[..., Any]:
        """Return the program, or its gradient with respect to its floating arguments."""
        clipped = self._clipped()

        def run(*args: Any) -> tuple[Tensor, ...]:
            return _run(self.steps, args, clipped)

        return _differentiated(run, self.order, len(self.arrays))

    def _clipped(self) -> tuple[bool, ...]:
        """Return after which steps the numbers are too large to stay exact."""
        found: list[bool] = []
        mg.random.seed(0)
        with mg.no_grad(), np.errstate(all="ignore"):
            _run(self.steps, self.arrays, (), found)
        return tuple(found)


def _run(
    steps: Sequence[Step], args: Sequence[Any], clipped: Sequence[bool],
    note: list[bool] | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    pool = [mg.asarray(x) for x in args]
    for number, (name, which, a, b) in enumerate(steps):
        x = pool[-1 - which % min(len(pool), 5)]
        other = next(
            (p for p in pool if p.shape == x.shape and p.dtype == x.dtype and p is not x), x
        )
        made = STEPS[name](x, a, b, other, *([pool] if name in _WITH_POOL else []))
        if made.size > MOST:
            made = mg.any(made) if made.dtype.kind == "b" else mg.sum(made)
        if made.dtype.kind != "b":
            if note is not None:
                values = np.asarray(made)
                large = values[np.isfinite(values)]
                note.append(bool(large.size and np.abs(large.astype(float)).max() > LARGE))
            if (note or clipped)[number]:
                made = mg.clip(made, 0 if made.dtype.kind == "u" else -8, 8)
        elif note is not None:
            note.append(False)
        pool.append(made)
    return tuple(pool[len(args) :][-3:]) or (pool[0],)


def _loss(outputs: Sequence[Tensor]) -> Tensor | None:
    total = None
    for i, y in enumerate(outputs):
        if y.dtype.kind == "f":
            part = mg.sum(mg.astype(y, mg.float64) * float(i + 1))
            total = part if total is None else total + part
    return total


def _differentiated(run: Callable[..., Any], order: int, count: int) -> Callable[..., Any]:
    if order == 0:
        return run

    def loss(*args: Any) -> Tensor:
        found = _loss(run(*args))
        start = mg.sum(mg.astype(args[0], mg.float64)) * 0.0
        return start if found is None else found + start

    gradient = mg.grad(loss, (0, 1))
    if order == 1:
        return lambda *args: (loss(*args), *gradient(*args))

    def again(*args: Any) -> Tensor:
        first = gradient(*args)
        return sum(mg.sum(mg.astype(g * g, mg.float64)) for g in first)

    return lambda *args: (*gradient(*args), *mg.grad(again, (0, 1))(*args))


SPECIAL = [0.0, -0.0, 1.0, -2.0, np.inf, -np.inf, np.nan, 1e-42, 3.0]


def _viewed(array: np.ndarray, how: int) -> np.ndarray:
    """Return equal values in memory of another layout."""
    if how == 1:
        return np.asfortranarray(array)
    if how == 2 and array.ndim:
        return array[::-1].copy()[::-1]
    if how == 3 and array.ndim:
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    if how == 4 and array.ndim and array.shape[0] > 1:
        return np.ascontiguousarray(array.T).T
    return array


def _shape(rng: np.random.Generator) -> tuple[int, ...]:
    """Return a shape: of the list, or a vector, a matrix or a stack of images of odd sizes."""
    n, m, k = (int(i) for i in rng.integers(1, 71, 3))
    return [
        SHAPES[n % len(SHAPES)], (n,), (n, m), (n, m), (n % 5 + 1, m % 5 + 1, k % 18 + 3),
        (n % 3 + 1, m % 6 + 1, k % 12 + 3, (n + m) % 14 + 3),
    ][int(rng.integers(6))]  # fmt: skip


def case_of(
    rng: np.random.Generator, shape: tuple[int, ...], steps: Sequence[Step], *, exact: bool,
    order: int, special: bool,
) -> Case:  # fmt: skip
    """Return a case with inputs drawn from a generator: numbers, whole numbers, truth values."""
    dtype = (np.float32, np.float64)[int(rng.integers(2))]
    low = shape[-1:] if rng.random() < 0.5 else shape
    if special:
        floats = [np.asarray(rng.choice(SPECIAL, s), dtype) for s in (shape, low)]
    elif exact:
        floats = [np.asarray(rng.integers(-3, 4, s), dtype) for s in (shape, low)]
    else:
        floats = [np.asarray(rng.uniform(0.2, 1.5, s), dtype) for s in (shape, low)]
    others = []
    if rng.random() < 0.4:
        kind = (np.int32, np.int64, np.uint8, np.int8)[int(rng.integers(4))]
        others.append(np.asarray(rng.integers(0 if kind is np.uint8 else -9, 10, shape), kind))
    if rng.random() < 0.4:
        others.append(np.asarray(rng.random(shape) < 0.5))
    if rng.random() < 0.5:
        others.reverse()
    arrays = [*others, *floats] if order == 0 and rng.random() < 0.5 else [*floats, *others]
    viewed = [_viewed(np.asarray(a), int(rng.integers(5))) for a in arrays]
    return Case(tuple(steps), tuple(viewed), order, exact)


def kinds_of(exact: bool) -> list[str]:
    """Return the names of steps, those that stand for much code several times."""
    found = list(WHOLE) if exact else [k for k in STEPS if k not in JUMPS]
    found += ["matmul", "convolve"] * 4 + ["reduce", "statistics"] * 3
    return found if exact else found + ["composed", "rounded"] * 2


def seeded(
    seed: int, *, exact: bool, order: int = 0, special: bool = False, most: int = 12
) -> Case:
    """Return the case that a seed stands for."""
    rng = np.random.default_rng(seed)
    names = rng.choice(kinds_of(exact), int(rng.integers(1, most + 1)))
    steps = [(str(n), *(int(i) for i in rng.integers(0, 24, 3))) for n in names]
    return case_of(rng, _shape(rng), steps, exact=exact, order=order, special=special)


@st.composite
def cases(
    draw: st.DrawFn, *, exact: bool, order: int = 0, special: bool = False, most: int = 12
) -> Case:
    """Return a strategy for programs with their inputs.

    What Hypothesis draws step by step is short, and shrinks; of most cases it draws the
    seed alone, which gives long ones.
    """
    how: dict[str, Any] = {"exact": exact, "order": order, "special": special}
    seed = draw(st.integers(0, 2**48))
    if draw(st.integers(0, 3)):
        return seeded(seed, most=most, **how)
    number = st.integers(0, 23)
    step = st.tuples(st.sampled_from(kinds_of(exact)), number, number, number)
    steps = draw(st.lists(step, min_size=1, max_size=most))
    return case_of(np.random.default_rng(seed), draw(st.sampled_from(SHAPES)), steps, **how)
