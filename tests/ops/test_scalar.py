"""The scalar code of every elementwise primitive, in the NumPy dialect, against its reference."""

from __future__ import annotations

import numpy as np
import pytest

from minigrad.backends.scalar import FUNCTIONS, NUMPY, run_scalar
from minigrad.core import Primitive, aval, registry
from minigrad.dtypes import ALL, FLOATS, INTEGERS
from minigrad.errors import DtypeError, GraphInvalid

from . import checkers as check

ELEMENTWISE = sorted(n for n in registry if registry[n].kind == "elementwise")

#: These go through a function of the mathematical library, which is not rounded exactly.
LIBRARY = {
    "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
    "tanh", "asinh", "acosh", "atanh", "atan2", "erf", "pow", "rsqrt",
}  # fmt: skip


def extremes(dtype: np.dtype) -> np.ndarray:
    """Return the values at which implementations differ."""
    if dtype == np.bool_:
        return np.array([False, True])
    if dtype.kind == "f":
        info = np.finfo(dtype)
        size = [info.smallest_subnormal, info.tiny, info.eps, 0.5, 1.0, 1.5, 2.5, 3.0, 7.25]
        size += [info.max, np.inf, 0.0]
        found = np.array([*size, np.nan], dtype)
        return np.concatenate([found, -found[:-1]])
    info = np.iinfo(dtype)
    values = [info.min, info.min + 1, -7, -2, -1, 0, 1, 2, 3, 7, info.max - 1, info.max]
    return np.array([v for v in values if v >= info.min], dtype)


def combinations(primitive: Primitive, dtype: np.dtype) -> list[np.ndarray]:
    """Return operands that hold every combination of the extreme values."""
    arity = len(primitive.samples[0].shapes)
    lists = [extremes(dtype)] * arity
    if primitive.name == "where":
        lists[0] = np.array([False, True])
    if "shift" in primitive.name:
        lists[1] = np.arange(dtype.itemsize * 8).astype(dtype)
    if primitive.name == "pow" and dtype.kind != "f":
        lists[1] = np.array([0, 1, 2, 3, 5, 8, 63], dtype)
    if primitive.name == "in_range":
        lists[0] = np.arange(7).astype(dtype)
    return [np.ascontiguousarray(a.ravel()) for a in np.meshgrid(*lists, indexing="ij")]


def accepted(primitive: Primitive, dtype: np.dtype) -> bool:
    operands = combinations(primitive, dtype)
    try:
        types = [aval(x.shape, x.dtype) for x in operands]
        primitive.aval(*types, **primitive.samples[0].params)
    except DtypeError:
        return False
    return True


CASES = [
    pytest.param(registry[name], dtype, id=f"{name}-{dtype}")
    for name in ELEMENTWISE
    for dtype in ALL
    if accepted(registry[name], dtype)
]


def check_scalar(primitive: Primitive, dtype: np.dtype) -> None:
    params = primitive.samples[0].params
    operands = combinations(primitive, dtype)
    expected = check.run(primitive, operands, params)
    found = run_scalar(primitive, *operands, **params)
    assert found.dtype == expected.dtype
    if primitive.name in ("maximum", "minimum") and dtype.kind == "f":
        found, expected = found + np.zeros(1, dtype), expected + np.zeros(1, dtype)  # -0 is 0
    if primitive.name in LIBRARY and dtype.kind == "f":
        check.close(found, expected, check.tolerance_of(dtype))
    else:
        check.same_bits(found, expected)


@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_scalar_code_is_the_reference_at_extremes(primitive: Primitive, dtype: np.dtype) -> None:
    check_scalar(primitive, dtype)


@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_scalar_code_is_the_reference_inside(primitive: Primitive, dtype: np.dtype) -> None:
    sample = primitive.samples[0]
    kinds = {d.dtype for d in check.domains(sample) if d.dtype != np.bool_}
    operands = check.draw(primitive, sample, 0, dict.fromkeys(kinds, dtype))
    expected = check.run(primitive, operands, sample.params)
    tolerance = check.tolerance_of(dtype) if primitive.name in LIBRARY else 0.0
    check.close(run_scalar(primitive, *operands, **sample.params), expected, tolerance)


@pytest.mark.parametrize("source", ALL, ids=str)
@pytest.mark.parametrize("target", ALL, ids=str)
def test_scalar_cast_is_astype_for_every_pair(source: np.dtype, target: np.dtype) -> None:
    values = extremes(source)
    if source.kind == "f" and target.kind in "iu":  # elsewhere the C standard says nothing
        info = np.iinfo(target)
        wide = values.astype(np.float64)
        inside = np.isfinite(wide) & (wide > info.min - 1.0) & (wide < float(info.max) / 2)
        values = values[inside]
    astype = registry["astype"]
    expected = check.run(astype, [values], {"dtype": target})
    assert astype.aval(aval(values.shape, source), dtype=target).dtype == expected.dtype == target
    check.same_bits(run_scalar(astype, values, dtype=target), expected)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_scalar_integer_division_truncates_and_never_traps(dtype: np.dtype) -> None:
    values = extremes(dtype)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        found = NUMPY.div(a, b)
    low, width = int(np.iinfo(dtype).min), 8 * dtype.itemsize
    for x, y, q in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
        exact = 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        assert q == (exact - low) % 2**width + low, (x, y)


def test_scalar_mulhi_is_the_high_word_of_the_product() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2**32, (2, 1000), dtype=np.uint64)
    a[:4], b[:4] = [0, 1, 2**32 - 1, 2**32 - 1], [5, 2**32 - 1, 2**32 - 1, 1]
    exact = [x * y >> 32 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    found = NUMPY.mulhi(a.astype(np.uint32), b.astype(np.uint32))
    assert found.tolist() == exact
    with pytest.raises(DtypeError, match="uint32"):
        NUMPY.mulhi(a, b)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_scalar_function_keeps_the_dtype(name: str, dtype: np.dtype) -> None:
    binary = name in ("atan2", "copysign", "fmod", "pow")
    x = np.asarray(1.0, dtype)
    with np.errstate(all="ignore"):
        found = NUMPY.call(name, x, x) if binary else NUMPY.call(name, x)
    assert found.dtype == dtype


def test_scalar_code_of_a_reduction_is_an_error() -> None:
    with pytest.raises(GraphInvalid, match="not elementwise"):
        run_scalar(registry["sum"], np.ones(3), axes=(0,), keepdims=False)
