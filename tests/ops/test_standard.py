"""The Python Array API standard: dtypes, counts, differences, devices, copies, ``...``."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError, DtypeError, ShapeError
from minigrad.testing import check_grads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 2))

#: Signatures of the standard: each parameter here, under its name and with its default.
SIGNATURES = """
    arange(start, /, stop=None, step=1, *, dtype=None, device=None)
    asarray(obj, /, *, dtype=None, device=None, copy=None)
    astype(x, dtype, /, *, copy=True, device=None)
    clip(x, /, min=None, max=None)
    concat(arrays, /, *, axis=0)
    count_nonzero(x, /, *, axis=None, keepdims=False)
    cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
    cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
    diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
    empty(shape, *, dtype=None, device=None)
    empty_like(x, /, *, dtype=None, device=None)
    eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
    expand_dims(x, /, *, axis=0)
    flip(x, /, *, axis=None)
    from_dlpack(x, /, *, device=None, copy=None)
    full(shape, fill_value, *, dtype=None, device=None)
    full_like(x, /, fill_value, *, dtype=None, device=None)
    linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
    moveaxis(x, source, destination, /)
    ones(shape, *, dtype=None, device=None)
    ones_like(x, /, *, dtype=None, device=None)
    permute_dims(x, /, axes)
    repeat(x, repeats, /, *, axis=None)
    reshape(x, /, shape, *, copy=None)
    roll(x, /, shift, *, axis=None)
    sort(x, /, *, axis=-1, descending=False, stable=True)
    squeeze(x, /, axis)
    stack(arrays, /, *, axis=0)
    sum(x, /, *, axis=None, dtype=None, keepdims=False)
    take(x, indices, /, *, axis=None)
    take_along_axis(x, indices, /, *, axis=-1)
    tensordot(x1, x2, /, *, axes=2)
    tile(x, repetitions, /)
    tril(x, /, *, k=0)
    unstack(x, /, *, axis=0)
    var(x, /, *, axis=None, correction=0.0, keepdims=False)
    vecdot(x1, x2, /, *, axis=-1)
    zeros(shape, *, dtype=None, device=None)
    zeros_like(x, /, *, dtype=None, device=None)
