"""grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp: values, nesting, containers, errors."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import NotDifferentiable, ShapeError, TraceError

X = np.array([0.3, -0.7, 1.1])
A = np.random.default_rng(0).normal(size=(3, 3))
A = A + A.T


def scalar(x: Any) -> Any:
    """x'Ax / 2 + sum sin x: gradient Ax + cos x, Hessian A - diag sin x."""
    x = mg.asarray(x)
    return 0.5 * (x @ A @ x) + mg.sum(mg.sin(x))


GRADIENT = A @ X + np.cos(X)
HESSIAN = A - np.diag(np.sin(X))


def near(found: Any, expected: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=rtol)


# Values ---------------------------------------------------------------------------


def test_grad_is_the_formula() -> None:
    near(mg.grad(scalar)(X), GRADIENT)
    value, gradient = mg.value_and_grad(scalar)(X)
    near(value, 0.5 * X @ A @ X + np.sin(X).sum())
    near(gradient, GRADIENT)


def test_grad_takes_numbers_lists_and_tensors() -> None:
    assert mg.grad(lambda x: x * x)(3.0).item() == 6.0
    assert mg.grad(lambda x: x * x)(3).item() == 6.0
    assert mg.grad(lambda x: x[0] * x[1])([2.0, 5.0])[0].item() == 5.0
    near(mg.grad(scalar)(mg.tensor(X)), GRADIENT)


def test_grad_keeps_the_dtype() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        found = mg.grad(lambda x: mg.sum(mg.exp(x) * 2.0))(np.ones(2, dtype))
        assert found.dtype == dtype


def test_vjp_and_jvp_are_transposes() -> None:
    f = lambda x: mg.stack([mg.sum(x * x), mg.prod(x)])
    jacobian = np.array([2 * X, np.prod(X) / X])
    out, back = mg.vjp(f, X)
    near(out, [np.sum(X * X), np.prod(X)])
    for c in (np.array([1.0, 0.0]), np.array([0.3, -2.0])):  # may be called again
        near(back(c)[0], c @ jacobian)
    v = np.array([1.0, -2.0, 0.5])
    out, tangent = mg.jvp(f, (X,), (v,))
    near(out, [np.sum(X * X), np.prod(X)])
    near(tangent, jacobian @ v)
    near(mg.jvp(f, X, v)[1], jacobian @ v)  # bare arguments


def test_jacobian_is_the_formula_from_both_sides() -> None:
    wide = lambda x: mg.reshape(x, (3, 1)) * x  # 9 results of 3
    near(
        mg.jacobian(wide)(X),
        np.einsum("ij,k->ikj", np.eye(3), X) + np.einsum("i,kj->ikj", X, np.eye(3)),
    )
    narrow = lambda x: mg.stack([mg.sum(x), mg.sum(x * x)])  # 2 results of 3
    near(mg.jacobian(narrow)(X), np.array([np.ones(3), 2 * X]))
    near(mg.jacobian(lambda x: x[:0])(X), np.zeros((0, 3)))
    near(mg.jacobian(lambda x: x * 2)(np.float64(3.0)), 2.0)
    near(mg.jacobian(lambda x: mg.sum(x))(np.zeros((0,))), np.zeros(0))


def test_jacobian_of_several_arguments_and_results_nests() -> None:
    f = lambda a, b: {"p": a * b, "s": mg.sum(a)}
    found = mg.jacobian(f, (0, 1))(X, X + 1)
    near(found["p"][0], np.diag(X + 1))
    near(found["p"][1], np.diag(X))
    near(found["s"][0], np.ones(3))
    near(found["s"][1], np.zeros(3))


def test_hessian_and_hvp_are_the_formula() -> None:
    near(mg.hessian(scalar)(X), HESSIAN)
    v = np.array([1.0, 2.0, -1.0])
    near(mg.hvp(scalar, X, v), HESSIAN @ v)
    near(mg.hvp(scalar, (X,), (v,))[0], HESSIAN @ v)


