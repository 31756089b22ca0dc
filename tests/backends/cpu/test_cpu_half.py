"""The float16 routines against NumPy's own conversions, bit for bit."""

from __future__ import annotations

import ctypes
import warnings

import numpy as np
import pytest

from minigrad.backends.cpu import jit
from minigrad.backends.cpu.target import named_target

from .test_cpu_target import levels

CONVERT = """
define void @{name}(ptr %from, ptr %to, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %p = getelementptr {a}, ptr %from, i64 %i
  %q = getelementptr {b}, ptr %to, i64 %i
  %x = load {a}, ptr %p
  %y = {op} {a} %x to {b}
  store {b} %y, ptr %q
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""
KINDS = {
    np.dtype(np.float16): "half",
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
}


def convert(x: np.ndarray, to: type, target: str) -> np.ndarray:
    a, b = KINDS[x.dtype], KINDS[np.dtype(to)]
    op = "fpext" if x.dtype.itemsize < np.dtype(to).itemsize else "fptrunc"
    text = CONVERT.format(name="convert", a=a, b=b, op=op)
    address = jit.load(text, ["convert"], target=named_target(target))["convert"]
    out = np.empty(x.shape, to)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    function(address)(x.ctypes.data, out.ctypes.data, x.size)
    return out


def equal_bits(got: np.ndarray, expected: np.ndarray) -> None:
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), nan)
    bits = f"u{got.dtype.itemsize}"
    np.testing.assert_array_equal(got.view(bits)[~nan], expected.view(bits)[~nan])


@pytest.mark.parametrize("target", levels())
@pytest.mark.parametrize("to", [np.float32, np.float64])
def test_every_half_is_extended_exactly(to: type, target: str) -> None:
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    equal_bits(convert(x, to, target), x.astype(to))


@pytest.mark.parametrize("target", levels())
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rounding_to_half_is_to_nearest_and_ties_to_even(kind: type, target: str) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(kind)
        ties = (halves[:-1] + halves[1:]) / 2
        x = np.concatenate(
            [
                halves, ties, np.nextafter(ties, np.array(np.inf, kind)),
                np.nextafter(ties, np.array(-np.inf, kind)),
                np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
                .view(np.float32).astype(kind),
                np.array([65519.99, 65520.0, 65535.0, 65536.0, 1e38, -1e38, 1e-320, -0.0,
                          5.9604645e-08, 2.98e-08, 2.9802322387695312e-08, np.inf], kind),
            ]
        )  # fmt: skip
        equal_bits(convert(np.ascontiguousarray(x), np.float16, target), x.astype(np.float16))
