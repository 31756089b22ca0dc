"""NumPy indexing of every sort against NumPy, forward and back; taking and adding by index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.errors import DataError, DtypeError, ShapeError, TraceError

from .checkers import same_bits

X = np.arange(24.0).reshape(2, 3, 4)
R, C = np.array([0, 1, 1]), np.array([[1], [-1]])
MASK = X > 10


def check_index(x: np.ndarray, key: Any) -> None:
    """``x[key]`` is NumPy's; its gradient adds each cotangent where the element came from."""
    expected = x[key]
    found = mg.tensor(x)[key]
    assert found.shape == expected.shape, f"{key}: {found.shape}, NumPy {expected.shape}"
    same_bits(found.numpy(), expected)
    c = np.random.default_rng(0).normal(size=expected.shape)
    hand = np.zeros_like(x)
    np.add.at(hand, key, c)
    gradient = mg.grad(lambda t: (t[key] * c).sum())(x)
    np.testing.assert_allclose(gradient.numpy(), hand, rtol=1e-12, atol=1e-12, err_msg=str(key))


KEYS: list[Any] = [
    0, -1, np.int64(1), (), ..., None, slice(None), (0, 1, 2), (1, ..., -1), (..., None),
    slice(None, None, -1), (slice(None), slice(2, 0, -1)), (slice(1, 1), 0), slice(5, 9),
    (slice(None), slice(-1, -9, -2), slice(None, None, 3)), (None, 0, None, ..., None),
    R, (R,), (slice(None), R), (..., R), (R, R), (R, slice(None), R), (slice(None), R, R),
    (R, None, R), (None, R, R), (R, 0), (0, R), (0, slice(None), R), (slice(None), 0, R),
    (0, R, R), (R, 0, R), (C, R), (C, slice(None), R), (slice(None), C, R), (R, ..., 0),
    (0, ..., R), (R, R, ..., R), (R, ..., R, R), (C, None, 0),
    (R, slice(None), slice(None, None, -1)),
    [0, 1], [[0], [1]], ([0, 1], [1, 2]), [], np.array([], int), np.array(1), (np.array(1), R),
    (slice(None), np.array(1)), (np.array(0), slice(None), np.array(1)),
    MASK, (MASK[:, 0, 0],), (slice(None), MASK[0]), (..., MASK[0, 0]),
    (MASK[:, :, 0], 1), (MASK[:, :, 0], R), (0, MASK[0]), (MASK[:, 0, 0], slice(None), 1),
    (MASK[:, 0, 0], None, [0, 1, 1]), np.zeros((2, 3, 4), bool), [True, False],
    np.array([0, 1], np.uint8), np.array([-1, 0], np.int8),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k).replace("\n", "")[:60])
def test_index_is_numpys(key: Any) -> None:
    check_index(X, key)


@st.composite
def indexed(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    common = draw(st.sampled_from([(), (1,), (2,), (2, 1), (0,)]))
    used = draw(st.integers(0, len(shape)))
    entries: list[Any] = []
    axis = 0
    while axis < used:
        n = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "array", "mask", "slice"]))
        if kind == "int":
            entries.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            part = st.none() | st.integers(-n - 1, n + 1)
            step = draw(st.none() | st.sampled_from([1, 2, -1, -2, 3]))
            entries.append(slice(draw(part), draw(part), step))
        elif kind == "array":
            entries.append(draw(hnp.arrays(np.int64, common, elements=st.integers(-n, n - 1))))
        elif common == (2,) and n >= 2:
            mask = np.zeros(n, bool)
            mask[draw(st.permutations(range(n)))[:2]] = True
            entries.append(mask)
        else:
            entries.append(slice(None))
        axis += 1
    for _ in range(draw(st.integers(0, 2))):
        entries.insert(draw(st.integers(0, len(entries))), None)
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), Ellipsis)
        # what stood for the leading axes may stand for the last ones now: keep it in range
        at = next(i for i, e in enumerate(entries) if e is Ellipsis)
        behind = sum(e is not None for e in entries[at + 1 :])
        if behind and used < len(shape):
            entries = [e for e in entries[:at] if e is not None] + [Ellipsis]
    x = np.random.default_rng(1).normal(size=shape)
    return x, tuple(entries)


@settings(max_examples=300, deadline=None)
@given(indexed())
@example((np.ones((2, 3)), (np.array([0, 1]), ..., np.array([0, 1]))))
@example((np.ones((2, 3)), (..., np.array([0, 1]), np.array([0, 1]), ...)[:3]))
def test_random_index_is_numpys_forward_and_back(case: tuple[np.ndarray, Any]) -> None:
    check_index(*case)