def test_hessian_of_nested_arguments_nests_twice() -> None:
    f = lambda p: mg.sum(p["w"] ** 2 * p["b"])
    p = {"w": X, "b": np.array(2.0)}
    h = mg.hessian(f)(p)
    near(h["w"]["w"], 4.0 * np.eye(3))
    near(h["w"]["b"], 2 * X)
    near(h["b"]["w"], 2 * X)
    near(h["b"]["b"], 0.0)
    v = {"w": np.ones(3), "b": np.array(0.5)}
    product = mg.hvp(f, p, v)
    near(product["w"], 4.0 + X)
    near(product["b"], (2 * X).sum())


# Nesting --------------------------------------------------------------------------


def test_third_derivatives_agree_however_they_are_nested() -> None:
    f = lambda x: mg.exp(2.0 * x) * mg.sin(x)
    third = lambda x: np.exp(2 * x) * (2 * np.sin(x) + 11 * np.cos(x))
    push = lambda f: lambda x: mg.jvp(f, (x,), (mg.ones_like(x),))[1]
    pull = mg.grad
    x = np.float64(0.4)
    for a in (push, pull):
        for b in (push, pull):
            for c in (push, pull, mg.jacobian):
                near(a(b(c(f)))(x), third(0.4), 1e-11)


def test_fifth_derivative_of_a_power() -> None:
    f = lambda x: x**7
    for _ in range(5):
        f = mg.grad(f)
    near(f(np.float64(2.0)), 7 * 6 * 5 * 4 * 3 * 4.0)


def test_perturbations_are_not_confused() -> None:
    """d/dx (x d/dy (x + y)) is 1, not 2 (Siskind and Pearlmutter, 2005)."""
    for outer in (mg.grad, lambda f: lambda x: mg.jvp(f, (x,), (1.0,))[1]):
        for inner in (mg.grad, lambda f: lambda y: mg.jvp(f, (y,), (1.0,))[1]):
            found = outer(lambda x, inner=inner: x * inner(lambda y: x + y)(1.0))(3.0)
            assert found.item() == 1.0
            found = outer(lambda x, inner=inner: x * inner(lambda y: x * y * y)(x))(3.0)
            assert found.item() == pytest.approx(6 * 9.0)  # x * 2 x x


def test_grad_of_vmap_of_grad() -> None:
    each = mg.vmap(mg.grad(lambda x: mg.sin(x) * x))
    found = mg.grad(lambda x: mg.sum(each(x)))(X)
    near(found, 2 * np.cos(X) - X * np.sin(X))


def test_vmap_of_hessian_and_hessian_of_vmap() -> None:
    batch = np.stack([X, X + 1, X * 2])
    found = mg.vmap(mg.hessian(scalar))(batch)
    near(found, np.stack([A - np.diag(np.sin(x)) for x in batch]))
    total = mg.hessian(lambda b: mg.sum(mg.vmap(scalar)(b)))(batch).numpy()
    for i in range(3):
        near(total[i, :, i, :], A - np.diag(np.sin(batch[i])))
        near(total[i, :, (i + 1) % 3, :], np.zeros((3, 3)))


def test_jvp_of_jvp_and_of_vmap() -> None:
    v = np.array([1.0, 0.0, 2.0])
    twice = mg.jvp(lambda x: mg.jvp(scalar, (x,), (v,))[1], (X,), (v,))[1]
    near(twice, v @ HESSIAN @ v)
    near(mg.jvp(mg.vmap(mg.sin), (X,), (v,))[1], np.cos(X) * v)


def test_gradient_of_a_gradient_norm() -> None:
    found = mg.grad(lambda x: mg.sum(mg.grad(scalar)(x) ** 2))(X)
    near(found, 2 * HESSIAN @ GRADIENT)


# Arguments ------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


def test_gradients_nest_as_their_arguments() -> None:
    def f(p: Any) -> Any:
        return mg.sum(p["a"] * p["b"][0]) + p["b"][1].x * p["b"][1].y + p["c"][0]

    p = {"a": X, "b": [X + 1, Point(np.array(2.0), np.array(3.0))], "c": (np.array(1.0), None)}
    g = mg.grad(f)(p)
    assert list(g) == ["a", "b", "c"]
    near(g["a"], X + 1)
    near(g["b"][0], X)
    assert isinstance(g["b"][1], Point)
    assert (g["b"][1].x.item(), g["b"][1].y.item()) == (3.0, 2.0)
    assert isinstance(g["c"], tuple)
    assert g["c"][0].item() == 1.0
    assert g["c"][1] is None


