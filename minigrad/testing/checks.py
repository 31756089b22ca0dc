"""``check_grads``: any function's derivatives of any order against numerical ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.api.derivatives import jvp, vjp
from minigrad.api.tracing import trace
from minigrad.core.place import host
from minigrad.core.tensor import Tensor
from minigrad.dtypes import kind_of
from minigrad.errors import GradientMismatch
from minigrad.trees import flatten

from .compare import _input_arrays as input_arrays
from .compare import generator
from .numeric import Perturbed
from .retype import retyped

__all__ = ["check_grads"]

DIRECTIONS = 3


def check_grads(
    f: Callable[..., Any],
    args: Any,
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    *,
    rtol: float = 1e-8,
    seed: int = 0,
) -> None:
    """Check derivatives of ``f`` up to ``order`` against numerical ones.

    Each order is checked along three random directions, in reverse mode, forward mode or
    both; the next order checks the derivative as a function in its own right.

    Parameters
    ----------
    f
        A function of floating arrays; it is traced.
    args
        A tuple of arguments, or one array. Computed in float64.
    order
        1 for the gradient, 2 for the gradient of the gradient as well, ...
    modes
        "rev", "fwd" or both.
    rtol
        Tolerance relative to the size of the derivative.

    Raises
    ------
    GradientMismatch
        With order, mode, direction, and both values.
    """
    arguments = tuple(args) if isinstance(args, tuple | list) else (args,)
    rng = generator(seed)
    doubles = [_double(a) for a in arguments]
    _check(f, doubles, order, 1, tuple(modes), rtol, rng)


def _double(argument: Any) -> Any:
    leaves, tree = flatten(argument)
    arrays = [host(x.value if isinstance(x, Tensor) else x) for x in leaves]
    return tree.build([a.astype(np.float64) if kind_of(a.dtype) == "f" else a for a in arrays])


def _check(
    f: Callable[..., Any], args: list[Any], order: int, level: int, modes: tuple[str, ...],
    rtol: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    graph, _ = retyped(trace(f, *args), np.dtype(np.float64))
    arrays = [host(a) for a in input_arrays(graph, args)]
    shapes = [n.aval.shape for n in graph.outputs]
    cotangents = [np.asarray(rng.normal(size=s)) for s in shapes]
    base = Perturbed.values(graph, arrays)
    structure = graph.structure
    assert structure is not None
    for i, argument in enumerate(args):
        leaves, tree = flatten(argument)
        for _ in range(DIRECTIONS):
            v = [np.asarray(rng.normal(size=np.shape(x))) for x in leaves]
            expected = _numerical(graph, base, cotangents, args, i, v)
            if "rev" in modes:
                _, pull = vjp(f, *args)
                found = flatten(pull(structure.build(cotangents))[i])[0]
                value = sum(float(np.sum(np.asarray(g) * d)) for g, d in zip(found, v, strict=True))
                size = sum(float(np.linalg.norm(np.asarray(g))) for g in found)
                _agree(value, expected, size, rtol, level, "reverse", i)
            if "fwd" in modes:
                zeros = [_zeros(a) for a in args]
                zeros[i] = tree.build(v)
                tangents = flatten(jvp(f, tuple(args), tuple(zeros))[1])[0]
                value = sum(
                    float(np.sum(np.asarray(t) * c))
                    for t, c in zip(tangents, cotangents, strict=True)
                )
                _agree(value, expected, abs(value), rtol, level, "forward", i)
    if level < order:
        if "rev" in modes:
            _check(
                _pulled(f, structure.build(cotangents)), args, order, level + 1, modes, rtol, rng
            )
        if "fwd" in modes:
            along = tuple(_random_like(a, rng) for a in args)
            _check(_pushed(f, along), args, order, level + 1, modes, rtol, rng)


def _pulled(f: Callable[..., Any], cotangents: Any) -> Callable[..., Any]:
    return lambda *args: vjp(f, *args)[1](cotangents)


def _pushed(f: Callable[..., Any], tangents: Any) -> Callable[..., Any]:
    return lambda *args: jvp(f, args, tangents)[1]


def _zeros(argument: Any) -> Any:
    leaves, tree = flatten(argument)
    return tree.build([np.zeros(np.shape(x)) for x in leaves])


def _random_like(argument: Any, rng: np.random.Generator) -> Any:
    leaves, tree = flatten(argument)
    return tree.build([np.asarray(rng.normal(size=np.shape(x))) for x in leaves])


def _numerical(
    graph: Any, base: Any, cotangents: Any, args: list[Any], i: int, v: Sequence[Any]
) -> tuple[float, float]:
    """Return the derivative along ``v`` in argument ``i``, and its error."""
    before = sum(len(flatten(a)[0]) for a in args[:i])
    value = error = 0.0
    for k, direction in enumerate(v):
        found = Perturbed(graph, base, cotangents, graph.inputs[before + k]).derivative(direction)
        value, error = value + found.value, error + found.error
    return value, error


def _agree(
    value: float, expected: tuple[float, float], size: float, rtol: float, level: int, mode: str,
    i: int,
) -> None:  # fmt: skip
    number, error = expected
    allowed = rtol * max(size, abs(number)) + 10.0 * error + 1e-14
    if not abs(value - number) <= allowed:
        raise GradientMismatch(
            f"check_grads: order {level}, {mode} mode, argument {i}: the derivative along a random "
            f"direction is {value:.12g}, numerically {number:.12g} (within {error:.1e})",
            fix="compare_gradients names the step that is wrong",
        )
