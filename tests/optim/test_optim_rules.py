"""The optimisers against their published formulas, written again in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError, MinigradError, ShapeError

STEPS = 20
SHAPES = ((4, 3), (3,))


def hand_sgd(
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Callable[[np.ndarray, Iterator[np.ndarray]], np.ndarray]:
    """Sutskever and others, 2013, as PyTorch documents it."""

    def run(w: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
        b = None
        for g in gradients:
            g = g + weight_decay * w
            if momentum:
                b = g if b is None else momentum * b + (1 - dampening) * g
                g = g + momentum * b if nesterov else b
            w = w - lr * g
        return w

    return run


def hand_adam(
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Callable[[np.ndarray, Iterator[np.ndarray]], np.ndarray]:
    """Kingma and Ba, 2015, algorithm 1; decoupled: Loshchilov and Hutter, 2019, algorithm 2."""

    def run(w: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, g in enumerate(gradients, 1):
            if decoupled:
                w = w - lr * weight_decay * w
            else:
                g = g + weight_decay * w
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
        return w

    return run


def hand_rmsprop(
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Callable[[np.ndarray, Iterator[np.ndarray]], np.ndarray]:
    """Tieleman and Hinton, 2012, lecture 6.5; centred: Graves, 2013, equations 38 to 41."""

    def run(w: np.ndarray, gradients: Iterator[np.ndarray]) -> np.ndarray:
        v, mean, b = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
        for g in gradients:
            g = g + weight_decay * w
            v = alpha * v + (1 - alpha) * g**2
            mean = alpha * mean + (1 - alpha) * g
            spread = np.sqrt(v - mean**2) if centered else np.sqrt(v)
            b = momentum * b + g / (spread + eps)
            w = w - lr * b
        return w

    return run


CASES = [
    (mg.optim.SGD, hand_sgd, {"lr": 0.1}),
    (mg.optim.SGD, hand_sgd, {"lr": 0.1, "weight_decay": 0.3}),
    (mg.optim.SGD, hand_sgd, {"lr": 0.1, "momentum": 0.9}),
    (mg.optim.SGD, hand_sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    (mg.optim.SGD, hand_sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (mg.optim.SGD, hand_sgd, {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.2}),
    (mg.optim.Adam, hand_adam, {"lr": 0.1}),
    (mg.optim.Adam, hand_adam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.2}),
    (mg.optim.AdamW, hand_adam, {"lr": 0.1, "weight_decay": 0.2, "decoupled": True}),
    (mg.optim.RMSProp, hand_rmsprop, {"lr": 0.1}),
    (mg.optim.RMSProp, hand_rmsprop, {"lr": 0.1, "alpha": 0.7, "weight_decay": 0.3, "eps": 1e-4}),
    (mg.optim.RMSProp, hand_rmsprop, {"lr": 0.1, "momentum": 0.9}),
    (mg.optim.RMSProp, hand_rmsprop, {"lr": 0.1, "centered": True, "eps": 1e-4}),
    (mg.optim.RMSProp, hand_rmsprop, {"lr": 0.1, "momentum": 0.8, "centered": True, "eps": 1e-4}),
]


def identify(case: Any) -> str:
    kind, _, options = case
    return f"{kind.__name__}-{'-'.join(options)}"


def gradients_of(seed: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return list(rng.normal(size=(STEPS, *shape)))


@pytest.mark.parametrize("case", CASES, ids=identify)
def test_each_step_follows_the_published_formula(case: Any) -> None:
    kind, hand, options = case
    starts = [np.random.default_rng(9).normal(size=shape) for shape in SHAPES]
    parameters = [mg.Parameter(w) for w in starts]
    gradients = [gradients_of(i, shape) for i, shape in enumerate(SHAPES)]
    optimiser = kind(parameters, **{k: v for k, v in options.items() if k != "decoupled"})
    for t in range(STEPS):
        for p, gs in zip(parameters, gradients, strict=True):
            p.grad = mg.tensor(gs[t])
        optimiser.step()
        for p, w, gs in zip(parameters, starts, gradients, strict=True):
            expected = hand(**options)(w, iter(gs[: t + 1]))
            np.testing.assert_allclose(p.numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=identify)
def test_the_formula_test_fails_for_another_learning_rate(case: Any) -> None:
    kind, hand, options = case
    w = np.ones((4, 3))
    p = mg.Parameter(w)
    wrong = {k: v for k, v in options.items() if k != "decoupled"} | {"lr": 0.1001}
    optimiser = kind([p], **wrong)
    gradients = gradients_of(0, (4, 3))
    for g in gradients:
        p.grad = mg.tensor(g)
        optimiser.step()
    expected = hand(**options)(w, iter(gradients))
    assert not np.allclose(p.numpy(), expected, rtol=1e-6, atol=0)


def test_l2_penalty_equals_decay_of_weights_under_plain_sgd_but_not_under_adam() -> None:
    """Catalogue row G2: w <- (1 - lr alpha) w - lr grad J."""
    w, alpha, lr = np.random.default_rng(1).normal(size=(3, 2)), 0.3, 0.1
    gradients = gradients_of(2, w.shape)
    by_hand = w
    for g in gradients:
        by_hand = (1 - lr * alpha) * by_hand - lr * g
    ends = {}
    for kind in (mg.optim.SGD, mg.optim.Adam, mg.optim.AdamW):
        p = mg.Parameter(w)
        optimiser = kind([p], lr=lr, weight_decay=alpha)
        for g in gradients:
            p.grad = mg.tensor(g)
            optimiser.step()
        ends[kind.__name__] = p.numpy()
    np.testing.assert_allclose(ends["SGD"], by_hand, rtol=1e-12)
    assert np.abs(ends["Adam"] - ends["AdamW"]).max() > 0.01


def test_weight_decay_of_sgd_equals_the_penalty_in_the_loss() -> None:
    """Catalogue rows G1 and G2, through the derived gradient of (alpha / 2) ||w||^2."""
    w, x = np.random.default_rng(3).normal(size=(2, 3, 2))
    with_option, with_penalty = mg.Parameter(w), mg.Parameter(w)
    first = mg.optim.SGD([with_option], lr=0.1, weight_decay=0.3)
    second = mg.optim.SGD([with_penalty], lr=0.1)
    for _ in range(10):
        (with_option * x).sum().backward()
        loss = (with_penalty * x).sum() + mg.optim.l2_penalty([with_penalty], 0.3)
        loss.backward()
        for optimiser in (first, second):
            optimiser.step()
            optimiser.zero_grad()
    np.testing.assert_allclose(with_option.numpy(), with_penalty.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [mg.float16, mg.float32, mg.float64])
@pytest.mark.parametrize("case", CASES, ids=identify)
def test_the_learning_rate_promotes_nothing(case: Any, dtype: Any) -> None:
    kind, _, options = case
    p = mg.Parameter(np.ones((2, 2), dtype))
    optimiser = kind([p], **{k: v for k, v in options.items() if k != "decoupled"})
    p.grad = mg.tensor(np.full((2, 2), 0.5, dtype))
    optimiser.step()
    assert p.dtype == dtype
    moments = [c for name, c in optimiser.state_dict().items() if name.startswith("state.")]
    assert all(c.dtype == (mg.float32 if dtype == mg.float16 else dtype) for c in moments)
    assert np.isfinite(p.numpy()).all()


def test_adam_of_half_precision_moves_where_its_own_arithmetic_would_divide_by_zero() -> None:
    p = mg.Parameter(np.ones(3, np.float16))
    optimiser = mg.optim.Adam([p], lr=0.01)
    p.grad = mg.tensor(np.array([1e-4, 0.0, -1e-4], np.float16))  # g^2 is 0 in float16
    optimiser.step()
    np.testing.assert_allclose(p.numpy(), [0.99, 1.0, 1.01], rtol=1e-3)


def test_a_parameter_without_gradient_is_passed_over_and_not_counted() -> None:
    """A late starter gets the bias correction of its own first step."""
    w = np.ones(3)
    early, late = mg.Parameter(w), mg.Parameter(w)
    optimiser = mg.optim.Adam([early, late], lr=0.1)
    gradients = gradients_of(4, (3,))
    for t, g in enumerate(gradients):
        early.grad = mg.tensor(g)
        late.grad = mg.tensor(g) if t >= 5 else None
        if t == 5:
            np.testing.assert_array_equal(late.numpy(), w)
        optimiser.step()
    np.testing.assert_allclose(early.numpy(), hand_adam(0.1)(w, iter(gradients)), rtol=1e-12)
    np.testing.assert_allclose(late.numpy(), hand_adam(0.1)(w, iter(gradients[5:])), rtol=1e-12)
    assert optimiser.param_groups[0].step.tolist() == [STEPS, STEPS - 5]


def test_a_group_without_any_gradient_is_passed_over() -> None:
    trained, frozen = mg.Parameter([1.0]), mg.Parameter([1.0])
    frozen.requires_grad = False
    optimiser = mg.optim.AdamW([{"params": [trained]}, {"params": [frozen]}], lr=0.1)
    (trained * frozen).sum().backward()
    optimiser.step()
    assert trained.item() < 1.0
    assert frozen.item() == 1.0
    assert [g.step.tolist() for g in optimiser.param_groups] == [[1.0], [0.0]]


def test_step_without_any_gradient_says_to_call_backward() -> None:
    p = mg.Parameter([1.0])
    optimiser = mg.optim.SGD([p])
    with pytest.raises(MinigradError, match=r"no parameter has a gradient(.|\n)*loss\.backward"):
        optimiser.step()
    assert p.item() == 1.0


def test_a_gradient_of_another_shape_is_refused_before_anything_changes() -> None:
    a, b = mg.Parameter([1.0, 2.0]), mg.Parameter([1.0, 2.0])
    optimiser = mg.optim.SGD([a, b], lr=1.0)
    a.grad, b.grad = mg.ones(2), mg.ones(1)
    with pytest.raises(ShapeError, match=r"1 has shape \(2,\), its gradient \(1,\)"):
        optimiser.step()
    assert a.tolist() == [1.0, 2.0]


def test_zero_grad_forgets() -> None:
    p = mg.Parameter([1.0, 2.0])
    optimiser = mg.optim.SGD([p])
    (p * p).sum().backward()
    assert p.grad is not None
    optimiser.zero_grad()
    assert p.grad is None


def test_a_step_records_no_history() -> None:
    p = mg.Parameter([1.0, 2.0])
    optimiser = mg.optim.Adam([p])
    (p * p).sum().backward()
    optimiser.step()
    assert not p.leaf.inputs
    assert all(not cell.leaf.inputs for cell in optimiser.state_dict().values())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("SGD", {"lr": -1.0}, "lr = -1.0"),
        ("SGD", {"lr": float("nan")}, "lr = nan"),
        ("SGD", {"momentum": -0.1}, "momentum"),
        ("SGD", {"weight_decay": -0.1}, "weight_decay"),
        ("SGD", {"nesterov": True}, "nesterov needs momentum"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
        ("Adam", {"betas": (0.9, 1.0)}, "a beta = 1.0"),
        ("Adam", {"betas": (0.9,)}, "two numbers"),
        ("Adam", {"eps": -1.0}, "eps"),
        ("AdamW", {"weight_decay": -1.0}, "weight_decay"),
        ("RMSProp", {"alpha": 1.0}, "alpha"),
        ("RMSProp", {"momentum": -1.0}, "momentum"),
        ("RMSProp", {"eps": -1.0}, "eps"),
    ],
)
def test_options_out_of_range_are_refused(kind: str, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        getattr(mg.optim, kind)([mg.Parameter([1.0])], **options)