def test_argnums_may_be_several_and_negative() -> None:
    f = lambda a, b, c: a * b * b * c
    assert mg.grad(f, 1)(2.0, 3.0, 5.0).item() == 60.0
    assert mg.grad(f, -1)(2.0, 3.0, 5.0).item() == 18.0
    assert [g.item() for g in mg.grad(f, (2, 0))(2.0, 3.0, 5.0)] == [18.0, 45.0]
    assert [g.item() for g in mg.grad(f, (0,))(2.0, 3.0, 5.0)] == [45.0]
    hessian = mg.hessian(f, (0, 1))(2.0, 3.0, 5.0)
    assert [[h.item() for h in row] for row in hessian] == [[0.0, 30.0], [30.0, 20.0]]


@pytest.mark.parametrize(
    ("argnums", "message"), [(3, "argnums 3 for 1"), (-2, "argnums -2 for 1"), ((0, -1), "twice")]
)
def test_argnums_that_do_not_fit_are_an_error(argnums: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        mg.grad(lambda x: x, argnums)(1.0)


def test_keywords_are_passed_and_not_differentiated() -> None:
    f = lambda x, *, power, shift=0.0: x**power + shift
    assert mg.grad(f)(2.0, power=3, shift=7.0).item() == 12.0
    assert mg.jacobian(f)(2.0, power=3).item() == 12.0


def test_aux_is_passed_through() -> None:
    f = lambda x: (mg.sum(x * x), {"double": x * 2, "word": "kept"})
    (value, aux), gradient = mg.value_and_grad(f, has_aux=True)(X)
    near(value, (X * X).sum())
    near(gradient, 2 * X)
    near(aux["double"], 2 * X)
    gradient, aux = mg.grad(f, has_aux=True)(X)
    near(gradient, 2 * X)
    assert aux["word"] == "kept"


def test_closed_over_variables_are_differentiated_outside() -> None:
    def outer(w: Any) -> Any:
        inner = mg.grad(lambda x: mg.sum(w * x * x))
        return mg.sum(inner(X))

    near(mg.grad(outer)(np.ones(3)), 2 * X)


def test_control_flow_at_the_prompt_follows_values() -> None:
    def f(x: Any) -> Any:
        while x < 10.0:
            x = x * x if x > 1.5 else x + 1.0
        return x

    assert mg.grad(f)(np.float64(0.5)).item() == pytest.approx(4 * 2.5**3)
    assert mg.grad(f)(np.float64(2.0)).item() == pytest.approx(4 * 2.0**3)  # ((x^2))^2
    assert mg.grad(f)(np.float64(1.0)).item() == pytest.approx(4 * 2.0**3)


def test_unused_argument_and_constant_function_have_zero_gradient() -> None:
    near(mg.grad(lambda x, y: mg.sum(y))(X, X), np.zeros(3))
    near(mg.grad(lambda x: 3.0)(X), np.zeros(3))
    near(mg.jvp(lambda x: mg.ones(2), (X,), (X,))[1], np.zeros(2))
    near(mg.jacobian(lambda x: mg.ones(2))(X), np.zeros((2, 3)))
    near(mg.hessian(lambda x: mg.sum(x))(X), np.zeros((3, 3)))


def test_results_that_are_not_floating_have_a_zero_tangent() -> None:
    _, tangent = mg.jvp(lambda x: (x > 0, mg.argmax(x), x * 2), (X,), (X,))
    assert [t.dtype.name for t in tangent] == ["bool", "int64", "float64"]
    near(tangent[2], 2 * X)
    back = mg.vjp(lambda x: (mg.argmax(x), x * 2), X)[1]
    near(back((0, np.ones(3)))[0], 2 * np.ones(3))


# Errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: mg.grad(lambda x: mg.sum(x))(mg.arange(3)),
        lambda: mg.grad(lambda x: mg.argmax(x))(X),
        lambda: mg.jvp(lambda x: x, (mg.arange(3),), (mg.arange(3),)),
        lambda: mg.jacobian(lambda x: x > 0)(X),
        lambda: mg.grad(lambda p: p["n"])({"n": np.array([True])}),
    ],
)
def test_integers_and_booleans_have_no_derivative(call: Any) -> None:
    with pytest.raises(NotDifferentiable, match="has no derivative"):
        call()