"""


@pytest.mark.parametrize("line", SIGNATURES.split("\n")[1:-1])
def test_signature_is_that_of_the_standard(line: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def {line.strip()}: ...", scope)
    (wanted,) = (inspect.signature(f) for n, f in scope.items() if n != "__builtins__")
    found = inspect.signature(getattr(mg, line.strip().partition("(")[0])).parameters
    for name, parameter in wanted.parameters.items():
        assert found[name].default == parameter.default
        if parameter.kind == parameter.KEYWORD_ONLY:
            assert found[name].kind != parameter.POSITIONAL_ONLY
    positional = [n for n, p in wanted.parameters.items() if p.kind != p.KEYWORD_ONLY]
    assert list(found)[: len(positional)] == positional


def test_questions_about_dtypes() -> None:
    assert mg.finfo(mg.float32).eps == np.finfo(np.float32).eps
    assert mg.finfo(mg.ones(1)).bits == 32
    assert mg.iinfo(np.arange(3)).max == 2**63 - 1
    assert mg.isdtype(mg.float32, "real floating")
    assert not mg.isdtype(mg.int8, ("bool", mg.int16))
    assert mg.can_cast(mg.int8, mg.int16)
    assert not mg.can_cast(mg.float64, mg.float32)
    assert mg.can_cast(mg.arange(2), mg.float32), "a floating type absorbs an integer"
    assert mg.result_type(mg.ones(1), np.arange(2), 2.0) == mg.float32
    assert mg.result_type(mg.int32, 2) == mg.int32
    assert mg.result_type(mg.int32, 2.0) == mg.get_default_dtype()
    assert mg.result_type(mg.bool, 1) == mg.int64
    for wrong in (
        lambda: mg.finfo(mg.int8),
        lambda: mg.iinfo(mg.ones(1)),
        lambda: mg.result_type(),
    ):
        with pytest.raises(DtypeError):
            wrong()


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
def test_count_nonzero_is_numpys(axis: Any) -> None:
    x = np.where(X > 0.5, X, 0.0)
    x[0, 0, 0] = np.nan
    for keepdims in (False, True):
        found = mg.count_nonzero(x, axis=axis, keepdims=keepdims)
        np.testing.assert_array_equal(found, np.count_nonzero(x, axis=axis, keepdims=keepdims))
    assert mg.count_nonzero(mg.arange(3) > 0).dtype == mg.int64


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_diff_is_numpys(axis: int) -> None:
    for n in (0, 1, 2, 9):
        np.testing.assert_allclose(mg.diff(X, axis=axis, n=n), np.diff(X, axis=axis, n=n))
    np.testing.assert_allclose(
        mg.diff(X, axis=axis, prepend=X, append=X[:, ::-1]),
        np.diff(X, axis=axis, prepend=X, append=X[:, ::-1]),
    )
    np.testing.assert_array_equal(mg.diff(X > 0, axis=axis), np.diff(X > 0, axis=axis))
    with pytest.raises(ShapeError, match="negative"):
        mg.diff(X, n=-1)
    with pytest.raises(ShapeError, match="axis 3 does not exist"):
        mg.diff(X, axis=3)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_prod_is_numpys_and_differentiable_at_zeros(axis: int) -> None:
    for initial in (False, True):
        np.testing.assert_allclose(
            mg.cumulative_prod(X, axis=axis, include_initial=initial),
            np.cumulative_prod(X, axis=axis, include_initial=initial),
        )
    x = X.copy()
    x[1, 1:3] = 0.0
    check_grads(lambda x: mg.cumulative_prod(x, axis=axis), (x,), order=1)
    small = mg.cumulative_prod(np.arange(1, 6, dtype=np.int8))
    assert (small.tolist(), small.dtype) == ([1, 2, 6, 24, 120], mg.int64)
    assert mg.cumulative_prod(np.zeros((0,))).shape == (0,)
    with pytest.raises(ShapeError, match="must be named"):
        mg.cumulative_prod(X)


def test_positive_is_the_operand() -> None:
    x = mg.tensor([1.0, -0.0])
    assert mg.positive(x) is x
    assert (+x) is x


def test_copysign_promotes_and_adopts() -> None:
    half, single = X.astype(np.float16), -X.astype(np.float32)
    found = mg.copysign(half, single)
    assert found.dtype == mg.float32
    np.testing.assert_array_equal(found, np.copysign(half, single))
    assert mg.copysign(2.0, mg.tensor(-X)).dtype == mg.float64
    assert mg.copysign(half, -1.0).dtype == mg.float16


def test_logaddexp_keeps_nan() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1.5])
    a, b = np.meshgrid(values, values)
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp(a, b)
    np.testing.assert_array_equal(mg.logaddexp(a, b), expected)


def test_take_along_axis_broadcasts() -> None:
    for shape in ((1, 5, 1), (3, 2, 1), (1, 2, 2)):
        index = RNG.integers(-4, 4, shape)
        np.testing.assert_array_equal(
            mg.take_along_axis(X, index, axis=1), np.take_along_axis(X, index, axis=1)
        )
    check_grads(lambda x: mg.take_along_axis(x, np.array([[[1], [1]]]), axis=1), (X,), order=1)
    with pytest.raises(ShapeError, match="do not fit"):
        mg.take_along_axis(X, np.zeros((2, 1, 2), int), axis=1)
    with pytest.raises(ShapeError, match="3 and 1 axes"):
        mg.take_along_axis(X, np.zeros(2, int), axis=1)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,...jk->...ik", [(5, 1, 3, 4), (2, 4, 5)]),
        ("...ij,jk", [(6, 2, 3, 4), (4, 5)]),
        ("i...->...", [(3, 4, 2)]),
        ("...", [(2, 3)]),
        ("...,...", [(2, 3), (3,)]),
        ("...i,...i->...", [(2, 1, 3), (4, 3)]),
        ("b...,b->...b", [(2, 3, 1), (2,)]),
    ],
)
def test_einsum_with_an_ellipsis_is_numpys(formula: str, shapes: list[tuple[int, ...]]) -> None:
    xs = [RNG.normal(size=s) for s in shapes]
    np.testing.assert_allclose(mg.einsum(formula, *xs), np.einsum(formula, *xs), rtol=1e-12)
    check_grads(lambda *xs: mg.einsum(formula, *xs), tuple(xs), order=1)


@pytest.mark.host
def test_device_and_copy_are_honoured() -> None:
    data = np.arange(3.0)
    assert np.shares_memory(mg.asarray(data).value, data)
    assert np.shares_memory(mg.asarray(data, copy=False).value, data)
    assert not np.shares_memory(mg.asarray(data, copy=True).value, data)
    assert not np.shares_memory(mg.from_dlpack(data, copy=True).value, data)
    with pytest.raises(DataError, match="without a copy"):
        mg.asarray([1.0, 2.0], copy=False)
    with pytest.raises(DataError, match="without a copy"):
        mg.asarray(data, dtype=mg.float32, copy=False)
    for make in (mg.zeros, mg.ones, mg.empty, mg.arange, mg.eye):
        assert make(3, device="cpu").device == "cpu"
    x = mg.ones(3)
    assert mg.zeros_like(x, device=x.device).device == mg.astype(x, mg.int8, device="cpu").device
    assert mg.linspace(0, 1, 3, device="cpu").tolist() == [0.0, 0.5, 1.0]
    assert x.to_device("cpu") is x
    if mg.backends()["cupy"] != "usable":
        with pytest.raises(mg.errors.BackendUnavailable):
            x.to_device("cuda:0")
        for make in (mg.zeros, mg.arange):
            with pytest.raises(mg.errors.BackendUnavailable):
                make(3, device="cuda:0")