def test_index_by_tensors_and_under_trace() -> None:
    x, i = mg.tensor(X), mg.tensor(np.array([2, 0]))
    same_bits(x[:, i].numpy(), X[:, [2, 0]])
    same_bits(x[:, i[0]].numpy(), X[:, 2])
    graph = mg.trace(lambda x, i: x[:, i, 1], X, np.array([2, 0]))
    same_bits(graph(X, np.array([1, 1])).numpy(), X[:, [1, 1], 1])
    assert mg.tensor(np.arange(3))[mg.tensor(np.array(1))].item() == 1


def test_mask_without_a_value_cannot_be_an_index() -> None:
    with pytest.raises(TraceError):
        mg.trace(lambda x: x[x > 0], X)


BAD_INDEX: list[tuple[Any, type[Exception], str]] = [
    (2, ShapeError, "index 2 is out of range for axis 0 of size 2"),
    ((0, -4), ShapeError, "index -4 is out of range for axis 1 of size 3"),
    ((0, 0, 0, 0), ShapeError, "too many indices: 4"),
    ((..., 0, ...), ShapeError, "only one ellipsis"),
    (1.5, DtypeError, "is not an index"),
    ("a", DtypeError, "is not an index"),
    (True, DtypeError, "is not an index"),
    (np.array(True), DtypeError, "at least one axis"),
    (np.array([0.5]), DtypeError, "holds integers, or booleans"),
    (np.array([True]), ShapeError, r"shape \(1,\) does not fit axes of shape \(2,\)"),
    (np.ones((2, 4), bool), ShapeError, r"does not fit axes of shape \(2, 3\)"),
    ((slice(None), np.ones(2, bool)), ShapeError, r"does not fit axes of shape \(3,\)"),
    ((..., np.ones(3, bool)), ShapeError, r"does not fit axes of shape \(4,\)"),
    (np.ones((2, 3, 4, 1), bool), ShapeError, "too many indices"),
    (np.array([0, 2]), DataError, "index: 2 is out of range, 1 of 2 are"),
    (np.array([-3]), DataError, "index: -3 is out of range"),
    ((np.array([0, 1]), np.array([0, 1, 2])), ShapeError, "do not broadcast"),
]


@pytest.mark.parametrize(("key", "kind", "message"), BAD_INDEX, ids=lambda v: repr(v)[:40])
def test_bad_index_is_an_error(key: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        mg.tensor(X)[key]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64], ids=str)
def test_narrow_index_reaches_every_row(dtype: Any) -> None:
    x = np.arange(300.0)
    i = np.array([0, 127, 5], dtype)
    same_bits(mg.take(x, i).numpy(), x[i])
    same_bits(mg.tensor(x)[i].numpy(), x[i])
    if np.dtype(dtype).kind == "i":
        same_bits(mg.take(x, np.array([-1, -100], dtype)).numpy(), x[[-1, -100]])


def test_batch_of_narrow_indices_does_not_overflow() -> None:
    """Rows are numbered through the batch: 30 x 10 does not fit int8."""
    x, i = np.random.default_rng(2).normal(size=(30, 10)), np.full((30, 2), 9, np.int8)
    found = mg.vmap(lambda row, i: mg.take(row, i))(x, i)
    same_bits(found.numpy(), np.take_along_axis(x, i.astype(int), 1))
    gradient = mg.grad(lambda x: mg.vmap(lambda row, i: mg.take(row, i))(x, i).sum())(x)
    assert gradient.numpy()[:, 9].tolist() == [2.0] * 30


def test_take_adds_up_repeated_rows_on_the_way_back() -> None:
    gradient = mg.grad(lambda t: (mg.take(t, np.array([1, 1, 0])) * np.array([1.0, 2, 4])).sum())
    assert gradient(np.zeros(3)).tolist() == [4, 3, 0]


def test_index_out_of_range_is_found_when_a_graph_runs() -> None:
    graph = mg.trace(lambda x, i: mg.take(x, i, axis=0), X, np.array([0]))
    with pytest.raises(DataError, match="index: 7 is out of range"):
        graph(X, np.array([7]))


def test_take_refuses_what_is_no_index() -> None:
    with pytest.raises(DtypeError, match="take takes integers"):
        mg.take(np.arange(3.0), np.array([0.0]))


def test_tensor_cannot_be_written_to() -> None:
    with pytest.raises(mg.errors.MinigradError, match="not changed in place"):
        mg.ones(3)[0] = 1.0


def test_iteration_and_length() -> None:
    rows = list(mg.tensor(X))
    assert len(rows) == len(mg.tensor(X)) == 2
    same_bits(rows[1].numpy(), X[1])
    with pytest.raises(TypeError, match="scalar tensor has no length"):
        len(mg.tensor(1.0))
    with pytest.raises(TypeError, match="scalar tensor"):
        iter(mg.tensor(1.0))