def test_result_that_is_not_a_scalar_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"grad: the result has shape \(3,\), it is not a scalar"):
        mg.grad(lambda x: x * 2)(X)
    with pytest.raises(ShapeError, match="hvp: the result"):
        mg.hvp(lambda x: x, X, X)


def test_cotangents_and_tangents_that_do_not_fit_are_errors() -> None:
    _, back = mg.vjp(lambda x: (x, x), X)
    with pytest.raises(ShapeError, match="2 cotangents are needed"):
        back(X)
    with pytest.raises(ShapeError, match=r"cotangent has shape \(2,\), the result \(3,\)"):
        back((X, X[:2]))
    with pytest.raises(ShapeError, match=r"a tangent has shape \(2,\), its argument \(3,\)"):
        mg.jvp(mg.sin, (X,), (X[:2],))
    with pytest.raises(ShapeError, match="1 tangents are needed, got 2"):
        mg.jvp(mg.sin, (X,), (X, X))
    with pytest.raises(ShapeError, match="nested differently"):
        mg.jvp(lambda p: p["a"] * p["b"], ({"a": X, "b": X},), ({"b": X, "a": X},))


# Jacobians are batched --------------------------------------------------------------


def test_jacobian_has_no_loop_over_rows() -> None:
    """The number of nodes does not depend on the number of rows."""

    def count(n: int) -> int:
        f = mg.jacobian(lambda x: mg.tanh(x) * mg.sum(x * x))
        return len(mg.trace(f, mg.spec((n,), np.float64)).nodes)

    def count_hessian(n: int) -> int:
        f = mg.hessian(lambda x: mg.sum(mg.tanh(x)) ** 3)
        return len(mg.trace(f, mg.spec((n,), np.float64)).nodes)

    assert count(3) == count(50)
    assert count_hessian(3) == count_hessian(50)


def test_jvp_walks_once_for_all_outputs() -> None:
    def steps(f: Any) -> int:
        return len(mg.trace(lambda x, v: mg.jvp(f, (x,), (v,))[1], X, X))

    def chain(x: Any) -> Any:
        for _ in range(20):
            x = mg.sin(x)
        return x

    def many(x: Any) -> list[Any]:
        y = chain(x)
        return [y * float(i) for i in range(20)]

    near(mg.jvp(many, (X,), (X,))[1][3], 3.0 * np.asarray(mg.jvp(chain, (X,), (X,))[1]))
    assert steps(many) < steps(chain) + 20 * 5
    tangents = mg.jvp(lambda x: (x, mg.sum(x), mg.argmax(x), 2.0, x), (X,), (X,))[1]
    near(tangents[0], X)
    near(tangents[1], X.sum())
    near(tangents[2], 0.0)
    near(tangents[3], 0.0)
    near(tangents[4], X)


@pytest.mark.parametrize(
    ("f", "options", "message"),
    [
        (lambda x: None, {}, "returned a NoneType"),
        (lambda x: (mg.sum(x), 1), {}, "has_aux=True"),
        (lambda x: [mg.sum(x)], {}, "returns one scalar tensor"),
        (lambda x: mg.sum(x), {"has_aux": True}, "a pair"),
    ],
)
def test_what_cannot_be_differentiated_is_named(f: Any, options: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        mg.grad(f, **options)(X)


def test_tensors_in_a_list_keep_their_history() -> None:
    near(mg.grad(lambda x: mg.sum(mg.asarray([x * 2.0, [x, 1.0][0], 1.0])))(3.0), 3.0)
    near(mg.grad(lambda x: mg.max([x, 2.0 * x, 1.0]))(3.0), 2.0)
    graph = mg.trace(lambda x: mg.asarray([[x, 1.0], [2.0, x]]), mg.spec(()))
    near(graph(np.float32(5.0)), [[5.0, 1.0], [2.0, 5.0]])
