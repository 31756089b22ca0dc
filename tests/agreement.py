"""How well a backend must agree with the reference: to the bit, or within a table of tolerances."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.dtypes import tolerance
from minigrad.trees import flatten

#: How many times the tolerance of one operation (``minigrad.dtypes``) the results of a program
#: may be off, measured by the largest number in each. The reference itself has 0. The coarsest
#: of the results counts for all: a float64 may have been computed from a float32.
ROOM = {"numpy": 0.0, "cpu": 10.0, "cupy": 10.0}


def agree(found: Any, expected: Any, backend: str) -> None:
    """Assert that trees of arrays have one structure, the same types, and numbers that agree."""
    (mine, structure), (theirs, wanted) = flatten(found), flatten(expected)
    assert structure == wanted
    pairs = [(array(x), array(y)) for x, y in zip(mine, theirs, strict=True)]
    room = ROOM[backend] * max((tolerance(y.dtype) for _, y in pairs), default=0.0)
    for i, (x, y) in enumerate(pairs):
        assert (x.shape, x.dtype) == (y.shape, y.dtype), f"leaf {i}"
        if not room or not tolerance(y.dtype):
            assert np.ascontiguousarray(x).tobytes() == np.ascontiguousarray(y).tobytes(), i
            continue
        largest = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
        np.testing.assert_allclose(x, y, rtol=0, atol=room * largest, err_msg=f"leaf {i}")


def array(leaf: Any) -> Any:
    """Return a leaf as an array in the host's memory."""
    return leaf.numpy() if hasattr(leaf, "numpy") else np.asarray(leaf)
