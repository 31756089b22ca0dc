"""Results that a later kernel stores are computed there, not read back."""

from __future__ import annotations

import numpy as np

import minigrad as mg


def test_a_result_stored_by_a_later_kernel() -> None:
    def f(x: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        total = mg.sum(x * x)
        return x * 3.0, x - total  # the first is stored where the second is

    x = np.linspace(-1.0, 1.0, 64)
    y, z = mg.compile(f, backend="cpu")(mg.tensor(x))
    np.testing.assert_allclose(y.numpy(), x * 3.0)
    np.testing.assert_allclose(z.numpy(), x - (x * x).sum())
