"""Oracles shared by the tests against hand-derived formulas; nothing of the engine's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def assert_close(found: Any, wanted: Any, **tolerance: float) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    np.testing.assert_allclose(found, wanted, **{**CLOSE, **tolerance})


def assert_value_and_vjp(
    f: Callable[..., Any],
    args: Sequence[Any],
    value: Any,
    cotangent: Any,
    gradients: Sequence[Any],
    **tolerance: float,
) -> None:
    """Compare a function's value and its pullback with what was derived by hand."""
    out, pullback = mg.vjp(f, *args)
    assert_close(out, value, **tolerance)
    for found, wanted in zip(pullback(cotangent), gradients, strict=True):
        assert_close(found, wanted, **tolerance)


def numerical_vjp(
    f: Callable[..., Any], args: Sequence[Any], cotangent: Any, step: float = 1e-6
) -> list[Any]:
    """Return the gradients of <cotangent, f> by central differences, element by element."""
    gradients = []
    for i, arg in enumerate(args):
        gradient = np.zeros_like(arg)
        for at in np.ndindex(arg.shape):
            ends = []
            for sign in (1.0, -1.0):
                moved = [np.array(a) for a in args]
                moved[i][at] += sign * step
                ends.append(np.sum(np.asarray(f(*moved)) * cotangent))
            gradient[at] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def second_derivative(f: Callable[..., Any], x: Any) -> Any:
    """Return the elementwise second derivative of an elementwise function."""
    return mg.grad(lambda t: mg.grad(lambda s: mg.sum(f(s)))(t).sum())(x)
