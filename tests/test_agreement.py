"""The table by which backends are compared can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

from .agreement import ROOM, agree
from .shadow import MOST, Shadow

ONE = np.float32(1.0)
NEXT, FAR = np.nextafter(ONE, np.float32(2)), ONE + np.float32(1e-3)


def test_every_backend_is_in_the_table() -> None:
    assert set(ROOM) == set(mg.backends())


@pytest.mark.parametrize(
    ("found", "expected", "backends"),
    [
        (ONE, ONE, {"numpy", "cpu"}),
        (NEXT, ONE, {"cpu"}),
        (FAR, ONE, set()),
        (np.float64(NEXT), np.float64(ONE), set()),
        ((ONE, np.float64(NEXT)), (ONE, np.float64(ONE)), {"cpu"}),  # perhaps made from the first
        (np.float32(np.nan), np.float32(np.nan), {"numpy", "cpu"}),
        (np.float32(np.nan), ONE, set()),
        (np.int32(3), np.int32(4), set()),
        (np.int32(3), np.int64(3), set()),
        ([ONE], [ONE, ONE], set()),
    ],
)
def test_what_agrees(found: Any, expected: Any, backends: set[str]) -> None:
    good = set()
    for backend in ("numpy", "cpu"):
        try:
            agree(found, expected, backend)
            good.add(backend)
        except AssertionError:
            continue
    assert good == backends


@pytest.mark.host
def test_shadow_computes_what_a_test_looks_at_compiled_and_can_fail() -> None:
    shadow = Shadow("numpy")
    x = mg.tensor([1.0, 2.0])
    right, wrong = mg.tanh(x), mg.sin(x)
    with shadow.installed():
        right.tolist(), right.tolist(), x.tolist()
        assert (shadow.held, shadow.left) == (1, 0)
        wrong.node.value = wrong.node.value + 1e-3
        with pytest.raises(AssertionError, match="compiled"):
            wrong.numpy()
        chain = x
        for _ in range(MOST):
            chain = chain + 1.0
        chain.tolist()
        assert (shadow.held, shadow.left) == (1, 1)
