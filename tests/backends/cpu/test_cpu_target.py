"""Targets: the width follows the features, and a narrower machine can be imitated."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest

from minigrad.backends.cpu import jit
from minigrad.backends.cpu.target import Target, current_target, named_target, use_target
from minigrad.errors import BackendUnavailable

AXPY = """
define void @axpy(ptr %x, ptr %y) {
  %a = load <16 x float>, ptr %x, align 4
  %b = load <16 x float>, ptr %y, align 4
  %c = fmul contract <16 x float> %a, %b
  %d = fadd contract <16 x float> %c, %a
  store <16 x float> %d, ptr %y, align 4
  ret void
}
"""
LINUX = "x86_64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("triple", "features", "vector_bytes", "has_fma"),
    [
        (LINUX, "+avx2,+avx512bw,+avx512dq,+avx512f,+avx512vl,+fma", 64, True),
        (LINUX, "+avx2,+avx512f,+fma", 32, True),  # the first AVX-512 machines had no VL
        (LINUX, "+avx2,+fma,-avx512f", 32, True),
        (LINUX, "+avx2,-fma", 16, False),
        (LINUX, "", 16, False),
        ("arm64-apple-darwin23", "+neon", 16, True),
        ("aarch64-unknown-linux-gnu", "+neon", 16, True),
    ],
)
def test_width_and_fma_follow_the_features(
    triple: str, features: str, vector_bytes: int, has_fma: bool
) -> None:
    for cpu in ("znver4", "a name that means nothing"):
        target = Target(triple, cpu, features)
        assert (target.vector_bytes, target.has_fma) == (vector_bytes, has_fma)


def levels() -> list[str]:
    """The levels of this architecture that this machine has."""
    if jit.missing():
        return ["baseline"]
    names = ["baseline", "host"]
    for name in ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"):
        try:
            named_target(name)
        except BackendUnavailable:
            continue
        names.append(name)
    return names


@pytest.mark.parametrize("name", levels())
def test_narrow_code_runs_here(name: str) -> None:
    x = np.linspace(-2, 2, 16, dtype=np.float32)
    y = np.linspace(1, 3, 16, dtype=np.float32)
    expected = x * y + x
    with use_target(name) as target:
        assert current_target() is target
        address = jit.load(AXPY, ["axpy"])["axpy"]
        listing = jit.assembly(AXPY)
    pointer = ctypes.c_void_p
    ctypes.CFUNCTYPE(None, pointer, pointer)(address)(x.ctypes.data, y.ctypes.data)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    if target.arch == "x86_64":
        widest = {16: "xmm", 32: "ymm", 64: "zmm"}[target.vector_bytes]
        used = set(re.findall(r"%([xyz]mm)\d", listing))
        assert max(used, key=["xmm", "ymm", "zmm"].index) == widest
        assert ("vfmadd" in listing) == target.has_fma


def test_the_environment_chooses_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CPU_TARGET", "baseline")
    assert current_target() == named_target("baseline")
    with use_target("host"):
        assert current_target() == named_target("host")
    monkeypatch.setenv("MINIGRAD_CPU_TARGET", "")
    assert current_target() == named_target("host")


def test_an_unknown_target_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CPU_TARGET", "x86-64-v9")
    with pytest.raises(BackendUnavailable, match="baseline"):
        current_target()


def test_a_target_beyond_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from minigrad.backends.cpu import target

    host = Target(LINUX, "old", "+sse2,+cmov,+cx8,+fxsr,+mmx,+sse")
    monkeypatch.setattr(target, "host_target", lambda: host)
    with pytest.raises(BackendUnavailable, match=r"cannot run(.|\n)*avx2"):
        target.named_target.__wrapped__("x86-64-v3")
    assert target.named_target.__wrapped__("x86-64").vector_bytes == 16


def test_targets_differ_in_their_keys() -> None:
    keys = {named_target(name).key for name in levels()}
    assert len(keys) == len({named_target(name) for name in levels()})
