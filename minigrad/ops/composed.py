"""Functions composed of primitives: moments, soft maxima, sigmoid. No rules, only formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import log as ln
from math import prod
from typing import Any, ParamSpec, TypeVar

from minigrad.core.apply import apply
from minigrad.core.door import as_tensor, beside, cast, module_of
from minigrad.core.late import call
from minigrad.core.node import Node
from minigrad.core.tape import INPUT, scope
from minigrad.core.tensor import Tensor
from minigrad.dtypes import result_type

from .analytic import exp, log, log1p, sqrt
from .arithmetic import abs, as_float, as_floats, astype, divide, signbit, stop_gradient
from .kinds import ArrayLike, axes_in
from .logic import equal, greater, greater_equal, isfinite, isinf, where
from .reductions import max
from .structural import reshape, reshape_p, sum

AxisLike = int | Sequence[int] | None
P = ParamSpec("P")
R = TypeVar("R")


def composed(function: Callable[P, R]) -> Callable[P, R]:
    """Record what the function does under its name, so that pictures can fold it."""

    @wraps(function)
    def scoped(*args: P.args, **kwargs: P.kwargs) -> R:
        with scope(function.__name__):
            return function(*args, **kwargs)

    return scoped


def _floating(x: ArrayLike) -> Tensor:
    return as_tensor(as_float(x))


def _both_floating(x1: ArrayLike, x2: ArrayLike) -> tuple[Tensor, Tensor]:
    a, b = as_floats(x1, x2)
    first: Tensor = beside(a, b) if isinstance(b, Tensor) else as_tensor(a)
    second = beside(b, first)
    common = result_type(first.dtype, second.dtype)
    return cast(first, common), cast(second, common)


def _count(x: Tensor, axis: AxisLike, what: str) -> int:
    return prod(x.shape[a] for a in axes_in(x, axis, what))


def mean(x: ArrayLike, axis: AxisLike = None, *, keepdims: bool = False) -> Tensor:
    """Return the mean over ``axis``, over everything if it is None.

    Integers and booleans are averaged in the default floating dtype.
    """
    x = _floating(x)
    return sum(x, axis, keepdims=keepdims) / float(_count(x, axis, "mean"))


def var(
    x: ArrayLike, axis: AxisLike = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Return the variance over ``axis``: the sum of squared deviations over n - correction."""
    x = _floating(x)
    centred = x - mean(x, axis, keepdims=True)
    n = _count(x, axis, "var") - correction
    return sum(centred * centred, axis, keepdims=keepdims) / float(n if n > 0 else 0)


def std(
    x: ArrayLike, axis: AxisLike = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Return the standard deviation over ``axis``: the square root of the variance."""
    return sqrt(var(x, axis, correction=correction, keepdims=keepdims))


@composed
def logsumexp(x: ArrayLike, axis: AxisLike = None, *, keepdims: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over ``axis``, without overflow."""
    x = _floating(x)
    top = stop_gradient(max(x, axis, keepdims=True))
    top = where(isfinite(top), top, 0.0)
    total = log(sum(exp(x - top), axis, keepdims=keepdims))
    return total + (top if keepdims else reshape(top, total.shape))


@composed
def softmax(x: ArrayLike, axis: int = -1) -> Tensor:
    """Return exp(x) / sum(exp(x)) along ``axis``, without overflow."""
    t = _floating(x)
    e = exp(t - stop_gradient(max(t, axis, keepdims=True)))
    return e / sum(e, axis, keepdims=True)


@composed
def log_softmax(x: ArrayLike, axis: int = -1) -> Tensor:
    """Return the logarithm of softmax along ``axis``, exact for small probabilities."""
    t = _floating(x)
    shifted = t - stop_gradient(max(t, axis, keepdims=True))
    return shifted - log(sum(exp(shifted), axis, keepdims=True))


@composed
def sigmoid(x: ArrayLike) -> Tensor:
    """Return 1 / (1 + exp(-x)), exact in both tails.

    Only exponentials of numbers up to 0 are taken, so nothing overflows, forward or back.
    """
    x = _floating(x)
    positive = greater_equal(x, 0)
    z = exp(where(positive, -x, x))
    return where(positive, 1.0, z) / (z + 1.0)


@composed
def copysign(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return the magnitude of x1 with the sign of x2, the sign of zero included.

    NaN counts as positive: its sign bit is not looked at.
    """
    a, b = _both_floating(x1, x2)
    size = abs(a)
    return where(signbit(b), -size, size)


def logaddexp(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return log(exp(x1) + exp(x2)), without overflow."""
    a, b = _both_floating(x1, x2)
    first = greater(a, b)
    high, low = where(first, a, b), where(first, b, a)
    return high + log1p(exp(where(equal(high, low) & isinf(high), 0.0, low - high)))


def log2(x: ArrayLike) -> Tensor:
    """Return the logarithm of x to base 2."""
    return log(x) / ln(2.0)


def log10(x: ArrayLike) -> Tensor:
    """Return the logarithm of x to base 10."""
    return log(x) / ln(10.0)


def hypot(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return sqrt(x1^2 + x2^2), without overflow in between; infinite beside an infinity.

    Only the larger operand loses its sign, so second derivatives at a zero are right.
    """
    a, b = _both_floating(x1, x2)
    infinite = isinf(a) | isinf(b)
    a, b = where(infinite, 1.0, a), where(infinite, 1.0, b)
    larger = greater(abs(a), abs(b))
    high, low = where(larger, a, b), where(larger, b, a)
    ratio = low / where(equal(high, 0), 1.0, high)
    return where(infinite, float("inf"), abs(high) * sqrt(ratio * ratio + 1.0))


def reciprocal(x: ArrayLike) -> Tensor:
    """Return 1 / x."""
    return divide(1.0, x)


def tag(x: ArrayLike, name: str) -> Tensor:
    """Name an intermediate result, and return it.

    The name shows in pictures and text, and is the key in
    ``mg.testing.compare_gradients(..., hand={"u": d_u})`` and ``graph.grad(["u"])``.
    """
    t = as_tensor(x)
    node = t.node
    if (node.name and node.name != name) or node.primitive.kind in ("leaf", "creation"):
        t = apply(reshape_p, (t,), {"shape": t.shape})  # a node of its own
        node = t.node
    node.name = name
    return t


def to(x: Tensor, target: Any) -> Tensor:
    """Return x with another dtype, or on another device (``"cpu"``, ``"cupy"``).

    A conversion of dtype is recorded. A move to another device is a copy without history.
    """
    place = target.partition(":")[0] if isinstance(target, str) else ""
    if place in ("cpu", "numpy", "cupy", "cuda", "gpu"):
        return _moved(x, "numpy" if place in ("cpu", "numpy") else "cupy")
    return astype(x, target)


def _moved(x: Tensor, library: str) -> Tensor:
    value = x.value
    if module_of(value).__name__ == library:
        return x
    array = call("move", value, library)
    node = x.node
    return Tensor(Node(INPUT, (), {}, node.aval, array, node.where, None, node.name))
