"""What may have gone wrong in a hand-written gradient: the usual mistakes, tried in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod

import numpy as np

from minigrad.dtypes import Array
from minigrad.shapes import Shape

__all__ = ["diagnose"]

#: How closely a mistake must explain the difference before it is named.
_FIT = 1e-6


def diagnose(
    hand: Array, auto: Array, parts: Mapping[str, Array], sizes: Sequence[int]
) -> str | None:
    """Return the mistake that explains the difference, in words, or None.

    Parameters
    ----------
    hand, auto
        The hand-written gradient and the automatic one.
    parts
        The part of the automatic gradient that arrives through each tagged intermediate.
    sizes
        Sizes of axes, which may have been confused with one less: m and m - 1.
    """
    if hand.shape != auto.shape:
        return _shape_mistake(hand, auto)
    bad = int(np.count_nonzero(~np.isfinite(hand)))
    if bad:
        return f"{bad} of {hand.size} elements are not finite numbers"
    narrow = _narrow(hand, auto)
    if narrow or _close(hand, auto):
        return narrow
    factor = _factor(hand, auto)
    if factor is not None:
        return _name_factor(factor, sizes)
    residual = hand - auto
    for name, part in parts.items():
        if not _close(part, np.zeros_like(part), scale=auto):
            share = _factor(residual, part)
            if share is not None:
                return _name_part(name, 1.0 + share, sizes)
    if hand.ndim == 2 and hand.shape[0] == hand.shape[1] and _close(hand.T, auto):
        return "it is transposed"
    for axis, n in enumerate(auto.shape):
        if n > 1 and _close(np.broadcast_to(hand.sum(axis, keepdims=True), auto.shape), auto):
            return f"a sum over axis {axis} is missing"
    return None


def _narrow(hand: Array, auto: Array) -> str | None:
    """Return the narrow dtype in which a nearly right gradient was computed, in words."""
    for dtype in (np.float16, np.float32):
        near = 10.0 * float(np.finfo(dtype).eps) * float(np.max(np.abs(auto), initial=0.0))
        with np.errstate(over="ignore"):
            fits = np.array_equal(hand.astype(dtype), hand)
        if fits and np.max(np.abs(hand - auto), initial=0.0) <= near:
            return f"it was computed in {np.dtype(dtype)}"
    return None


def _shape_mistake(hand: Array, auto: Array) -> str:
    extra = hand.ndim - auto.ndim
    for count in range(1, hand.ndim + 1):
        for axes in combinations(range(hand.ndim), count):
            for keepdims in (False, True):
                total = hand.sum(axes, keepdims=keepdims)
                if total.shape == auto.shape and _close(total, auto):
                    named = f"axis {axes[0]}" if count == 1 else f"axes {axes}"
                    return f"a sum over {named} is missing"
    if hand.size == auto.size:
        if _close(hand.reshape(auto.shape), auto):
            return f"it has shape {hand.shape} instead of {auto.shape}"
        if hand.ndim == 2 and _close(hand.T, auto):
            return "it is transposed"
    grown = [m in (1, n) for n, m in zip(hand.shape, auto.shape, strict=False)]
    if not extra and all(grown) and _close(hand, np.broadcast_to(auto, hand.shape)):
        return f"it was repeated from {auto.shape} to {hand.shape}"
    why = "more" if extra > 0 or prod(hand.shape) > prod(auto.shape) else "fewer"
    return f"it has shape {hand.shape}, {why} elements than {auto.shape}"


def _close(a: Array, b: Array, scale: Array | None = None) -> bool:
    if not a.size:
        return True
    reach = float(np.max(np.abs(b if scale is None else scale)))
    return bool(np.max(np.abs(a - b)) <= _FIT * reach)


def _factor(a: Array, b: Array) -> float | None:
    """Return c if a = c b, element by element."""
    square = float(np.sum(b * b))
    if not square:
        return None
    c = float(np.sum(a * b)) / square
    return c if np.max(np.abs(a - c * b), initial=0.0) <= _FIT * np.max(np.abs(a)) else None


def _name_factor(c: float, sizes: Sequence[int]) -> str:
    if abs(c) < _FIT:
        return "it is zero"
    if abs(c + 1.0) < _FIT:
        return "the sign is wrong"
    return f"a factor of {_fraction(c, sizes)} too much"


def _name_part(name: str, share: float, sizes: Sequence[int]) -> str:
    """Say what is wrong with the part of a gradient that arrives through ``name``."""
    if abs(share) < _FIT:
        return f"the path through {name!r} is missing"
    if abs(share + 1.0) < _FIT:
        return f"the sign of the path through {name!r} is wrong"
    return f"the path through {name!r} has a factor of {_fraction(share, sizes)} too much"


def _fraction(c: float, sizes: Sequence[int]) -> str:
    """Return a factor in the terms of the formula: 2, 1/6, 6/5 for m / (m - 1)."""
    for n in dict.fromkeys(int(s) for s in sizes if s > 1):
        for text, value in (
            (f"{n}/{n - 1}, as of m and m - 1,", n / (n - 1)),
            (f"{n - 1}/{n}, as of m - 1 and m,", (n - 1) / n),
            (f"{n}", float(n)),
            (f"1/{n}", 1.0 / n),
        ):
            if abs(c - value) < _FIT * abs(value) and n - 1 > 0:
                return text
    for q in range(1, 5):
        if abs(c * q - round(c * q)) < _FIT:
            return f"{round(c * q)}" if q == 1 else f"{round(c * q)}/{q}"
    return f"{c:.6g}"


def axis_sizes(shapes: Sequence[Shape]) -> list[int]:
    """Return the sizes that a formula may count over: single axes, then products of two."""
    single = [n for shape in shapes for n in shape]
    pairs = [prod(p) for shape in shapes for p in combinations(shape, 2)]
    return list(dict.fromkeys([*single, *pairs, *(prod(s) for s in shapes)]))


__all__ += ["axis_sizes"]
