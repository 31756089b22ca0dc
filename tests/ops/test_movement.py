"""Shape functions against NumPy: values, and the gradient as the transposed movement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.errors import ShapeError

from .checkers import close, same_bits

X = np.random.default_rng(0).normal(size=(2, 3, 4))
SQUARE = np.random.default_rng(1).normal(size=(3, 3))

#: (id, ours, NumPy's, operand)
MOVES: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any], np.ndarray]] = [
    ("reshape", lambda x: mg.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), X),
    ("reshape-int", lambda x: mg.reshape(x, 24), lambda x: x.reshape(24), X),
    ("reshape-method", lambda x: x.reshape(6, 4), lambda x: x.reshape(6, 4), X),
    ("reshape-empty", lambda x: mg.reshape(x, (-1, 2)), lambda x: x.reshape(-1, 2), X[:0]),
    ("permute", lambda x: mg.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), X),
    ("permute-negative", lambda x: mg.permute_dims(x, (-1, 0, 1)), lambda x: x.transpose(2, 0, 1),
     X),
    ("T", lambda x: x.T, lambda x: x.T, X[0]),
    ("mT", lambda x: x.mT, lambda x: x.swapaxes(-1, -2), X),
    ("matrix_transpose", mg.matrix_transpose, lambda x: x.swapaxes(-1, -2), X),
    ("moveaxis", lambda x: mg.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), X),
    ("moveaxis-two", lambda x: mg.moveaxis(x, (0, 2), (1, 0)),
     lambda x: np.moveaxis(x, (0, 2), (1, 0)), X),
    ("expand", lambda x: mg.expand_dims(x, axis=1), lambda x: np.expand_dims(x, 1), X),
    ("expand-last", lambda x: mg.expand_dims(x, axis=-1), lambda x: np.expand_dims(x, -1), X),
    ("squeeze", lambda x: mg.squeeze(x, 0), lambda x: x.squeeze(0), X[:1]),
    ("squeeze-two", lambda x: x.squeeze((0, -1)), lambda x: x.squeeze((0, -1)), X[:1, :, :1]),
    ("broadcast", lambda x: mg.broadcast_to(x, (5, 2, 3, 4)),
     lambda x: np.broadcast_to(x, (5, 2, 3, 4)), X[:, :1]),
    ("broadcast-scalar", lambda x: mg.broadcast_to(x, (2, 2)), lambda x: np.broadcast_to(x, (2, 2)),
     X[0, 0, 0]),
    ("flip", mg.flip, np.flip, X),
    ("flip-axes", lambda x: mg.flip(x, axis=(0, -1)), lambda x: np.flip(x, (0, -1)), X),
    ("roll", lambda x: mg.roll(x, 5), lambda x: np.roll(x, 5), X),
    ("roll-axes", lambda x: mg.roll(x, (1, -2), axis=(0, 2)),
     lambda x: np.roll(x, (1, -2), (0, 2)), X),
    ("roll-one", lambda x: mg.roll(x, -1, axis=-1), lambda x: np.roll(x, -1, -1), X),
    ("roll-empty", lambda x: mg.roll(x, 3, axis=0), lambda x: np.roll(x, 3, 0), X[:0]),
    ("tile", lambda x: mg.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), X),
    ("tile-more", lambda x: mg.tile(x, (2, 1, 1, 2)), lambda x: np.tile(x, (2, 1, 1, 2)), X),
    ("tile-fewer", lambda x: mg.tile(x, (2,)), lambda x: np.tile(x, 2), X),
    ("tile-int", lambda x: mg.tile(x, 2), lambda x: np.tile(x, 2), X),
    ("tile-zero", lambda x: mg.tile(x, (0, 2)), lambda x: np.tile(x, (0, 2)), X),
    ("repeat", lambda x: mg.repeat(x, 2), lambda x: np.repeat(x, 2), X),
    ("repeat-axis", lambda x: mg.repeat(x, 3, axis=-2), lambda x: np.repeat(x, 3, -2), X),
    ("repeat-zero", lambda x: mg.repeat(x, 0, axis=0), lambda x: np.repeat(x, 0, 0), X),
    ("repeat-each", lambda x: mg.repeat(x, [2, 0, 1], axis=1),
     lambda x: np.repeat(x, [2, 0, 1], 1), X),
    ("repeat-numpy", lambda x: mg.repeat(x, np.int64(2), axis=0), lambda x: np.repeat(x, 2, 0), X),
    ("pad", lambda x: mg.pad(x, ((1, 0), (0, 2), (1, 1))),
     lambda x: np.pad(x, ((1, 0), (0, 2), (1, 1))), X),
    ("pad-one", lambda x: mg.pad(x, 1, constant_values=2.5),
     lambda x: np.pad(x, 1, constant_values=2.5), X),
    ("pad-pair", lambda x: mg.pad(x, (1, 2)), lambda x: np.pad(x, (1, 2)), X),
    ("pad-numpy", lambda x: mg.pad(x, (np.int64(1), np.int64(2))), lambda x: np.pad(x, (1, 2)), X),
    ("pad-scalar", lambda x: mg.pad(x, ()), lambda x: x, X[0, 0, 0]),
    ("tril", mg.tril, np.tril, X),
    ("tril-k", lambda x: mg.tril(x, k=-1), lambda x: np.tril(x, -1), SQUARE),
    ("triu", mg.triu, np.triu, X),
    ("triu-k", lambda x: mg.triu(x, k=1), lambda x: np.triu(x, 1), SQUARE),
    ("concat", lambda x: mg.concat([x, x * 2, x], axis=1),
     lambda x: np.concatenate([x, x * 2, x], 1), X),
    ("concat-flat", lambda x: mg.concat([x, x[:1]], axis=None),
     lambda x: np.concatenate([x, x[:1]], None), X),
    ("stack", lambda x: mg.stack([x, x * 2], axis=-1), lambda x: np.stack([x, x * 2], -1), X),
    ("unstack", lambda x: mg.stack(mg.unstack(x, axis=1)[::-1]),
     lambda x: np.stack(list(np.moveaxis(x, 1, 0))[::-1]), X),
    ("split", lambda x: mg.concat(mg.split(x, 2, axis=-1)[::-1], axis=-1),
     lambda x: np.concatenate(np.split(x, 2, -1)[::-1], -1), X),
    ("split-points", lambda x: mg.concat(mg.split(x, [1, 3], axis=2)[::-1], axis=2),
     lambda x: np.concatenate(np.split(x, [1, 3], 2)[::-1], 2), X),
    ("take", lambda x: mg.take(x, np.array([2, 0, -1, 2]), axis=1),
     lambda x: np.take(x, [2, 0, -1, 2], 1), X),
    ("take-matrix", lambda x: mg.take(x, np.array([[2, 0], [1, 1]]), axis=2),
     lambda x: np.take(x, [[2, 0], [1, 1]], 2), X),
    ("take_along", lambda x: mg.take_along_axis(x, np.argsort(X, 1), axis=1),
     lambda x: np.take_along_axis(x, np.argsort(X, 1), 1), X),
    ("take_along-short", lambda x: mg.take_along_axis(x, np.array([[[3], [-1], [0]]] * 2)),
     lambda x: np.take_along_axis(x, np.array([[[3], [-1], [0]]] * 2), -1), X),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "numpys", "x"), [pytest.param(*m[1:], id=m[0]) for m in MOVES])
def test_movement_is_numpys_and_its_gradient_the_transpose(
    ours: Any, numpys: Any, x: np.ndarray
) -> None:
    """A movement is linear: <c, M x> = <M' c, x>, up to a constant that padding adds."""
    found, expected = ours(mg.tensor(x)), np.asarray(numpys(x))
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    same_bits(found.numpy(), expected)
    c = np.random.default_rng(2).normal(size=expected.shape)
    back = mg.grad(lambda t: (ours(t) * c).sum())(x)
    constant = np.asarray(numpys(np.zeros_like(x)))
    left, right = float((c * (expected - constant)).sum()), float((back.numpy() * x).sum())
    assert back.shape == x.shape
    assert abs(left - right) < 1e-12 * (1 + abs(left))


