"""State of compiled steps: written over where nobody else holds it, whole at every moment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.api import shortcut
from minigrad.backends.cpu import pool
from minigrad.backends.cpu.bound import layout
from minigrad.backends.cpu.plan import CHECK, aligned, make_plan
from minigrad.core import recorder
from minigrad.errors import DataError

from .kernels import FAULT, kernel, table

Cells = tuple[Any, ...]
RNG = np.random.default_rng(0)


def executable(compiled: Any) -> Any:
    (entries,) = compiled._entries.values()
    return entries[0].execute


def memory(cell: Any) -> int:
    """Return where a cell's array lies, without a reference to it that stays."""
    return int(cell._held.ctypes.data)


# What may be written over ------------------------------------------------------------


def assign(value: Callable[[Any], Any], *results: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a step that assigns a value of a buffer, and returns others of its old value."""

    def step(b: Any) -> Any:
        found = tuple(f(b) for f in results)
        b.assign(value(b))
        return found

    return step


def flat(b: Any) -> Any:
    return mg.reshape(b, (b.size,))


def rows_then_more(b: Any) -> Any:
    centred = b - mg.mean(b, 1, keepdims=True)
    return centred * mg.rsqrt(mg.mean(centred * centred, 1, keepdims=True) + 1.0)


STEPS: dict[str, Callable[[Any], Any]] = {
    "elementwise": assign(lambda b: b * 0.5 + 1.0),
    "flipped": assign(lambda b: mg.flip(b, axis=0)),
    "rolled": assign(lambda b: mg.roll(b, 1, axis=0)),
    "transposed": assign(lambda b: mg.reshape(mg.reshape(b, b.shape[::-1]).T, b.shape) + 1.0),
    "flipped-flat": assign(lambda b: mg.reshape(mg.flip(flat(b)), b.shape)),
    "gathered": assign(lambda b: mg.take(b, np.arange(b.shape[0])[::-1] // 2, axis=0)),
    "concatenated": assign(lambda b: mg.concat([b[1:] + 1.0, b[:1]], axis=0)),
    "halves": assign(lambda b: mg.concat([b[b.shape[0] // 2 :], b[: b.shape[0] // 2]], axis=0)),
    "product": assign(lambda b: 0.01 * (b @ (mg.matrix_transpose(b) @ b)) + b),
    "cumulative": assign(lambda b: mg.cumulative_sum(b, axis=1) * 0.1),
    "sorted": assign(lambda b: mg.sort(b, axis=1, descending=True)),
    "centred": assign(lambda b: b - mg.mean(b)),
    "centred-rows": assign(lambda b: b - mg.mean(b, 1, keepdims=True)),
    "rows-read-again": assign(lambda b: b * 2.0, rows_then_more),
    "rows-added-up": assign(lambda b: mg.exp(-b), rows_then_more, lambda b: mg.sum(b, 0)),
    "softmax-beside": assign(lambda b: b * 0.9, lambda b: mg.softmax(b, 1), lambda b: mg.sum(b, 1)),
    "padded-from": assign(lambda b: mg.pad(b[1:-1], ((1, 1), (0, 0)))),
    "beside-others": assign(lambda b: mg.tanh(b), lambda b: b * 3.0, lambda b: mg.max(b, 0)),
}


@pytest.mark.parametrize("shape", [(4, 6), (40, 30), (64, 100)])
@pytest.mark.parametrize("name", STEPS)
def test_state_written_over_is_the_state_of_the_reference(
    name: str, shape: tuple[int, int]
) -> None:
    """Nothing looks at the buffer between the calls, so it may be written over in each."""
    initial, found = RNG.uniform(0.5, 1.5, shape), []
    for backend in ("numpy", "cpu"):
        buffer = mg.Buffer(initial)
        step = mg.compile(lambda buffer=buffer: STEPS[name](buffer), backend=backend)
        with mg.no_grad():
            results = [[np.array(r) for r in step()] for _ in range(4)]
        found.append([*results[-1], *results[1], np.array(buffer)])
    for mine, expected in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-12)


def test_state_that_nobody_else_holds_stays_where_it_is() -> None:
    p, m = mg.Parameter(np.ones(1000)), mg.Buffer(np.zeros(1000))

    @mg.compile(backend="cpu")
    def step(x: Any) -> None:
        m.assign(m * 0.9 + x)
        p.assign(p - 0.1 * m)

    x = np.ones(1000)
    step(x), step(x)
    places = memory(p), memory(m)
    for _ in range(5):
        step(x)
    assert (memory(p), memory(m)) == places
    assert executable(step).reusable


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda c: c.numpy(),
    "view": lambda c: c.numpy()[1:3],
    "asarray": np.asarray,
    "detach": lambda c: c.detach(),
    "history": lambda c: c * 1.0,
    "tuple": lambda c: (c.detach(), c.numpy()),
    "memoryview": lambda c: memoryview(c.numpy()),
    "dlpack": lambda c: np.from_dlpack(c.numpy()),
    "leaf": lambda c: c.leaf,
    "array": lambda c: c.array,
}


def contents(held: Any) -> list[list[float]]:
    if isinstance(held, tuple):
        return [x for part in held for x in contents(part)]
    value = getattr(held, "value", held)
    return [np.array(value).tolist()]


@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize("holder", HOLDERS)
def test_state_that_is_held_elsewhere_is_not_written_over(holder: str, warm: int) -> None:
    """Also when the array was made by the step itself, and is a view of its memory."""
    b = mg.Parameter(np.arange(5.0))

    @mg.compile(backend="cpu")
    def step() -> None:
        b.assign(b + 1.0)

    for _ in range(warm):
        step()
    held = HOLDERS[holder](b)
    before = contents(held)
    for _ in range(4):
        step()
    assert contents(held) == before
    assert b.tolist() == [k + warm + 4.0 for k in range(5)]


def test_state_dict_and_optimiser_keep_their_values() -> None:
    model = mg.nn.Linear(3, 2)
    optimiser = mg.optim.Adam(model.parameters(), lr=0.1)

    @mg.compile(backend="cpu")
    def step(x: Any) -> Any:
        optimiser.zero_grad()
        loss = mg.mean(model(x) ** 2)
        loss.backward()
        optimiser.step()
        return loss

    x = np.ones((4, 3), np.float32)
    step(x), step(x)
    kept = {k: v.array for k, v in model.state_dict().items()}
    before = {k: np.array(v) for k, v in kept.items()}
    gradient = model.weight.grad
    first = np.array(gradient)
    for _ in range(3):
        step(x)
    for name, value in kept.items():
        assert np.array(value).tolist() == before[name].tolist()
    assert np.array(gradient).tolist() == first.tolist()
    assert np.array(model.weight).tolist() != before["weight"].tolist()


def test_two_cells_of_one_array_go_apart() -> None:
    one, two = mg.Parameter(np.zeros(3)), mg.Parameter(np.zeros(3))
    step = mg.compile(lambda: (one.assign(two + 1.0), two.assign(two + 2.0))[:0], backend="cpu")
    two.load(one.array)
    step(), step(), step()
    assert (one.tolist(), two.tolist()) == ([5.0] * 3, [6.0] * 3)


def test_caller_who_passes_the_state_as_an_argument_keeps_it() -> None:
    b = mg.Parameter(np.zeros(3))
    step = mg.compile(lambda x: (b.assign(b + x + 1.0), x * 1.0)[1], backend="cpu")
    step(np.zeros(3)), step(np.zeros(3))
    result = step(b.array)
    assert result.tolist() == [2.0] * 3
    assert b.tolist() == [5.0] * 3


# Whole at every moment ---------------------------------------------------------------


def test_error_in_the_middle_leaves_all_state() -> None:
    a, b = mg.Parameter(np.zeros(4)), mg.Parameter(np.ones(4))
    labels = np.array([0, 3])

    @mg.compile(backend="cpu")
    def step(labels: Any) -> Any:
        a.assign(a + 1.0)
        b.assign(mg.flip(b) * 2.0)
        return mg.sum(mg.take(a, labels))

    for _ in range(3):
        step(labels)
    assert executable(step).reusable
    for _ in range(2):
        with pytest.raises(DataError, match="out of range"):
            step(np.array([0, 9]))
    assert (a.tolist(), b.tolist()) == ([3.0] * 4, [8.0] * 4)
    step(labels)
    assert (a.tolist(), b.tolist()) == ([4.0] * 4, [16.0] * 4)


def test_nothing_is_written_over_before_the_last_step_that_python_does() -> None:
    """Anything may be raised there, Ctrl-C for one."""
    a = mg.Parameter(np.zeros(5))

    @mg.compile(backend="cpu")
    def step() -> Any:
        a.assign(a + 1.0)
        return mg.argsort(mg.sin(a))

    step()
    program = executable(step).program
    assert [s.what for s in program.steps].count("reference") == 1
    assert not program.reuse


def mixed() -> tuple[Any, Any, Any]:
    """Return a cell that is written over, one that is not, and a step taken three times."""
    kept, moved = mg.Parameter(np.zeros(64)), mg.Parameter(np.zeros(64))

    @mg.compile(backend="cpu")
    def step() -> None:
        kept.assign(kept + 1.0)
        moved.assign(mg.flip(moved) + 1.0)

    for _ in range(3):
        step()
    return kept, moved, step


@pytest.mark.parametrize("shortest", [True, False])
def test_state_that_is_and_is_not_written_over_changes_at_once(
    shortest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python may be interrupted before any of its operations: the state is whole at each."""
    if not shortest:
        monkeypatch.setattr("minigrad.api.entry.shortcut", lambda _: None)
    kept, moved, step = mixed()
    assert executable(step).reusable == {0}
    place = memory(kept)
    seen: list[tuple[float, float]] = []

    def watch(frame: Any, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen.append((float(kept._held[0]), float(moved._held[0])))
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        step()
    finally:
        sys.settrace(before)
    assert memory(kept) == place, "it was written over"
    assert set(seen) == {(3.0, 3.0), (4.0, 4.0)}


def test_shortest_way_is_taken_with_mixed_state() -> None:
    """Cells that are and are not written over, in one native call."""
    kept, moved, step = mixed()
    (entries,) = step._entries.values()
    fast = entries[0].fast
    if fast is None:
        pytest.skip("arrays lie otherwise in this Python")
    assert recorder.tape is None
    assert fast(()) is not shortcut.MISS
    assert (kept.tolist(), moved.tolist()) == ([4.0] * 64, [4.0] * 64)


def test_attributes_are_set_only_when_the_plan_has_ended_well() -> None:
    """What a bound call is given beside its arrays: a name, objects and their new values."""
    call, known = pool.default_pool().call, layout()
    if call is None or known is None:
        pytest.skip("arrays lie otherwise in this Python")
    word = aligned(1)
    step = (kernel("fault", FAULT), [0, 1], 1, 1, CHECK)
    plan = make_plan([step], table(word, aligned(1)), error=word)
    plan.bind([1], [-1], known, pool.held_count())
    cell, other = SimpleNamespace(value=0), SimpleNamespace(value=0)
    fails, goes = np.zeros(1, np.int64), np.ones(1, np.int64)  # the chunk that fails
    assert call(plan.address, fails, "value", cell, 1, other, 2) == 1
    assert (cell.value, other.value) == (0, 0)
    word[0] = 0
    assert call(plan.address, goes, "value", cell, 3, other, 4) == 0
    assert (cell.value, other.value) == (3, 4)
    with pytest.raises(AttributeError):
        call(plan.address, goes, "value", cell, 5, object(), 6)
    assert call(plan.address, goes) == 0, "it is free again"
