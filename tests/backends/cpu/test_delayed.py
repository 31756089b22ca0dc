"""Results that a later kernel stores are computed there, not read back."""

from __future__ import annotations

import numpy as np

import minigrad as mg


def test_a_result_stored_by_a_later_kernel() -> None:
    def f(x: mg.Tensor, w: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        inner = w @ w  # a kernel of its own, which the second result waits for
        return x * 3.0, x - inner[0, 0]

    x, w = np.linspace(-1.0, 1.0, 64), np.arange(4.0).reshape(2, 2)
    y, z = mg.compile(f, backend="cpu")(mg.tensor(x), mg.tensor(w))
    np.testing.assert_allclose(y.numpy(), x * 3.0)
    np.testing.assert_allclose(z.numpy(), x - 2.0)
