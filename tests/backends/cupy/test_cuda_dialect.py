"""The CUDA C of every elementwise primitive: run on the emulator, compiled by NVRTC."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from minigrad.backends.cupy import nvrtc
from minigrad.backends.cupy.dialect import Value, Writer, literal, storage_type
from minigrad.backends.cupy.prelude import HELPERS, prelude
from minigrad.core import Primitive, aval, registry
from minigrad.dtypes import ALL, FLOATS, INTEGERS
from minigrad.errors import DtypeError
from tests.ops import checkers as check
from tests.ops.test_scalar import CASES, ELEMENTWISE, LIBRARY, accepted, combinations, extremes

from . import emulator

ARCHITECTURES = ["sm_75", "sm_80", "sm_90", "sm_120"]

pytestmark = pytest.mark.host
needs_gcc = pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING))
needs_nvrtc = pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))


def kernel(primitive: Primitive, dtypes: list[np.dtype], params: dict, result: np.dtype) -> Writer:
    """Return a kernel that applies a primitive to each of n elements."""
    w = Writer()
    n = len(dtypes)
    pointers = [f"const {storage_type(d)}* __restrict__ x{i}" for i, d in enumerate(dtypes)]
    name = kernel_name(primitive, dtypes, result)
    w.lines.append(
        f'extern "C" __global__ void {name}({", ".join(pointers)}, const u64* count, '
        f"{storage_type(result)}* __restrict__ y) {{"
    )
    w.line("const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;")
    with w.block("if (i < *count)"):
        xs = [w.load(f"x{k}[i]", dtypes[k]) for k in range(n)]
        assert primitive.scalar is not None
        w.store("y[i]", primitive.scalar(w, *xs, **params))
    w.lines.append("}")
    return w


def kernel_name(primitive: Primitive, dtypes: list[np.dtype], result: np.dtype) -> str:
    return "_".join([primitive.name, *(d.name for d in dtypes), "to", result.name])


def _operands(primitive: Primitive, dtype: np.dtype) -> list[np.dtype]:
    return [x.dtype for x in combinations(primitive, dtype)]


def _result(primitive: Primitive, dtypes: list[np.dtype], params: dict) -> np.dtype:
    return primitive.aval(*(aval((1,), d) for d in dtypes), **params).dtype


@lru_cache(maxsize=1)
def module() -> str:
    """Return one translation unit with every primitive for every dtype, and every cast."""
    writers = []
    for name in ELEMENTWISE:
        primitive = registry[name]
        for dtype in ALL:
            if accepted(primitive, dtype):
                params = dict(primitive.samples[0].params)
                dtypes = _operands(primitive, dtype)
                writers.append(
                    kernel(primitive, dtypes, params, _result(primitive, dtypes, params))
                )
    astype = registry["astype"]
    for source in ALL:
        targets = [t for t in ALL if t != np.float64]  # that one is the sample's
        writers += [kernel(astype, [source], {"dtype": t}, t) for t in targets]
    helpers = set().union(*(w.helpers for w in writers))
    return prelude(helpers) + "".join(w.text() for w in writers)


def apply(primitive: Primitive, arrays: list[np.ndarray], params: dict) -> np.ndarray:
    dtypes = [a.dtype for a in arrays]
    result = _result(primitive, dtypes, params)
    n = arrays[0].size
    (found,) = emulator.run(
        module(), kernel_name(primitive, dtypes, result), (-(-n // 64), 1, 1), 64,
        [*arrays, np.uint64(n)], [(arrays[0].shape, result)],
    )  # fmt: skip
    return found


@needs_gcc
@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_cuda_code_is_the_reference_at_extremes(primitive: Primitive, dtype: np.dtype) -> None:
    params = dict(primitive.samples[0].params)
    operands = combinations(primitive, dtype)
    expected = check.run(primitive, operands, params)
    found = apply(primitive, operands, params)
    assert found.dtype == expected.dtype
    if primitive.name in ("maximum", "minimum") and dtype.kind == "f":
        found, expected = found + np.zeros(1, dtype), expected + np.zeros(1, dtype)  # -0 is 0
    if primitive.name in LIBRARY and dtype.kind == "f":
        check.close(found, expected, check.tolerance_of(dtype))
    else:
        check.same_bits(found, expected)


@needs_gcc
@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_cuda_code_is_the_reference_inside(primitive: Primitive, dtype: np.dtype) -> None:
    sample = primitive.samples[0]
    kinds = {d.dtype for d in check.domains(sample) if d.dtype != np.bool_}
    operands = check.draw(primitive, sample, 0, dict.fromkeys(kinds, dtype))
    expected = check.run(primitive, operands, sample.params)
    tolerance = check.tolerance_of(dtype) if primitive.name in LIBRARY else 0.0
    check.close(apply(primitive, operands, dict(sample.params)), expected, tolerance)


@needs_gcc
@pytest.mark.parametrize("source", ALL, ids=str)
@pytest.mark.parametrize("target", ALL, ids=str)
def test_cuda_cast_is_astype_for_every_pair(source: np.dtype, target: np.dtype) -> None:
    values = extremes(source)
    if source.kind == "f" and target.kind in "iu":  # elsewhere the C standard says nothing
        info = np.iinfo(target)
        wide = values.astype(np.float64)
        values = values[np.isfinite(wide) & (wide > info.min - 1.0) & (wide < float(info.max) / 2)]
    expected = check.run(registry["astype"], [values], {"dtype": target})
    check.same_bits(apply(registry["astype"], [values], {"dtype": target}), expected)


@needs_gcc
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float16_arithmetic_rounds_as_numpy_does(dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=4096) * 10.0 ** rng.integers(-4, 5, 4096) for _ in range(2))
    for name in ("add", "sub", "mul", "div", "sqrt"):
        arrays = [a.astype(dtype), b.astype(dtype)][: 1 if name == "sqrt" else 2]
        expected = check.run(registry[name], arrays, {})
        check.same_bits(apply(registry[name], arrays, {}), expected, name)


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_nvrtc_compiles_every_primitive(arch: str) -> None:
    code = nvrtc.cubin(module(), arch)
    assert code.startswith(b"\x7fELF")
    assert b"exp_float32_to_float32" in code


def _numbers() -> list[tuple[object, np.dtype]]:
    found: list[tuple[object, np.dtype]] = []
    for dtype in ALL:
        found += [(v, dtype) for v in extremes(dtype).tolist()]
    return found


@needs_gcc
def test_literals_are_exact() -> None:
    """Every extreme value of every dtype, written as a literal, comes back bit for bit."""
    numbers = _numbers()
    lines = [
        f"((u64*)y)[{i}] = 0; *({storage_type(d)}*)((u64*)y + {i}) = "
        f"{Writer().stored(Value(literal(v, d), d))};"
        for i, (v, d) in enumerate(numbers)
    ]
    source = (
        prelude(HELPERS) + 'extern "C" __global__ void all(u64* y) {\n' + "\n".join(lines) + "}"
    )
    (found,) = emulator.run(source, "all", (1, 1, 1), 1, [], [((len(numbers),), np.uint64)])
    for bits, (value, dtype) in zip(found, numbers, strict=True):
        back = np.array([bits]).view(dtype)[0]
        check.same_bits(back, np.asarray(value, dtype), f"{dtype} {value}")


@needs_gcc
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division_never_traps(dtype: np.dtype) -> None:
    values = extremes(dtype)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    w = Writer()
    t = storage_type(dtype)
    w.lines.append(f'extern "C" __global__ void k(const {t}* a, const {t}* b, {t}* y) {{')
    w.line("const u32 i = blockIdx.x;")
    w.store("y[i]", w.div(w.load("a[i]", dtype), w.load("b[i]", dtype)))
    w.lines.append("}")
    (found,) = emulator.run(
        prelude(w.helpers) + w.text(), "k", (a.size, 1, 1), 1, [a, b], [(a.shape, dtype)]
    )
    low, width = int(np.iinfo(dtype).min), 8 * dtype.itemsize
    for x, y, q in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
        exact = 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        assert q == (exact - low) % 2**width + low, (x, y)


def test_equal_operations_are_written_once_and_blocks_forget() -> None:
    w = Writer()
    f32 = np.dtype(np.float32)
    a = w.load("x[0]", f32)
    assert w.add(a, a) == w.add(a, a)
    with w.block("if (a)"):
        inside = w.mul(a, a)
        assert w.mul(a, a) == inside
        assert w.add(a, a).text == "v1"
    assert w.mul(a, a) != inside
    assert w.text() == (
        "  const f32 v0 = x[0];\n  const f32 v1 = v0 + v0;\n  if (a) {\n"
        "    const f32 v2 = v0 * v0;\n  }\n  const f32 v3 = v0 * v0;\n"
    )


def test_functions_and_dtypes_that_c_lacks_are_errors() -> None:
    w = Writer()
    one = Value("1", np.dtype(np.int32))
    with pytest.raises(DtypeError, match="takes floats"):
        w.call("exp", one)
    with pytest.raises(DtypeError, match="no function"):
        w.call("gamma", one)
    with pytest.raises(DtypeError, match="uint32"):
        w.mulhi(one, one)
