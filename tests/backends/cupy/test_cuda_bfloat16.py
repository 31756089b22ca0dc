"""bfloat16 as CUDA C: run on the emulator, compiled by NVRTC. It needs no hardware for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends import Program as Reference
from minigrad.backends.cupy import nvrtc
from minigrad.backends.cupy.executable import Executable
from minigrad.backends.cupy.prelude import prelude
from minigrad.backends.cupy.program import Program
from minigrad.core import registry
from minigrad.core.primitive import defined
from minigrad.dtypes import ALL, convert

from . import emulator
from .emulated_device import EmulatedDevice
from .test_cuda_dialect import kernel, kernel_name
from .test_executable import graph_of

pytest.importorskip("ml_dtypes", reason="pip install 'minigrad[lowp]'")
pytestmark = pytest.mark.host
needs_gcc = pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING))
needs_nvrtc = pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))

F = mg.nn.functional
BF16: np.dtype[Any] = mg.bfloat16
ALL_BITS = np.arange(1 << 16, dtype=np.uint16)
ARITHMETIC = ("add", "sub", "mul", "div", "sqrt", "maximum", "floor", "floor_divide", "remainder")
WITH_A_LIBRARY = ("exp", "log", "tanh", "sin", "erf")


@lru_cache(maxsize=1)
def module() -> str:
    writers = []
    for name in (*ARITHMETIC, *WITH_A_LIBRARY):
        given = [BF16] * len(registry[name].vjp)  # type: ignore[arg-type]
        writers.append(kernel(registry[name], given, {}, BF16))
    astype = registry["astype"]
    for other in ALL:
        writers.append(kernel(astype, [BF16], {"dtype": other}, other))
        writers.append(kernel(astype, [other], {"dtype": BF16}, BF16))
    writers.append(kernel(registry["stop_gradient"], [BF16], {}, BF16))
    helpers = set().union(*(w.helpers for w in writers))
    return prelude(helpers) + "".join(w.text() for w in writers)


def run(name: str, *arrays: Any, to: Any = BF16) -> Any:
    n = arrays[0].size
    called = kernel_name(registry[name], [a.dtype for a in arrays], to)
    (found,) = emulator.run(module(), called, (-(-n // 64), 1, 1), 64,
                            [*arrays, np.uint64(n)], [(arrays[0].shape, to)])  # fmt: skip
    return found


def same(found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        wide = [np.asarray(x).astype(np.float64) for x in (found, expected)]
    np.testing.assert_array_equal(*wide)
    np.testing.assert_array_equal(*[np.signbit(w) | np.isnan(w) for w in wide])


@needs_gcc
def test_all_65536_patterns_come_through() -> None:
    x = ALL_BITS.view(BF16)
    found = run("stop_gradient", x).view(np.uint16)
    np.testing.assert_array_equal(found, ALL_BITS)
    with np.errstate(invalid="ignore"):
        same(run("astype", x, to=np.dtype(np.float32)), x.astype(np.float32))


@needs_gcc
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_rounding_is_that_of_the_reference(source: Any) -> None:
    with np.errstate(invalid="ignore"):
        exact = ALL_BITS.view(BF16).astype(np.float64)
    exact = exact[np.isfinite(exact)]
    ties = (exact[:-1] + exact[1:]) / 2
    with np.errstate(all="ignore"):
        x = np.concatenate([ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf),
                            [np.nan, np.inf, -np.inf, 1e39, -1e300, 5e-324, -0.0]])  # fmt: skip
        x = x.astype(source)
        same(run("astype", x), convert(x, BF16))


@needs_gcc
@pytest.mark.parametrize("dtype", [d for d in ALL if d.kind != "f"], ids=str)
def test_conversions_of_integers(dtype: Any) -> None:
    x = (np.arange(100) % 2 if dtype.kind == "b" else np.arange(100)).astype(dtype)
    same(run("astype", x), convert(x, BF16))
    same(run("astype", convert(x, BF16), to=dtype), convert(x, BF16).astype(dtype))


@needs_gcc
@pytest.mark.parametrize("name", [*ARITHMETIC, *WITH_A_LIBRARY])
def test_operations_are_computed_in_float32_and_rounded(name: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [convert(rng.normal(size=4096) * 10.0 ** rng.integers(-3, 3, 4096), BF16)
              for _ in registry[name].vjp]  # type: ignore[union-attr]  # fmt: skip
    with np.errstate(all="ignore"):
        expected = np.asarray(defined(registry[name], arrays, {}))
    found = run(name, *arrays)
    if name in ARITHMETIC:
        same(found, expected)
        return
    steps = [x.view(np.uint16).astype(np.int64) for x in (found, expected)]
    nan = np.isnan(expected.astype(np.float32))
    np.testing.assert_array_equal(np.isnan(found.astype(np.float32)), nan)
    assert np.abs(steps[0] - steps[1])[~nan].max() <= 1


def normal(seed: int, *shape: int) -> Any:
    return convert(np.random.default_rng(seed).normal(size=shape), BF16)


def network(x: Any, w: Any, v: Any) -> Any:
    def loss(w: Any, v: Any) -> Any:
        return mg.mean(mg.softmax(mg.tanh(F.layer_norm(x @ w, (30,))) @ v)[:, 0])

    return mg.value_and_grad(loss, (0, 1))(w, v)


def convolution(x: Any, w: Any) -> Any:
    return mg.grad(lambda x, w: mg.sum(mg.tanh(F.conv2d(x, w, stride=2, padding=1))), (0, 1))(x, w)


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "pointwise": (lambda x, y: mg.exp(x) * y - x / y, [normal(0, 5, 64), normal(1, 5, 64)]),
    "movement": (lambda x: mg.pad(mg.flip(x.T, axis=0), ((1, 2), (0, 3))), [normal(0, 10, 12)]),
    "sums": (lambda x: (mg.sum(x, 0), mg.sum(x, 1), mg.mean(x)), [normal(0, 400, 33)]),
    "sums beside rows": (lambda x: (mg.sum(x, 0), mg.softmax(x)), [normal(0, 37, 53)]),
    "short sums": (lambda x: (mg.sum(x, 1), mg.prod(x, 1)), [normal(0, 40, 5)]),
    "extrema": (lambda x: (mg.max(x, 0), mg.min(x), mg.max(x, 1)), [normal(0, 200, 50)]),
    "embedding": (
        lambda w, i: mg.grad(lambda w: mg.sum(mg.sin(mg.take(w, i, axis=0))))(w),
        [normal(0, 20, 9), np.random.default_rng(0).integers(0, 20, (6, 40))],
    ),
    "running sums": (lambda x: mg.cumulative_sum(x, axis=0), [normal(0, 20, 7)]),
    "product": (lambda x, w: F.relu(x @ w + 1.0), [normal(0, 30, 40), normal(1, 40, 20)]),
    "convolution": (convolution, [normal(0, 4, 3, 11, 11), normal(1, 6, 3, 3, 3)]),
    "network": (network, [normal(0, 33, 20), normal(1, 20, 30), normal(2, 30, 10)]),
}


@needs_gcc
@pytest.mark.parametrize("name", CASES)
def test_compiled_graph_is_near_the_reference(name: str) -> None:
    graph, arrays = graph_of(*CASES[name])
    expected = Reference(graph)(*arrays)
    results = []
    for order in (0, 1):
        found = Executable(graph, EmulatedDevice(order))(*arrays)
        results.append([np.asarray(f).tobytes() for f in found])
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype == BF16
            wide = np.asarray(b).astype(np.float64)
            scale = float(np.max(np.abs(wide), initial=0.0))
            close = 2.0**-7 if name not in ("convolution", "network") else 2.0**-5
            np.testing.assert_allclose(
                np.asarray(a).astype(np.float64), wide, rtol=close, atol=close * 0.1 * scale
            )
    assert results[0] == results[1]


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_nvrtc_compiles_it(arch: str) -> None:
    assert nvrtc.cubin(module(), arch).startswith(b"\x7fELF")
    for f, arrays in CASES.values():
        source = Program(graph_of(f, arrays)[0]).source
        if source:
            assert nvrtc.cubin(source, arch).startswith(b"\x7fELF")
