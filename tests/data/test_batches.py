"""Batches: every row once, orders by seed and epoch, going on in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.data import Batches
from minigrad.errors import CheckpointError, DataError, TraceError

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


def rows(batches: Batches) -> list[int]:
    return [int(i) for _, y in batches for i in y.numpy()]


@given(n=st.integers(1, 40), size=st.integers(1, 45), drop=st.booleans(), shuffle=st.booleans())
def test_every_row_is_given_once(n: int, size: int, drop: bool, shuffle: bool) -> None:
    batches = Batches(np.arange(n), batch_size=size, drop_last=drop, shuffle=shuffle, seed=3)
    found = [b for (b,) in batches]
    assert len(found) == len(batches)
    together = [int(i) for b in found for i in b.numpy()]
    assert len(together) == (n // size * size if drop else n)
    assert len(set(together)) == len(together)
    assert all(b.shape == (size,) for b in (found if drop else found[:-1]))
    if not shuffle:
        assert together == list(range(len(together)))


@pytest.mark.host
def test_rows_of_all_arrays_stay_together_and_are_copies() -> None:
    for shuffle in (False, True):
        for x, y in Batches(X, mg.tensor(Y), batch_size=3, shuffle=shuffle, seed=1):
            assert isinstance(x, mg.Tensor)
            assert (x.dtype, y.dtype) == (mg.float32, mg.int64)
            np.testing.assert_array_equal(x.numpy(), X[y.numpy()])
            assert not np.shares_memory(x.value, X)


def test_arrays_lists_and_dicts_are_taken() -> None:
    (x, y) = next(iter(Batches(X, Y.tolist(), batch_size=4, tensors=False)))
    assert isinstance(x, np.ndarray)
    assert y.tolist() == [0, 1, 2, 3]
    batch = next(iter(Batches({"x": X, "y": Y}, batch_size=4)))
    assert batch["x"].shape == (4, 2)
    assert batch["y"].tolist() == [0, 1, 2, 3]


def test_orders_depend_on_seed_and_epoch_alone() -> None:
    first = Batches(X, Y, batch_size=3, shuffle=True, seed=5)
    second = Batches(X, Y, batch_size=4, shuffle=True, seed=5)
    epochs = [rows(first) for _ in range(3)]
    assert epochs == [rows(second) for _ in range(3)]
    assert len({tuple(e) for e in epochs}) == 3
    assert rows(Batches(X, Y, batch_size=3, shuffle=True, seed=6)) != epochs[0]
    assert first.epoch == 3


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox-4x32-10 in plain integers (Salmon and others, 2011)."""
    (c0, c1, c2, c3), (k0, k1), mask = counter, key, 0xFFFFFFFF
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & mask, (a >> 32) ^ c3 ^ k1, a & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return [c0, c1, c2, c3]


def test_orders_do_not_depend_on_the_version_of_numpy() -> None:
    batches = Batches(X, Y, batch_size=3, shuffle=True, seed=5)
    for epoch in range(3):
        words = [w for block in range(3) for w in philox([block, 0, epoch, 0], [5, 0])]
        assert rows(batches) == sorted(range(10), key=words.__getitem__)


def test_without_a_seed_the_default_generator_decides() -> None:
    def orders() -> list[list[int]]:
        return [rows(Batches(X, Y, batch_size=3, shuffle=True)) for _ in range(2)]

    mg.random.seed(0)
    first = orders()
    mg.random.seed(0)
    assert orders() == first
    assert first[0] != first[1]
    mg.random.seed(1)
    assert orders() != first


def test_a_loop_left_early_counts_as_an_epoch() -> None:
    batches = Batches(X, Y, batch_size=3, shuffle=True, seed=5)
    whole = Batches(X, Y, batch_size=3, shuffle=True, seed=5)
    epochs = [rows(whole) for _ in range(2)]
    for _ in batches:
        break
    assert (batches.epoch, batches.position) == (0, 1)
    assert rows(batches) == epochs[1]


@given(done=st.integers(0, 9))
def test_a_saved_position_goes_on_with_the_batches_that_were_left(done: int) -> None:
    def make() -> Batches:
        return Batches(X, Y, batch_size=3, shuffle=True, seed=5)

    straight = make()
    everything = [tuple(y.tolist()) for _ in range(3) for _, y in straight]
    first, given_out = make(), []
    for _ in range(3):
        for _, y in first:
            if len(given_out) == done:
                break
            given_out.append(tuple(y.tolist()))
            state = first.state_dict()
        else:
            continue
        break
    second = Batches(X, Y, batch_size=3, shuffle=True, seed=99)
    if done:
        second.load_state_dict(state)
    else:
        second.seed = 5
    while second.epoch < 3:
        given_out += [tuple(y.tolist()) for _, y in second]
    assert given_out == everything


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 11}, "rows = 11, here it is 10"),
        ({"batch_size": 4}, "batch_size = 4"),
        ({"position": 5}, "no epoch has a batch 5"),
        ({"epoch": -1}, "no epoch"),
        ({"other": 1}, "entries"),
    ],
)
def test_a_state_of_other_batches_is_refused(change: Any, message: str) -> None:
    batches = Batches(X, Y, batch_size=3)
    before = batches.state_dict()
    with pytest.raises(CheckpointError, match=message):
        batches.load_state_dict(before | change)
    assert batches.state_dict() == before


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((X, Y[:-1]), r"(?s)different numbers.*array 1  shape \(9,\)"),
        (({"x": X, "y": Y[:-1]},), r"array y  shape \(9,\)"),
        ((X, np.float32(1)), "different numbers"),
        ((X[:0],), "no rows"),
        ((), "no rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Batches(*arrays, batch_size=2)


def test_a_batch_size_that_is_not_positive_is_refused() -> None:
    with pytest.raises(DataError, match="batch_size = 0"):
        Batches(X, batch_size=0)


def test_a_loop_inside_a_traced_function_is_refused() -> None:
    batches = Batches(X, Y, batch_size=3)
    with pytest.raises(TraceError, match="pass each batch"):
        mg.trace(lambda: [x for x, _ in batches])


def test_progress_shows_the_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    batches = Batches(X, Y, batch_size=3, progress=True)
    for _ in batches:
        assert batches.bar is not None
        batches.bar.set(loss=mg.tensor(0.25))
    assert rows(Batches(X, Y, batch_size=3, progress="train")) == list(range(10))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 0  100%")
    assert first.endswith("loss 0.25")
    assert second.startswith("train  100%")


def test_the_text_of_batches_names_their_sizes() -> None:
    assert repr(Batches(X, batch_size=3)) == "Batches(10 rows, 4 batches of 3, epoch 0)"
