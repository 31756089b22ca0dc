"""Tensors made from nothing, or from data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DtypeError, NotDifferentiable, ShapeError

from .checkers import close, same_bits


@pytest.mark.parametrize("shape", [(), 3, (0,), (2, 3), [2, 0], np.array([2, 3])], ids=str)
@pytest.mark.parametrize("dtype", [None, bool, np.int8, np.float16, np.float64])
def test_filled_tensors_are_numpys(shape: Any, dtype: Any) -> None:
    wanted = np.float32 if dtype is None else dtype
    for name in ("zeros", "ones"):
        found = getattr(mg, name)(shape, dtype=dtype)
        same_bits(found.numpy(), getattr(np, name)(shape, wanted))
    assert mg.empty(shape, dtype=dtype).dtype == wanted
    like = mg.tensor(np.ones(shape, np.int16))
    for name in ("zeros_like", "ones_like"):
        found = getattr(mg, name)(like, dtype=dtype)
        same_bits(found.numpy(), getattr(np, name)(like.numpy(), dtype=dtype))
    assert mg.empty_like(like).dtype == np.int16


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1.5, np.float32), (2, np.int64), (True, np.bool_), (np.float16(2), np.float16)],
)
def test_full_takes_the_dtype_of_its_value(value: Any, dtype: Any) -> None:
    same_bits(mg.full((2, 2), value).numpy(), np.full((2, 2), value, dtype))
    assert mg.full(2, value, dtype=np.float64).dtype == np.float64
    assert mg.full_like(np.ones(2, np.int8), 3).dtype == np.int8


def test_full_of_a_tensor_carries_its_gradient() -> None:
    assert mg.grad(lambda v: mg.full((2, 3), v).sum())(2.0).item() == 6.0


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(300, np.uint8), (-1, np.uint32), (float("nan"), np.int32), (2**70, np.int64)],
)
def test_full_refuses_what_does_not_fit(value: float, dtype: Any) -> None:
    with pytest.raises(DtypeError, match="does not fit"):
        mg.full(3, value, dtype=dtype)


def test_shape_with_a_negative_size_is_an_error() -> None:
    for call in (lambda: mg.zeros((2, -1)), lambda: mg.eye(-1), lambda: mg.ones(-1)):
        with pytest.raises(ShapeError, match="no negative sizes"):
            call()


@pytest.mark.parametrize(
    "arguments",
    [(5,), (2, 7), (7, 2), (2, 9, 3), (9, 2, -3), (0,), (5.0,), (0.5, 3), (0, 1, 0.1),
     (1, 0, -0.25),
     (np.int64(4),), (np.int32(1), np.int64(5)), (np.float32(2.5),)],
    ids=str,
)  # fmt: skip
def test_arange_is_numpys(arguments: Any) -> None:
    found, expected = mg.arange(*arguments), np.arange(*arguments)
    assert found.shape == expected.shape
    assert found.dtype == (np.int64 if expected.dtype.kind == "i" else np.float32)
    close(found.numpy(), expected.astype(found.dtype), 1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float16, np.float64, np.int64])
def test_arange_has_the_dtype_asked_for(dtype: Any) -> None:
    same_bits(mg.arange(2, 20, 3, dtype=dtype).numpy(), np.arange(2, 20, 3, dtype=dtype))
    assert mg.arange(0, 2, 0.5, dtype=dtype).dtype == dtype


def test_arange_counts_further_than_a_narrow_dtype() -> None:
    found = mg.arange(0, 1, 2**-12, dtype=mg.float16)
    close(found.numpy(), (np.arange(4096) * 2.0**-12).astype(np.float16), 0.0)
    with pytest.raises(ShapeError, match="step must not be 0"):
        mg.arange(0, 1, 0)


@pytest.mark.parametrize("num", [0, 1, 2, 5])
@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace_is_numpys(num: int, endpoint: bool) -> None:
    found = mg.linspace(-1.0, 2.0, num, endpoint=endpoint, dtype=mg.float64)
    same_bits(found.numpy(), np.linspace(-1.0, 2.0, num, endpoint=endpoint))
    assert mg.linspace(0, 1, num).dtype == mg.float32
    with pytest.raises(DtypeError, match="not floating"):
        mg.linspace(0, 1, num, dtype=np.int64)


@pytest.mark.parametrize(("rows", "columns", "k"), [(3, None, 0), (2, 4, 1), (4, 2, -1), (0, 3, 0)])
def test_eye_is_numpys(rows: int, columns: int | None, k: int) -> None:
    same_bits(mg.eye(rows, columns, k=k, dtype=mg.float64).numpy(), np.eye(rows, columns, k))


@pytest.mark.parametrize("indexing", ["xy", "ij"])
@pytest.mark.parametrize("sizes", [(3,), (2, 3), (2, 3, 4), (0, 2)], ids=str)
def test_meshgrid_is_numpys(indexing: Any, sizes: tuple[int, ...]) -> None:
    lines = [np.arange(n, dtype=float) for n in sizes]
    found, expected = mg.meshgrid(*lines, indexing=indexing), np.meshgrid(*lines, indexing=indexing)
    for f, e in zip(found, expected, strict=True):
        same_bits(f.numpy(), e)


def test_tensor_takes_numbers_lists_arrays_and_tensors() -> None:
    assert mg.tensor(1).dtype == mg.tensor([1, 2]).dtype == mg.tensor([]).dtype == mg.float32
    assert mg.tensor(True).dtype == mg.tensor([True]).dtype == np.bool_
    assert mg.tensor([1, 2], dtype=np.int64).dtype == np.int64
    assert mg.tensor(np.arange(3, dtype=np.uint8)).dtype == np.uint8
    assert mg.tensor(np.float64(2)).dtype == np.float64
    assert mg.tensor([mg.tensor(1.0), mg.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert mg.tensor([[1.0], [2.0]]).shape == (2, 1)
    assert mg.tensor(range(3)).tolist() == [0, 1, 2]
    assert mg.tensor(np.arange(3, dtype=">f8")).dtype == np.float64
    assert mg.tensor(mg.ones(2), dtype=np.float64, name="x").name == "x"
    assert mg.asarray([1, 2], dtype=np.int8).dtype == np.int8


@pytest.mark.host
def test_tensor_owns_its_data() -> None:
    x = np.ones(3)
    t, p = mg.tensor(x), mg.Parameter(x)
    view = mg.tensor(x[:2])
    b = mg.Buffer(np.zeros(3))
    b.assign(x)
    x[:] = 7.0
    assert t.tolist() == p.tolist() == b.tolist() == [1, 1, 1]
    assert view.tolist() == [1, 1]
    y = t.numpy()
    y[:] = 5.0
    assert t.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(t)[0] = 1.0


@pytest.mark.parametrize("data", ["text", None, [None], {"a": 1}, object(), 1j, np.array(["a"])])
def test_tensor_of_what_is_no_number_is_a_dtype_error(data: Any) -> None:
    with pytest.raises(DtypeError):
        mg.tensor(data)


def test_tensor_of_ragged_lists_is_a_shape_error() -> None:
    with pytest.raises(ShapeError, match="different lengths"):
        mg.tensor([[1.0], [1.0, 2.0]])


def test_requires_grad_needs_a_floating_leaf() -> None:
    with pytest.raises(NotDifferentiable, match="int64 has no derivative"):
        mg.tensor(np.arange(3), requires_grad=True)
    with pytest.raises(NotDifferentiable, match="Parameter: int64"):
        mg.Parameter(np.arange(3))
    y = mg.tensor(1.0, requires_grad=True) * 2
    with pytest.raises(mg.errors.MinigradError, match="not a leaf"):
        y.requires_grad = True


@pytest.mark.host
def test_dlpack_goes_both_ways() -> None:
    t = mg.tensor(np.arange(3.0))
    same_bits(np.from_dlpack(t), np.arange(3.0))
    same_bits(mg.from_dlpack(t).numpy(), np.arange(3.0))
    same_bits(mg.from_dlpack(np.arange(3.0)).numpy(), np.arange(3.0))
    same_bits(np.from_dlpack(mg.broadcast_to(t, (2, 3))), np.tile(np.arange(3.0), (2, 1)))
    assert t.__dlpack_device__() == (1, 0)

    class Foreign:
        def __dlpack__(self, **options: Any) -> Any:
            return np.arange(2.0).__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    assert (mg.asarray(Foreign()) + 1).tolist() == [1, 2]


def test_array_protocol() -> None:
    t = mg.tensor(np.arange(3.0))
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    assert np.array(t, copy=True).flags.writeable
    assert t.__array_namespace__() is mg
    assert np.sum(np.asarray(t)) == 3.0


@pytest.mark.parametrize("dtype", ["complex64", "U3", object, "datetime64[s]", "nonsense"])
def test_unsupported_dtype_is_an_error(dtype: Any) -> None:
    with pytest.raises(DtypeError):
        mg.zeros(2, dtype=dtype)
