"""Sliding windows and their transpose. Convolution and pooling stand on these two.

Because a convolution is "windows, then a matrix product", its gradients with respect
to input and weights are derived like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.place import module_of
from minigrad.core.primitive import NUMERIC, Primitive, Sample, check_kind
from minigrad.core.tensor import Tensor
from minigrad.errors import ShapeError
from minigrad.shapes import Axes, Shape

from .kinds import structural

Ints = tuple[int, ...]


def positions(n: int, size: int, stride: int, dilation: int) -> int:
    """Return how many windows of ``size`` fit along an axis of ``n`` elements."""
    return max(0, (n - dilation * (size - 1) - 1) // stride + 1)


def _windows_aval(x: Aval, *, axes: Axes, sizes: Ints, strides: Ints, dilations: Ints) -> Aval:
    shape = list(x.shape)
    for a, k, s, d in zip(axes, sizes, strides, dilations, strict=True):
        if min(k, s, d) < 1:
            raise ShapeError(
                f"windows: size {k}, stride {s} and dilation {d} must be at least 1",
                fix="use at least 1 for each",
            )
        if d * (k - 1) + 1 > x.shape[a]:
            raise ShapeError(
                f"windows: a window of {d * (k - 1) + 1} elements does not fit axis {a} of size "
                f"{x.shape[a]} in shape {x.shape}",
                rule="window = dilation * (size - 1) + 1 elements, at most the padded axis",
                fix="pad more, or use a smaller kernel",
            )
        shape[a] = positions(x.shape[a], k, s, d)
    return aval_of((*shape, *sizes), x.dtype)


def _windows_reference(x: Any, *, axes: Axes, sizes: Ints, strides: Ints, dilations: Ints) -> Any:
    """Return a view: every window overlaps its neighbours in memory."""
    shape, steps = list(x.shape), list(x.strides)
    for a, k, s, d in zip(axes, sizes, strides, dilations, strict=True):
        shape[a] = positions(x.shape[a], k, s, d)
        steps[a] = x.strides[a] * s
    inner = [x.strides[a] * d for a, d in zip(axes, dilations, strict=True)]
    options = {"writeable": False} if isinstance(x, np.ndarray) else {}
    strided = module_of(x).lib.stride_tricks.as_strided
    return strided(x, (*shape, *sizes), (*steps, *inner), **options)


def _shifted(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    moved = {**params, "axes": tuple(a + 1 for a in params["axes"])}
    if "shape" in params:
        moved["shape"] = (size, *params["shape"])
    return apply(p, (xs[0],), moved)


_ONE = {"axes": (1,), "sizes": (3,), "strides": (1,), "dilations": (1,)}
_TWO = {"axes": (1, 2), "sizes": (2, 3), "strides": (2, 1), "dilations": (1, 2)}

windows_p: Primitive = structural(
    "windows",
    "windows",
    aval=_windows_aval,
    reference=_windows_reference,
    vjp=(lambda g, y, x, **params: apply(fold_windows_p, (g,), {**params, "shape": x.shape}),),
    batch=_shifted,
    latex=r"\mathrm{{windows}}({0})",
    note="The windowed axes become positions; the window's own axes come last. A view in NumPy.",
    samples=(
        Sample(((2, 5),), _ONE),
        Sample(((1, 5, 6),), _TWO),
        Sample(((0, 4),), _ONE),
    ),
)


def _fold_aval(
    g: Aval, *, shape: Shape, axes: Axes, sizes: Ints, strides: Ints, dilations: Ints
) -> Aval:
    check_kind("fold_windows", g, NUMERIC)
    expected = _windows_aval(
        aval_of(shape, g.dtype), axes=axes, sizes=sizes, strides=strides, dilations=dilations
    )
    if expected is not g:
        raise ShapeError(f"fold_windows: {g!r} are not the windows of shape {shape}")
    return aval_of(shape, g.dtype)


def _fold_reference(
    g: Any, *, shape: Shape, axes: Axes, sizes: Ints, strides: Ints, dilations: Ints
) -> Any:
    result = np.zeros_like(g, shape=shape)
    for offset in np.ndindex(*sizes):
        place = [slice(None)] * len(shape)
        for a, o, s, d in zip(axes, offset, strides, dilations, strict=True):
            place[a] = slice(o * d, o * d + (g.shape[a] - 1) * s + 1, s)
        result[tuple(place)] += g[(..., *offset)]
    return result


fold_windows_p: Primitive = structural(
    "fold_windows",
    "windows",
    aval=_fold_aval,
    reference=_fold_reference,
    vjp=(lambda g, y, x, *, shape, **params: apply(windows_p, (g,), params),),
    batch=_shifted,
    latex=r"\mathrm{{fold}}({0})",
    note="Adds every window back to its place; elements in several windows add up.",
    samples=(
        Sample(((2, 3, 3),), {**_ONE, "shape": (2, 5)}),
        Sample(((1, 2, 2, 2, 3),), {**_TWO, "shape": (1, 5, 6)}),
        Sample(((0, 2, 3),), {**_ONE, "shape": (0, 4)}),
    ),
)


def windows(
    x: Tensor,
    axes: Axes,
    sizes: Ints,
    strides: Ints,
    dilations: Ints,
) -> Tensor:
    """Return all windows of x: ``axes`` count the positions, the last axes are the window's own.

    Shapes: ``(..., n, ...)`` with n windowed by size k, stride s, dilation d becomes
    ``(..., (n - d (k - 1) - 1) // s + 1, ..., k)``.
    """
    params = {"axes": axes, "sizes": sizes, "strides": strides, "dilations": dilations}
    return apply(windows_p, (x,), params)
