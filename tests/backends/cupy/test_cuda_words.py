"""Random words and erf in CUDA C: few instructions, and the words and the accuracy promised."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends import Program as Reference
from minigrad.backends.cupy import loops
from minigrad.backends.cupy.emit import Kernel
from minigrad.backends.cupy.executable import Executable
from minigrad.backends.cupy.prelude import prelude
from minigrad.ops.special import erf_reference

from . import emulator
from .emulated_device import EmulatedDevice
from .test_executable import graph_of

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING)),
]

F = mg.nn.functional


def erf(x: np.ndarray, exponential: str = "mg_two_to(q)") -> np.ndarray:
    text = prelude(["mg_erf"]).replace("mg_two_to(q)", exponential)
    assert exponential in text
    source = text + (
        'extern "C" __global__ void k(const f32* x, const u64* n, f32* y) '
        "{ u64 i = (u64)blockIdx.x * 256 + threadIdx.x; if (i < *n) y[i] = mg_erf(x[i]); }"
    )
    given = [x, np.uint64(x.size)]
    grid = (-(-x.size // 256), 1, 1)
    (found,) = emulator.run(source, "k", grid, 256, given, [(x.shape, np.float32)])
    return found


def positive() -> np.ndarray:
    """Return every 4,999th float32 from 0 to infinity, and all about the border of the formulas."""
    border = int(np.float32(0.94).view(np.uint32))
    bits = [np.arange(0, 0x7F800000, 4999), np.arange(border - 2000, border + 2000), [0x7F800000]]
    return np.concatenate(bits).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("exponential", "most"),
    [
        ("mg_two_to(q)", 1.5),
        ("mg_two_to(q) * 0x1.000004p0f", 2.2),  # 2^-22 more than the exact exponential
        ("mg_two_to(q) * 0x1.fffff8p-1f", 2.2),
    ],
)
def test_erf_errs_by_few_ulp(exponential: str, most: float) -> None:
    x = positive()
    found = erf(x, exponential)
    exact = erf_reference(x.astype(np.float64))
    ulp = np.spacing(np.maximum(exact, np.finfo(np.float32).tiny).astype(np.float32))
    assert np.max(np.abs(found - exact) / ulp) < most
    assert np.all(found <= 1.0) and found[-1] == 1.0


def test_erf_is_odd_and_keeps_nan_infinity_and_zero() -> None:
    x = positive()
    found, mirrored = erf(x), erf(-x)
    np.testing.assert_array_equal(mirrored.view(np.uint32), (-found).view(np.uint32))
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(erf(special), [0.0, -0.0, 1.0, -1.0, np.nan])
    assert np.signbit(erf(special)[:2]).tolist() == [False, True]


# Random words ----------------------------------------------------------------------------


def compiled(
    f: Callable[..., Any], *arrays: Any, order: int = 0
) -> tuple[list[Any], list[Any], Kernel]:
    """Return what a graph computes, what the reference does, and the first kernel."""
    graph, given = graph_of(f, list(arrays))
    executable = Executable(graph, EmulatedDevice(order))
    kernel = executable.program.steps[0]
    assert isinstance(kernel, Kernel)
    return executable(*given), Reference(graph)(*given), kernel


def drop(x: Any) -> Any:
    return F.dropout(x, 0.25)


@pytest.mark.parametrize(
    ("dtype", "shape", "calls"),
    [
        (np.float16, (6, 40), 2),  # 8 neighbours a thread
        (np.float32, (6, 40), 1),  # 4
        (np.float64, (6, 40), 1),  # 2, half of a call's words
        (np.float32, (7, 13, 18), 1),  # 2
        (np.float16, (3, 20), 1),  # 4
    ],
)
def test_a_call_of_philox_serves_all_neighbours_of_its_block(
    dtype: Any, shape: tuple[int, ...], calls: int
) -> None:
    mg.random.seed(2**40 + 3)
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    found, expected, kernel = compiled(drop, x)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert 0.6 < np.count_nonzero(found[0]) / x.size < 0.9
    assert "mg_word(" not in kernel.text
    assert kernel.text.count("mg_philox(") == calls


def test_a_mask_of_booleans_has_sixteen_words_a_thread() -> None:
    mg.random.seed(5)
    found, expected, kernel = compiled(lambda x: mg.random.bernoulli(0.3, (8, 32)) & (x > 0.0),
                                       np.ones((8, 32), np.float32))  # fmt: skip
    np.testing.assert_array_equal(found[0], expected[0])
    assert "mg_word(" not in kernel.text
    found, expected, kernel = compiled(lambda: mg.random.bernoulli(0.3, (8, 32)))
    np.testing.assert_array_equal(found[0], expected[0])
    assert kernel.text.count("mg_philox(") == 4


def test_words_of_single_elements_are_the_same() -> None:
    mg.random.seed(7)
    found, expected, kernel = compiled(drop, np.ones((7, 13, 17), np.float32))
    np.testing.assert_array_equal(found[0], expected[0])
    assert "mg_word(" in kernel.text


# Vectors a thread ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_thread_of_a_large_array_computes_two_vectors(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).normal(size=(128, 64)).astype(dtype)
    vectors = x.size * x.itemsize // 16
    mg.random.seed(11)
    one, expected, before = compiled(drop, x)
    monkeypatch.setattr(loops, "_MANY", 1)
    for order in (0, 1):
        mg.random.seed(11)
        two, _, kernel = compiled(drop, x, order=order)
        for a, b, c in zip(one, two, expected, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)
    assert before.grid == (vectors // 256, 1, 1) and kernel.grid == (vectors // 512, 1, 1)


@pytest.mark.parametrize(
    ("f", "shape", "each"),
    [
        (lambda x, _: x * 2.0 + 1.0, (64, 32), 2),
        (lambda x, y: x * y, (64, 32), 1),  # two loads are under way already
        (lambda x, _: x * 2.0 + 1.0, (32, 36), 1),  # a block would not be full
        (lambda x, _: x * 2.0 + 1.0, (33, 31), 1),  # no vectors
    ],
)
def test_only_whole_blocks_with_one_load_compute_two_vectors(
    f: Callable[..., Any], shape: tuple[int, ...], each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_MANY", 1)
    x, y = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    found, expected, kernel = compiled(f, x, y)
    np.testing.assert_array_equal(found[0], expected[0])
    assert ("< 2; ++" in kernel.text) == (each == 2)
    guarded = re.search(r"^  if \(", kernel.text, re.MULTILINE) is not None
    assert guarded == (each == 1 and shape != (64, 32))
