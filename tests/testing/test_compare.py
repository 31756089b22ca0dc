"""compare_gradients finds mistakes where they were made; row A7 of the catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError, GradientMismatch, NotDifferentiable, TraceError
from minigrad.testing import GradientReport, compare_gradients

EPS = 1e-5


def batch_norm(x: Any, gamma: Any, beta: Any) -> Any:
    mu = mg.tag(mg.mean(x, 0, keepdims=True), "mu")
    centred = x - mu
    var = mg.tag(mg.mean(centred * centred, 0, keepdims=True), "var")
    u = mg.tag(centred * mg.rsqrt(var + EPS), "u")
    return gamma * u + beta


def case(m: int = 6, channels: int = 3, seed: int = 7) -> tuple[tuple[Any, ...], Any]:
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, m, channels))
    gamma, beta = rng.normal(size=(2, channels))
    return (x, gamma, beta), delta


def by_hand(args: tuple[Any, ...], delta: Any, mistake: str = "") -> dict[str, Any]:
    """Row C2 of the catalogue, with at most one planted mistake."""
    x, gamma, _ = args
    m = len(x)

    def total(a: Any) -> Any:
        return a.sum(axis=0, keepdims=True)

    centred = x - total(x) / m
    var = total(centred**2) / m
    inv = 1.0 / np.sqrt(var + EPS)
    d_u = delta * gamma
    outside = 1.0 / (np.sqrt(var) + EPS)
    d_var = total(d_u * centred) * -0.5 * (outside if mistake == "eps outside" else inv) ** 3
    if mistake == "sign of var":
        d_var = -d_var
    d_mu = -d_u * inv if mistake == "sum missing in mu" else total(-d_u * inv)
    if mistake == "sign of mu":
        d_mu = -d_mu
    through_var = d_var * 2.0 * centred / (m - 1 if mistake == "m - 1" else m)
    if mistake == "no variance path":
        through_var = 0.0
    d_gamma = delta * centred * inv
    return {
        "gamma": d_gamma if mistake == "sum missing in gamma" else d_gamma.sum(axis=0),
        "beta": delta.sum(axis=0),
        "u": d_u * gamma if mistake == "gamma twice" else d_u,
        "var": d_var,
        "mu": d_mu,
        "x": d_u * inv + through_var + d_mu / m,
    }


def test_compare_gradients_accepts_a_right_derivation_to_1e_10() -> None:
    args, delta = case()
    report = compare_gradients(batch_norm, args, cotangent=delta, hand=by_hand(args, delta))
    assert report.ok and report.first_wrong is None
    assert [row.name for row in report.rows] == ["u", "var", "mu", "x", "gamma", "beta"]
    for row in report.rows:
        assert row.hand_error is not None and row.hand_error < 1e-10
        assert row.numeric_error is not None and row.numeric_error < 1e-10
        assert row.method == "complex step"


@pytest.mark.parametrize(
    ("mistake", "name", "diagnosis"),
    [
        ("no variance path", "x", "the path through 'var' is missing"),
        ("m - 1", "x", "the path through 'var' has a factor of 6/5, as of m and m - 1"),
        ("eps outside", "var", "relative error"),
        ("sign of var", "var", "the sign is wrong"),
        ("sign of mu", "mu", "the sign is wrong"),
        ("sum missing in mu", "mu", "a sum over axis 0 is missing"),
        ("sum missing in gamma", "gamma", "a sum over axis 0 is missing"),
        ("gamma twice", "u", "automatic and numerical agree"),
    ],
)
@pytest.mark.parametrize("seed", [7, 8, 9])
def test_compare_gradients_names_the_step_of_a_planted_mistake(
    mistake: str, name: str, diagnosis: str, seed: int
) -> None:
    args, delta = case(seed=seed)
    with pytest.raises(GradientMismatch) as caught:
        compare_gradients(batch_norm, args, cotangent=delta, hand=by_hand(args, delta, mistake))
    report = caught.value.report
    assert isinstance(report, GradientReport)
    assert report.first_wrong is not None and report.first_wrong.name == name
    assert f"first differs at {name!r}" in str(caught.value)
    assert diagnosis in report.first_wrong.verdict


def test_compare_gradients_finds_an_error_of_one_part_in_a_million() -> None:
    args, delta = case()
    hand = by_hand(args, delta)
    hand["var"] = hand["var"] * (1 + 1e-6)
    with pytest.raises(GradientMismatch, match=r"first differs at 'var'.*relative error 1\.0e-06"):
        compare_gradients(batch_norm, args, cotangent=delta, hand=hand)


def test_compare_gradients_finds_a_wrong_gradient_rule() -> None:
    """The checker is not fooled by an engine that is wrong itself."""
    from minigrad.core.door import unary
    from minigrad.core.primitive import FLOAT, registry
    from minigrad.ops.kinds import elementwise

    wrong = elementwise(
        "wrong_sine",
        accepts=FLOAT,
        reference=np.sin,
        scalar=lambda k, x: k.call("sin", x),
        vjp=(lambda g, y, x: g * mg.cos(x) * 1.0005,),
        latex="wrong",
        note="off by 0.05 per cent",
        analytic=True,
    )
    try:
        with pytest.raises(GradientMismatch, match="differs from the numerical one"):
            compare_gradients(lambda x: unary(wrong, x).sum(), np.array([0.3, 0.7]))
    finally:
        del registry["wrong_sine"]


def test_compare_gradients_rejects_a_vacuous_test() -> None:
    args, _ = case()
    ones = np.ones((6, 3))
    with pytest.raises(GradientMismatch, match="zero up to rounding, so the comparison proves"):
        compare_gradients(batch_norm, args, cotangent=ones, hand={"x": np.full((6, 3), 1e-17)})
    with pytest.raises(GradientMismatch, match="the test is vacuous"):
        compare_gradients(batch_norm, args, cotangent=ones, wrt=["x"])


def test_compare_gradients_accepts_a_stated_zero() -> None:
    """Row C7: a bias before BatchNorm has gradient zero, and that may be the claim."""
    args, delta = case()

    def f(x: Any, b: Any) -> Any:
        return batch_norm(x + b, args[1], args[2])

    report = compare_gradients(
        f, (args[0], np.ones(3)), cotangent=delta, hand={"b": np.zeros(3)}, wrt=["b", "x"]
    )
    assert report["b"].verdict == "zero, as stated"


def test_compare_gradients_takes_hand_as_a_function_of_the_cotangent() -> None:
    args, _ = case()
    report = compare_gradients(batch_norm, args, hand=lambda delta: by_hand(args, delta))
    assert report.cotangent == "random normal" and report.ok


def test_compare_gradients_needs_the_cotangent_of_a_hand_gradient() -> None:
    args, delta = case()
    with pytest.raises(DataError, match="cotangent"):
        compare_gradients(batch_norm, args, hand=by_hand(args, delta))


def test_compare_gradients_does_not_draw_the_users_own_numbers_as_cotangent() -> None:
    """``default_rng(0)`` is what most data come from: a cotangent equal to x proves little."""
    x = np.random.default_rng(0).normal(size=(8, 3))
    seen: list[np.ndarray] = []

    def hand(delta: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(delta)
        return {"x": 2.0 * delta}

    compare_gradients(lambda x: 2.0 * x, x, hand=hand, seed=0)
    assert abs(np.corrcoef(seen[0].ravel(), x.ravel())[0, 1]) < 0.9


def test_compare_gradients_lists_names_when_one_is_unknown() -> None:
    args, delta = case()
    with pytest.raises(DataError, match="'sigma'") as caught:
        compare_gradients(batch_norm, args, cotangent=delta, hand={"sigma": 0.0})
    assert "mu, var, u" in str(caught.value)
    with pytest.raises(DataError, match="'sigma'"):
        compare_gradients(batch_norm, args, wrt=["sigma"])


def test_compare_gradients_accepts_any_slope_at_a_kink_and_counts_it() -> None:
    report = compare_gradients(lambda x: mg.maximum(x, 0.0).sum(), np.array([1.0, 0.0, -2.0]))
    assert report["x"].kinks == 1


def test_compare_gradients_uses_central_differences_where_the_path_is_not_analytic() -> None:
    report = compare_gradients(lambda x: mg.erf(x).sum(), np.linspace(-1.0, 1.0, 5))
    assert report["x"].method == "central differences"
    assert report["x"].numeric_error is not None and report["x"].numeric_error < 1e-9


def test_compare_gradients_tries_directions_when_the_gradient_is_large() -> None:
    x = np.random.default_rng(0).normal(size=(60, 50))
    report = compare_gradients(lambda x: mg.tanh(x) * x, x)
    assert "3 directions" in report["x"].method

    def hand(delta: Any) -> dict[str, Any]:
        g = delta * (np.tanh(x) + x * (1 - np.tanh(x) ** 2))
        g[17, 23] *= 1.01  # one element of 3,000
        return {"x": g}

    with pytest.raises(GradientMismatch, match=r"at \(17, 23\)"):
        compare_gradients(lambda x: mg.tanh(x) * x, x, hand=hand)


def test_compare_gradients_draws_one_mask_for_all_three() -> None:
    x = np.random.default_rng(0).normal(size=(8, 5))

    def f(x: Any) -> Any:
        return x * mg.random.bernoulli(0.5, (8, 5)).astype(mg.float64)

    draws = mg.random.default_generator.stream.item()
    assert compare_gradients(f, x).ok
    assert mg.random.default_generator.stream.item() == draws, "tracing must not draw"


def test_compare_gradients_checks_parameters_that_the_function_reads() -> None:
    w = mg.Parameter(np.array([[1.0, 2.0], [3.0, 4.0]]), "w")
    x = np.random.default_rng(0).normal(size=(3, 2))
    report = compare_gradients(lambda x: mg.tanh(x @ w), x)
    assert {row.name for row in report.rows} == {"x", "w"}


def test_compare_gradients_in_single_precision_compares_with_double() -> None:
    args, _ = case()
    single = tuple(a.astype(np.float32) for a in args)
    report = compare_gradients(batch_norm, single)
    assert report.ok and report["x"].tolerance > 1e-5


def test_compare_gradients_runs_on_a_named_backend() -> None:
    args, _ = case()
    assert compare_gradients(batch_norm, args, backend="numpy").ok


def test_compare_gradients_handles_nested_arguments_and_several_results() -> None:
    rng = np.random.default_rng(1)
    params = {"w": rng.normal(size=(2, 2)), "b": rng.normal(size=2)}

    def f(params: Any, x: Any) -> Any:
        h = x @ params["w"] + params["b"]
        return mg.sin(h), {"square": (h * h).sum()}

    report = compare_gradients(f, (params, rng.normal(size=(3, 2))))
    assert {row.name for row in report.rows} == {"params.w", "params.b", "x"}


def test_compare_gradients_qualifies_a_tag_that_occurs_in_several_layers() -> None:
    from minigrad.core import scope

    def f(x: Any) -> Any:
        for layer in ("first", "second"):
            with scope("model"), scope(layer):
                x = mg.tag(mg.tanh(x), "h") * 2.0
        return x

    report = compare_gradients(f, np.array([0.1, 0.2]))
    assert {row.name for row in report.rows} == {"first.h", "second.h", "x"}


def test_compare_gradients_refuses_functions_that_ask_for_values() -> None:
    with pytest.raises(TraceError):
        compare_gradients(lambda x: x if x > 0 else -x, np.array(1.0))
    with pytest.raises(NotDifferentiable):
        compare_gradients(lambda i: i + 1, np.array([1, 2]))


def test_report_prints_a_line_per_gradient_and_draws_the_guilty_node() -> None:
    args, delta = case()
    report = compare_gradients(batch_norm, args, cotangent=delta, hand=by_hand(args, delta))
    lines = str(report).splitlines()
    assert len(lines) == len(report.rows) + 2
    assert "complex step" in lines[1]
    assert "all agree" in repr(report)
    with pytest.raises(KeyError, match="nothing"):
        report["nothing"]