def test_broadcast_arrays_gives_each_the_common_shape() -> None:
    found = mg.broadcast_arrays(np.ones((2, 1)), np.ones(3), 1.0)
    assert [f.shape for f in found] == [(2, 3)] * 3


@pytest.mark.parametrize("points", [3, 1, [2, 5], [0, 6], [4, 2], [-2], [-9], [9], []], ids=str)
def test_split_is_numpys(points: Any) -> None:
    x = np.arange(6.0)
    found = mg.split(x, points)
    expected = np.split(x, points)
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        same_bits(f.numpy(), e)


def test_split_takes_numpy_integers() -> None:
    assert [len(p) for p in mg.split(np.arange(6.0), np.int64(2))] == [3, 3]
    assert [len(p) for p in mg.split(np.arange(6.0), np.array([2, 3]))] == [2, 1, 3]


BAD: list[tuple[str, Callable[[], Any], str]] = [
    ("reshape", lambda: mg.reshape(X, (5, 5)), "24 elements of shape"),
    ("reshape-two-unknown", lambda: mg.reshape(X, (-1, -1)), "one size may be -1"),
    ("reshape-of-nothing", lambda: mg.reshape(X[:0], (-1, 0)), "do not fit"),
    ("permute-twice", lambda: mg.permute_dims(X, (0, 0, 1)), "not a permutation"),
    ("permute-few", lambda: mg.permute_dims(X, (1, 0)), "not a permutation"),
    ("squeeze", lambda: mg.squeeze(X, 1), "has size 3, not 1"),
    ("T", lambda: mg.tensor(X).T, "needs 2 axes"),
    ("mT", lambda: mg.matrix_transpose(X[0, 0]), "needs at least 2 axes"),
    ("broadcast", lambda: mg.broadcast_to(X, (2, 3, 5)), "do not broadcast"),
    ("broadcast-smaller", lambda: mg.broadcast_to(X, (3, 4)), "does not repeat"),
    ("broadcast-literal", lambda: mg.broadcast_to(mg.ones(3), (4,)), "do not broadcast"),
    ("broadcast-literal-smaller", lambda: mg.broadcast_to(mg.ones((2, 3)), (3,)), "repeat"),
    ("concat", lambda: mg.concat([X, X[:, :1]], axis=0), "differ outside axis 0"),
    ("concat-ndim", lambda: mg.concat([X, X[0]]), "differ outside axis 0"),
    ("concat-nothing", lambda: mg.concat([]), "at least one array"),
    ("concat-scalar", lambda: mg.concat([mg.tensor(1.0)]), "axis 0 does not exist"),
    ("stack", lambda: mg.stack([X, X[:1]]), "differ"),
    ("stack-nothing", lambda: mg.stack([]), "at least one array"),
    ("split", lambda: mg.split(X, 2, axis=1), "does not divide into 2"),
    ("pad-pairs", lambda: mg.pad(X, ((1, 1), (1, 1))), "2 pairs of widths for 3 axes"),
    ("pad-negative", lambda: mg.pad(X, -1), "must not be negative"),
    ("tile", lambda: mg.tile(X, (-1, 1)), "no negative sizes"),
    ("repeat", lambda: mg.repeat(X, -1), "negative"),
    ("repeat-each", lambda: mg.repeat(X, [1, -1, 0], axis=1), "-1 repeats"),
    ("repeat-count", lambda: mg.repeat(X, [1, 2], axis=1), "2 repeats for an axis of size 3"),
    ("roll", lambda: mg.roll(X, (1, 2), axis=0), "shift has 2 entries"),
    ("moveaxis", lambda: mg.moveaxis(X, (0, 1), 0), "2 axes for 1 places"),
    ("tril", lambda: mg.tril(X[0, 0]), "at least 2 axes"),
    ("take", lambda: mg.take(X, [0]), "the axis must be named"),
    ("take_along", lambda: mg.take_along_axis(X, np.zeros((2, 3), int)), "differ outside axis"),
]


