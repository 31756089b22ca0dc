"""Optimisers and schedules beside PyTorch's, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

pytestmark = pytest.mark.oracle

STEPS = 25

CASES = [
    ("SGD", "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", "Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("AdamW", "AdamW", {"lr": 0.1, "betas": (0.8, 0.95)}),
    ("RMSProp", "RMSprop", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSProp", "RMSprop", {"lr": 0.1, "centered": True, "eps": 1e-3}),
]

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 4}),
    ("MultiStepLR", {"milestones": [3, 9], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01}),
    ("LinearLR", {}),
    ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": STEPS}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": STEPS, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "epochs": 5, "steps_per_epoch": 5, "anneal_strategy": "linear"}),
    ("ReduceLROnPlateau", {"patience": 1, "cooldown": 2}),
]


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="pip install 'minigrad[oracle]'")


def both(torch: Any, ours: str, theirs: str, options: dict[str, Any]) -> Any:
    w = np.random.default_rng(0).normal(size=(3, 2))
    p, q = mg.Parameter(w), torch.nn.Parameter(torch.tensor(w))
    return (
        p, getattr(mg.optim, ours)([p], **options), q, getattr(torch.optim, theirs)([q], **options)
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_steps_agree_with_torch(torch: Any, ours: str, theirs: str, options: Any) -> None:
    p, mine, q, other = both(torch, ours, theirs, options)
    for g in np.random.default_rng(1).normal(size=(STEPS, 3, 2)):
        p.grad, q.grad = mg.tensor(g), torch.tensor(g)
        mg.optim.clip_grad_norm([p], 1.0)
        torch.nn.utils.clip_grad_norm_([q], 1.0)
        mine.step()
        other.step()
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedules_agree_with_torch(torch: Any, name: str, options: Any) -> None:
    momentum = {"lr": 0.1, "momentum": 0.9}
    p, mine, q, other = both(torch, "SGD", "SGD", momentum)
    first = getattr(mg.optim, name)(mine, **options)
    second = getattr(torch.optim.lr_scheduler, name)(other, **options)
    for t in range(STEPS - 1):
        p.grad, q.grad = mg.ones((3, 2), dtype=mg.float64), torch.ones(3, 2, dtype=torch.float64)
        mine.step()
        other.step()
        metric = (1.0 / (1 + min(t, 6)),) if name == "ReduceLROnPlateau" else ()
        first.step(*metric)
        second.step(*metric)
        assert mine.lr == pytest.approx(other.param_groups[0]["lr"], rel=1e-9)
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-9)
