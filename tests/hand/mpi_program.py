"""One process of an MPI job: its part of a batch through SyncBatchNorm, against the whole."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import nn

group = mg.collective.world()
sizes = [3 + rank for rank in range(group.size)]
x, delta = np.random.default_rng(0).normal(size=(2, sum(sizes), 4, 2))
start = sum(sizes[: group.rank])
mine = slice(start, start + sizes[group.rank])

whole = nn.BatchNorm(4, dtype=mg.float64)
layer = nn.SyncBatchNorm(4, dtype=mg.float64, group=group)


@mg.compile
def step(x, delta):
    y = layer(x)
    y.backward(delta)
    return y


y, pullback = mg.vjp(whole, x)
together = lambda t: nn.functional.batch_norm(t, None, None, training=True, group=group)
back = mg.vjp(together, x[mine])
np.testing.assert_allclose(step(x[mine], delta[mine]), np.asarray(y)[mine], rtol=1e-12, atol=1e-12)
np.testing.assert_allclose(
    back[1](delta[mine])[0], np.asarray(pullback(delta)[0])[mine], rtol=1e-10, atol=1e-12
)
np.testing.assert_allclose(layer.running_mean, whole.running_mean, rtol=1e-12)
np.testing.assert_allclose(layer.running_var, whole.running_var, rtol=1e-12)
total = mg.collective.all_reduce(layer.bias.grad, group)
np.testing.assert_allclose(total, delta.sum((0, 2)), rtol=1e-12)
print("agrees", flush=True)  # noqa: T201