@pytest.mark.parametrize(("call", "message"), [pytest.param(*b[1:], id=b[0]) for b in BAD])
def test_movement_that_does_not_fit_is_a_shape_error(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


@settings(max_examples=50, deadline=None)
@given(hnp.array_shapes(min_dims=0, max_dims=4, max_side=3, min_side=0), st.data())
def test_reshape_and_permute_undo_each_other(shape: tuple[int, ...], data: Any) -> None:
    x = np.random.default_rng(3).normal(size=shape)
    axes = data.draw(st.permutations(range(len(shape))))
    moved = mg.permute_dims(mg.tensor(x), axes)
    same_bits(moved.numpy(), x.transpose(axes))
    back = mg.permute_dims(moved, np.argsort(axes).tolist() if axes else ())
    same_bits(back.numpy(), x)
    same_bits(mg.reshape(mg.reshape(moved, (x.size,)), moved.shape).numpy(), moved.numpy())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2)
)
def test_windows_are_numpys_and_fold_is_the_transpose(
    n: int, size: int, stride: int, dilation: int, more: int
) -> None:
    from minigrad.ops.windows import windows

    reach = dilation * (size - 1) + 1
    x = np.random.default_rng(4).normal(size=(2, reach + n - 1, more))
    expected = np.lib.stride_tricks.sliding_window_view(x, reach, axis=1)
    expected = expected[:, ::stride, :, ::dilation]
    found = windows(mg.tensor(x), (1,), (size,), (stride,), (dilation,))
    same_bits(found.numpy(), expected)
    c = np.random.default_rng(5).normal(size=expected.shape)
    back = mg.grad(lambda t: (windows(t, (1,), (size,), (stride,), (dilation,)) * c).sum())(x)
    left, right = float((c * expected).sum()), float((back.numpy() * x).sum())
    assert abs(left - right) < 1e-12 * (1 + abs(left))


def test_window_that_does_not_fit_is_named() -> None:
    from minigrad.ops.windows import windows

    with pytest.raises(ShapeError, match="a window of 5 elements does not fit axis 1 of size 4"):
        windows(mg.ones((2, 4)), (1,), (3,), (1,), (2,))


def test_movement_of_integers_and_booleans_keeps_the_dtype() -> None:
    for dtype in (np.bool_, np.int8, np.uint32):
        x = np.arange(6).reshape(2, 3).astype(dtype)
        for function in (mg.flip, lambda t: mg.pad(t, 1), lambda t: mg.roll(t, 1), mg.tril):
            assert function(mg.tensor(x)).dtype == dtype
    close(mg.flip(np.array([True, False])).numpy(), np.array([False, True]), 0)
