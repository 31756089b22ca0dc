"""The short way through a call on a device: state lies where the last call left it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.api import entry
from minigrad.backends.cupy import resident
from minigrad.backends.cupy.executable import Executable
from minigrad.errors import DataError

from .emulated_device import EmulatedDevice
from .test_executable import needs_gcc

pytestmark = pytest.mark.host
base = sys.modules["minigrad.backends.base"]
F = mg.nn.functional


@pytest.fixture(params=["copied", "in turn"])
def general(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """Let "numpy" run on the emulator; return a list that grows with each call the general way.

    Outputs are small, and copied; or they are taken for large.
    """
    if request.param == "in turn":
        monkeypatch.setattr(resident, "_LARGE", 0)
    calls: list[int] = []
    called = Executable._called

    def counted(self: Executable, *args: Any) -> Any:
        calls.append(1)
        return called(self, *args)

    monkeypatch.setattr(Executable, "_called", counted)
    backend = base._backends["numpy"]
    emulated = replace(backend, compile=lambda g: Executable(g, EmulatedDevice()))
    monkeypatch.setitem(base._backends, "numpy", emulated)
    # the arrays of the emulator are views of its memory, which a CuPy array is not
    monkeypatch.setattr(entry, "_is_owned", lambda cell: sys.getrefcount(cell._held) == 3)
    return calls


def training() -> tuple[mg.nn.Module, Callable[..., Any]]:
    mg.random.seed(3)
    model = mg.nn.Sequential(
        mg.nn.Linear(5, 8), mg.nn.BatchNorm(8), mg.nn.ReLU(), mg.nn.Dropout(0.3),
        mg.nn.Linear(8, 3),
    )  # fmt: skip
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, labels: Any) -> Any:
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def batch(seed: int) -> tuple[Any, Any]:
    r = np.random.default_rng(seed)
    return r.normal(size=(12, 5)).astype(np.float32), r.integers(0, 3, 12)


@needs_gcc
def test_it_is_taken_from_the_third_call_on_and_gives_the_same(general: list[int]) -> None:
    model, step = training()
    compiled = mg.compile(step, backend="numpy")
    found = [compiled(*batch(i)).item() for i in range(6)]
    assert len(general) == 2
    same, step = training()
    expected = [step(*batch(i)).item() for i in range(6)]
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    for a, b in zip(model.parameters(), same.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=2e-4, atol=1e-6)


@needs_gcc
def test_an_array_that_somebody_holds_is_not_written_over(general: list[int]) -> None:
    model, step = training()
    compiled = mg.compile(step, backend="numpy")
    for i in range(4):
        compiled(*batch(i))
    weight = next(iter(model.parameters()))
    kept = weight.array
    view = kept[1:]
    before = np.array(kept)
    del general[:]
    compiled(*batch(4))
    assert general  # not the short way
    np.testing.assert_array_equal(kept, before)
    assert np.abs(weight.array - before).max() > 1e-4
    np.testing.assert_array_equal(view, before[1:])
    del kept, view
    for i in range(3):
        compiled(*batch(i))
    del general[:]
    compiled(*batch(5))
    assert not general  # the short way again


@needs_gcc
def test_results_that_are_kept_stay_as_they_are(general: list[int]) -> None:
    found: list[list[Any]] = []
    for run in (lambda step: step, lambda step: mg.compile(step, backend="numpy")):
        model, step = training()
        called = run(step)
        kept = []
        for i in range(7):
            loss = called(*batch(i))
            kept.append([loss, *(p.grad for p in model.parameters())])
        found.append([t.numpy() for tensors in kept for t in tensors])
    for p, q in zip(*found, strict=True):
        np.testing.assert_allclose(p, q, rtol=2e-3, atol=1e-5)


@needs_gcc
def test_new_values_for_a_cell_are_taken(general: list[int]) -> None:
    found = []
    for run in (lambda step: step, lambda step: mg.compile(step, backend="numpy")):
        model, step = training()
        called = run(step)
        for i in range(5):
            if i == 3:
                weight = next(iter(model.parameters()))
                weight.assign(np.linspace(-1, 1, 40, dtype=np.float32).reshape(8, 5))
            called(*batch(i))
        found.append([p.numpy() for p in model.parameters()])
    for p, q in zip(*found, strict=True):
        np.testing.assert_allclose(p, q, rtol=2e-4, atol=1e-6)


@needs_gcc
def test_a_wrong_index_is_an_error_that_changes_nothing(general: list[int]) -> None:
    model, step = training()
    compiled = mg.compile(step, backend="numpy")
    for i in range(4):
        compiled(*batch(i))
    x, labels = batch(4)
    before = [np.array(c.array) for c in model.parameters()]
    wrong = labels.copy()
    wrong[3] = 17
    with pytest.raises(DataError, match="17 is out of range"):
        compiled(x, wrong)
    for cell, value in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(cell.array, value)
    compiled(x, labels)
