"""How the polynomials of ``backends/cpu/vectormath`` were found: ``tests/benchmarks/fit.py``.

Needs mpmath (``pip install mpmath``), and minutes. Prints each table, highest power first,
with the weighted error before and after rounding. Remez exchange on a grid of Chebyshev
points finds the minimax polynomial for a weight; its lowest coefficient is rounded to the
dtype, and the others are fitted again with it fixed, until none is left.
"""

# ruff: noqa: T201
from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import mpmath
from mpmath import mpf

mpmath.mp.dps = 50
Function = Callable[[Any], Any]


class Fit(NamedTuple):
    """A function, the weight of its error, where, and with how many coefficients."""

    name: str
    function: Function
    weight: Function
    low: Any
    high: Any
    single: int
    double: int


def rounded(x: Any, single: bool) -> Any:
    """Return a number rounded to float32 or float64."""
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0] if single else float(x))


def minimax(
    points: Sequence[Any], wanted: Sequence[Any], weights: Sequence[Any], powers: Sequence[int]
) -> tuple[list[Any], float]:
    """Return coefficients of some powers, and the largest weighted error on the points."""
    size = len(powers) + 1
    at = [round((i + 0.5) * (len(points) - 1) / size) for i in range(size)]
    best: tuple[list[Any], float] = ([], math.inf)
    for _ in range(30):
        rows = [
            [weights[i] * points[i] ** p for p in powers] + [mpf(-1) ** r] for r, i in enumerate(at)
        ]
        right = mpmath.matrix([weights[i] * wanted[i] for i in at])
        found = list(mpmath.lu_solve(mpmath.matrix(rows), right))[:-1]
        errors = [
            float(w * (sum(c * x**p for c, p in zip(found, powers, strict=True)) - y))
            for x, y, w in zip(points, wanted, weights, strict=True)
        ]
        worst = max(map(abs, errors))
        if worst < best[1]:
            best = found, worst
        turns = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(errors)) if a * b < 0)]
        spans = pairwise([*turns, len(errors)])
        peaks = [max(range(a, b), key=lambda i: abs(errors[i])) for a, b in spans]
        if len(peaks) < size:
            break  # as good as the grid shows
        while len(peaks) > size:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if peaks == at:
            break
        at = peaks
    return best


def coefficients(fit: Fit, single: bool, grid: int = 800) -> tuple[list[float], float, float]:
    """Return rounded coefficients, lowest first, and the error before and after rounding."""
    angles = [mpmath.pi * i / (grid - 1) for i in range(grid)]
    points = [fit.low + (fit.high - fit.low) * (1 - mpmath.cos(a)) / 2 for a in angles]
    points = [x for x in points if x != 0]
    values, weights = [fit.function(x) for x in points], [abs(fit.weight(x)) for x in points]
    powers = list(range(fit.single if single else fit.double))
    fixed: list[Any] = []
    ideal = 0.0
    rest = list(values)
    while powers:
        found, error = minimax(points, rest, weights, powers)
        ideal = ideal or error
        power, c = powers.pop(0), rounded(found[0], single)
        fixed.append(c)
        rest = [y - c * x**power for x, y in zip(points, rest, strict=True)]
    return (
        [float(c) for c in fixed],
        ideal,
        max(float(w * abs(y)) for w, y in zip(weights, rest, strict=True)),
    )


HALF_LN2 = mpmath.log(2) / 2 * mpf("1.0005")  # n may be one beside the nearest
QUARTER = (mpmath.pi / 4 * mpf("1.001")) ** 2
S = 3 - 2 * mpmath.sqrt(2)  # s = f / (2 + f) at the ends
ROOT = mpmath.sqrt(mpf(1) / 2)


def even(f: Function) -> Function:
    """Return a function of x^2 from one of x."""
    return lambda z: f(mpmath.sqrt(z))


FITS = [
    Fit("expm1", lambda r: (mpmath.expm1(r) - r) / r**2, lambda r: r**2 / mpmath.expm1(r),
        -HALF_LN2, HALF_LN2, 5, 11),
    Fit("exp", lambda r: (mpmath.expm1(r) - r) / r**2, lambda r: r**2 / mpmath.exp(r),
        -HALF_LN2, HALF_LN2, 0, 10),
    Fit("log", lambda f: (mpmath.log1p(f) - f + f * f / 2) / f**3,
        lambda f: f**3 / mpmath.log1p(f), ROOT - 1, 2 * ROOT - 1, 8, 0),
    Fit("log", even(lambda s: (2 * mpmath.atanh(s) - 2 * s) / s**3),
        even(lambda s: s**3 / (2 * mpmath.atanh(s))), mpf(0), S**2, 0, 7),
    Fit("log2 of pow", even(lambda s: 2 * mpmath.atanh(s) / s / mpmath.log(2)),
        even(lambda s: s / mpmath.atanh(s) / 2), mpf(0), S**2, 0, 6),
    Fit("2^r of pow", lambda r: (mpf(2) ** r - 1) / r, lambda r: r / mpf(2) ** r,
        mpf("-0.5001"), mpf("0.5001"), 0, 7),
    Fit("sin", even(lambda r: (mpmath.sin(r) - r) / r**3), even(lambda r: r**3 / mpmath.sin(r)),
        mpf(0), QUARTER, 3, 6),
    Fit("cos", even(lambda r: (mpmath.cos(r) - 1 + r * r / 2) / r**4),
        even(lambda r: r**4 / mpmath.cos(r)), mpf(0), QUARTER, 3, 6),
    Fit("erf near 0", even(lambda x: mpmath.erf(x) / x - 1),
        even(lambda x: x / mpmath.erf(x)), mpf(0), mpf("0.86") ** 2, 6, 0),
    Fit("erf near 0", even(lambda x: mpmath.erf(x) / x - 1),
        even(lambda x: x / mpmath.erf(x)), mpf(0), mpf(1), 0, 13),
    Fit("erf further out", lambda t: mpmath.log(mpmath.erfc(t)),
        lambda t: mpmath.erfc(t) / mpmath.erf(t), mpf("0.84"), mpf(4), 7, 0),
    Fit("erf further out", lambda t: mpmath.log(mpmath.erfc(t + 1)),
        lambda t: mpmath.erfc(t + 1) / mpmath.erf(t + 1), mpf(0), mpf("4.95"), 0, 19),
]  # fmt: skip

if __name__ == "__main__":
    for fit in FITS:
        for single, count in ((True, fit.single), (False, fit.double)):
            if count:
                found, ideal, error = coefficients(fit, single)
                digits = "float32" if single else "float64"
                print(f"{fit.name}, {digits}: 2^{math.log2(ideal):.2f}, 2^{math.log2(error):.2f}")
                print("   ", ", ".join(map(repr, reversed(found))), flush=True)
