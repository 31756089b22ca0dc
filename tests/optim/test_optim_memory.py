"""Training does not keep what it no longer needs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg

WARM, STEPS = 500, 10_000


def blocks_kept(step: Callable[[], Any]) -> int:
    """Return how many blocks of memory stay allocated after many steps."""
    for _ in range(WARM):
        step()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(STEPS):
        step()
    gc.collect()
    return sys.getallocatedblocks() - before


def training() -> Callable[[], Any]:
    w = mg.Parameter(np.ones(3, np.float32))
    optimiser = mg.optim.SGD([w], lr=1e-3, momentum=0.9)
    schedule = mg.optim.ExponentialLR(optimiser, 0.9999)

    def step() -> Any:
        loss = (w * w).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        return loss

    return step


def test_ten_thousand_eager_steps_do_not_grow() -> None:
    assert blocks_kept(training()) < STEPS / 100


def test_the_measure_sees_a_loss_kept_in_every_step() -> None:
    step, kept = training(), []
    assert blocks_kept(lambda: kept.append(step())) > STEPS
