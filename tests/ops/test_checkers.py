"""The checkers of the registry must fail: each is given a primitive with one planted fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Primitive, Sample, Zero, apply, aval, registry
from minigrad.core.primitive import register
from minigrad.errors import GraphInvalid
from minigrad.ops.kinds import batch_elementwise, elementwise

from . import checkers as check
from .test_scalar import check_scalar

Plant = Callable[..., Primitive]


@pytest.fixture
def plant() -> Iterator[Plant]:
    """Return a function that registers x**3 or what is asked, and takes it out again."""
    planted = []

    def make(**changes: Any) -> Primitive:
        fields: dict[str, Any] = {
            "accepts": "f",
            "reference": lambda x: x * x * x,
            "scalar": lambda k, x: k.mul(k.mul(x, x), x),
            "vjp": (lambda g, y, x: g * x * x * 3.0,),
            "latex": "{0}^3",
            "note": "A planted primitive.",
            "analytic": True,
        }
        extra = {k: changes.pop(k) for k in ("aval", "batch", "samples") if k in changes}
        primitive = elementwise("planted", **(fields | changes))
        planted.append("planted")
        if extra:
            primitive = registry["planted"] = replace(primitive, **extra)
        return primitive

    yield make
    for name in planted:
        registry.pop(name, None)


def everything(primitive: Primitive) -> None:
    sample = primitive.samples[0]
    check.check_record(primitive)
    check.check_types(primitive, sample)
    check_scalar(primitive, np.dtype(np.float64))
    check.check_derivatives(primitive, sample)
    check.check_forward(primitive, sample)
    check.check_analytic(primitive, sample)
    check.check_batches(primitive, sample)
    check.check_nested_batches(primitive, sample)
    check.check_batches(primitive, sample, gradient=True)


def test_checkers_pass_a_right_primitive(plant: Plant) -> None:
    everything(plant())


def test_derivative_checker_finds_a_wrong_rule(plant: Plant) -> None:
    wrong = plant(vjp=(lambda g, y, x: g * x * x * 3.0000001,))
    with pytest.raises(AssertionError, match="derivative 1"):
        check.check_derivatives(wrong, wrong.samples[0])


def test_derivative_checker_finds_a_rule_wrong_at_second_order_only(plant: Plant) -> None:
    wrong = plant(vjp=(lambda g, y, x: g * mg.stop_gradient(x) * x * 3.0,))
    with pytest.raises(AssertionError, match="derivative 2"):
        check.check_derivatives(wrong, wrong.samples[0])


def test_derivative_checker_finds_a_rule_wrong_at_third_order_only(plant: Plant) -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        fixed = mg.stop_gradient(x)  # x**2 and its first derivative are right, its second is 0
        return g * (x * fixed * 2.0 - fixed * fixed) * 3.0

    wrong = plant(vjp=(rule,))
    with pytest.raises(AssertionError, match="derivative 3"):
        check.check_derivatives(wrong, wrong.samples[0])


def test_derivative_checker_finds_a_zero_that_is_none(plant: Plant) -> None:
    wrong = plant(vjp=(Zero("somebody believed that this is constant"),))
    with pytest.raises(AssertionError, match="derivative 1"):
        check.check_derivatives(wrong, wrong.samples[0])


def test_forward_checker_finds_a_rule_that_is_not_linear(plant: Plant) -> None:
    wrong = plant(vjp=(lambda g, y, x: g * g * x * x * 3.0,))
    with pytest.raises((AssertionError, mg.errors.MinigradError)):
        check.check_forward(wrong, wrong.samples[0])


def test_scalar_checker_finds_wrong_code(plant: Plant) -> None:
    wrong = plant(scalar=lambda k, x: k.mul(x, k.mul(x, k.const(1.5, x))))
    with pytest.raises(AssertionError):
        check_scalar(wrong, np.dtype(np.float32))


def test_scalar_checker_finds_code_wrong_at_infinity_only(plant: Plant) -> None:
    def code(k: Any, x: Any, at_infinity: Any) -> Any:
        finite = k.less(k.call("fabs", x), k.const(float("inf"), x))
        return k.select(finite, k.mul(k.mul(x, x), x), at_infinity)

    wrong = plant(scalar=lambda k, x: code(k, x, x))
    check_scalar(wrong, np.dtype(np.float32))  # inf**3 is inf, NaN**3 is NaN: not wrong yet
    wrong = replace(wrong, scalar=lambda k, x: code(k, x, k.neg(x)))
    with pytest.raises(AssertionError):
        check_scalar(wrong, np.dtype(np.float32))


def test_scalar_checker_finds_a_lost_sign_of_zero(plant: Plant) -> None:
    wrong = plant(scalar=lambda k, x: k.add(k.mul(k.mul(x, x), x), k.const(0, x)))
    with pytest.raises(AssertionError, match="signs"):
        check_scalar(wrong, np.dtype(np.float64))


@pytest.mark.parametrize(
    "rule",
    [lambda x: aval(x.shape, np.dtype(np.float32)), lambda x: aval((*x.shape, 1), x.dtype)],
    ids=["dtype", "shape"],
)
def test_type_checker_finds_a_wrong_rule(plant: Plant, rule: Any) -> None:
    wrong = plant(aval=rule)
    with pytest.raises(AssertionError, match="rule"):
        check.check_types(wrong, wrong.samples[0])


def test_type_checker_finds_dtypes_that_the_reference_converts(plant: Plant) -> None:
    wrong = plant(accepts="iuf", reference=np.sqrt)
    with pytest.raises(AssertionError, match="dtype float16, rule i8"):
        check.check_types(wrong, wrong.samples[0])


def test_type_checker_finds_mixed_dtypes_let_through(plant: Plant) -> None:
    two = Sample(((2, 3), (2, 3)))
    wrong = plant(
        reference=np.add, vjp=(Zero("not asked here"),) * 2, aval=lambda x, y: x, samples=(two,)
    )
    with pytest.raises(AssertionError, match="was not a DtypeError"):
        check.check_types(wrong, two)


def test_batch_checker_finds_a_rule_that_ignores_the_batch(plant: Plant) -> None:
    def batch(p: Primitive, xs: Any, batched: Any, size: int, params: Any) -> Any:
        return apply(p, (mg.broadcast_to(xs[0][0], xs[0].shape),), params)

    wrong = plant(batch=batch)
    with pytest.raises(AssertionError):
        check.check_batches(wrong, wrong.samples[0])


def test_batch_checker_finds_a_rule_that_forgets_an_operand_without_batch() -> None:
    add = registry["add"]

    def batch(p: Primitive, xs: Any, batched: Any, size: int, params: Any) -> Any:
        return (
            xs[0]
            if all(batched) is False and batched[0]
            else batch_elementwise(p, xs, batched, size, params)
        )

    wrong = registry["add"] = replace(add, batch=batch)
    try:
        with pytest.raises(AssertionError, match="pattern"):
            check.check_batches(wrong, wrong.samples[0])
    finally:
        registry["add"] = add


def test_nested_batch_checker_finds_a_rule_for_one_level_only(plant: Plant) -> None:
    def batch(p: Primitive, xs: Any, batched: Any, size: int, params: Any) -> Any:
        x = xs[0] if xs[0].ndim == 3 else mg.flip(xs[0], axis=0)
        return apply(p, (x,), params)

    wrong = plant(batch=batch)
    check.check_batches(wrong, wrong.samples[0])
    with pytest.raises(AssertionError, match="pattern"):
        check.check_nested_batches(wrong, wrong.samples[0])


def test_analytic_checker_finds_a_wrong_flag(plant: Plant) -> None:
    wrong = plant(reference=np.abs, vjp=(lambda g, y, x: g * mg.sign(x),), analytic=True)
    with pytest.raises(AssertionError):
        check.check_analytic(wrong, wrong.samples[0])


def test_analytic_checker_finds_a_continuation_of_another_function(plant: Plant) -> None:
    wrong = plant(analytic=lambda x: x * x * x + 1e-9)
    with pytest.raises(AssertionError):
        check.check_analytic(wrong, wrong.samples[0])


@pytest.mark.parametrize("latex", ["{{{0}", "{0}}}", "x^3"])
def test_latex_checker_finds_a_bad_template(plant: Plant, latex: str) -> None:
    wrong = plant(latex=latex)
    with pytest.raises(AssertionError):
        check.check_latex(wrong)


@pytest.mark.host
def test_quiet_checker_finds_a_warning(plant: Plant) -> None:
    import warnings

    def reference(x: Any) -> Any:
        warnings.warn("look here", stacklevel=1)
        return x

    wrong = plant(reference=reference)
    with pytest.raises(UserWarning):
        check.check_quiet(wrong, wrong.samples[0], [np.ones((2, 3))])


def test_record_checker_finds_a_missing_sentence_and_a_missing_rule(plant: Plant) -> None:
    with pytest.raises(AssertionError, match="sentence"):
        check.check_record(replace(plant(), note="no sentence"))
    registry.pop("planted")
    with pytest.raises(AssertionError, match="a rule for each operand"):
        check.check_record(replace(plant(), samples=(Sample(((2,), (2,))),)))


def test_register_refuses_a_gap_and_a_second_record(plant: Plant) -> None:
    primitive = plant()
    with pytest.raises(GraphInvalid, match="registered twice"):
        register(primitive)
    for gap in ("latex", "note", "samples", "vjp", "scalar"):
        with pytest.raises(GraphInvalid, match=f"lacks {gap}"):
            register(replace(primitive, name="other", **{gap: None}))
    assert "other" not in registry
