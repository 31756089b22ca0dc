"""Matrix products and einsum against NumPy, on random shapes and formulas."""

from __future__ import annotations

import re
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import DtypeError, ShapeError

from .checkers import close

RNG = np.random.default_rng(0)
PRODUCTS = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 3)), ((0, 2, 3), (3, 4)),
    ((0,), (0,)), ((2, 3), (0, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), PRODUCTS, ids=str)
def test_matmul_is_numpys_and_its_gradient_the_transposed_products(left: Any, right: Any) -> None:
    a, b = RNG.normal(size=left), RNG.normal(size=right)
    expected = a @ b
    found = mg.tensor(a) @ b
    assert found.shape == expected.shape
    close(found.numpy(), expected, 1e-12)
    c, da, db = RNG.normal(size=expected.shape), RNG.normal(size=left), RNG.normal(size=right)
    ga, gb = mg.grad(lambda a, b: (mg.matmul(a, b) * c).sum(), (0, 1))(a, b)
    assert (ga.shape, gb.shape) == (left, right)
    hand = float((c * (da @ b + a @ db)).sum())  # the product rule
    got = float((ga.numpy() * da).sum() + (gb.numpy() * db).sum())
    assert abs(hand - got) < 1e-11 * (1 + abs(hand))


def test_matmul_of_integers_keeps_them() -> None:
    a = np.arange(6).reshape(2, 3)
    assert (mg.tensor(a) @ a.T).tolist() == (a @ a.T).tolist()
    with pytest.raises(DtypeError, match="matmul takes integers and floats"):
        mg.ones((2, 2), dtype=bool) @ mg.ones((2, 2), dtype=bool)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ((2, 3), (4, 5), "inner sizes differ, 3 and 4"),
        ((7, 2, 3), (7, 4, 5), "inner sizes differ, 3 and 4"),
        ((7, 2, 3), (4, 5), "inner sizes differ, 3 and 4"),
        ((3,), (4,), "inner sizes differ, 3 and 4"),
        ((2, 2, 3), (5, 3, 4), "do not broadcast"),
        ((), (3,), "a scalar has no rows"),
    ],
)
def test_matmul_that_does_not_fit_names_both_operands(left: Any, right: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message) as caught:
        mg.ones(left) @ mg.ones(right)
    assert len(caught.value.operands) == 2


def test_vecdot_and_tensordot_are_numpys() -> None:
    a, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(3, 4))
    close(mg.vecdot(a, b).numpy(), np.vecdot(a, b), 1e-12)
    close(mg.vecdot(a, b, axis=-2).numpy(), np.vecdot(a, b, axis=-2), 1e-12)
    close(mg.tensordot(a, b).numpy(), np.tensordot(a, b), 1e-12)
    for axes in (0, 2, ([1, 2], [0, 1]), ([-1], [1]), (1, 0), ([], [])):
        close(mg.tensordot(a, b, axes=axes).numpy(), np.tensordot(a, b, axes=axes), 1e-12)
    with pytest.raises(ShapeError, match="contracted sizes differ"):
        mg.tensordot(a, b, axes=1)
    with pytest.raises(ShapeError, match="3 axes cannot be contracted"):
        mg.tensordot(a, b, axes=3)
    with pytest.raises(ShapeError, match="different sizes"):
        mg.vecdot(a, b[:, :2])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float16, np.float32], ids=str)
def test_contractions_keep_the_dtype(dtype: Any) -> None:
    a = np.ones((2, 2), dtype)
    for formula in ("ij,jk->ik", "ij,ij->", "ij->i", "ii->i", "ij,kl->k"):
        assert mg.einsum(formula, *[a] * (1 + formula.count(","))).dtype == dtype
    assert mg.vecdot(a, a).dtype == mg.tensordot(a, a).dtype == dtype


@st.composite
def formulas(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    letters = string.ascii_lowercase[: draw(st.integers(1, 4))]
    sizes = {c: draw(st.integers(0 if c == "d" else 1, 3)) for c in letters}
    terms = draw(st.lists(st.text(letters, max_size=3), min_size=1, max_size=3))
    known = sorted(set("".join(terms)))
    out = draw(st.permutations(known))[: draw(st.integers(0, len(known)))]
    formula = ",".join(terms) + ("->" + "".join(out) if draw(st.integers(0, 4)) else "")
    return formula, [tuple(sizes[c] for c in term) for term in terms]


@settings(max_examples=200, deadline=None)
@given(formulas())
def test_einsum_is_numpys_forward_and_back(case: tuple[str, list[tuple[int, ...]]]) -> None:
    formula, shapes = case
    rng = np.random.default_rng(1)
    operands = [rng.normal(size=s) for s in shapes]
    expected = np.einsum(formula, *operands)
    found = mg.einsum(formula, *operands)
    assert found.shape == expected.shape
    close(found.numpy(), expected, 1e-12)
    c = rng.normal(size=expected.shape)
    gradients = mg.grad(
        lambda *xs: (mg.einsum(formula, *xs) * c).sum(), tuple(range(len(operands)))
    )(*operands)
    for i, (gradient, operand) in enumerate(zip(gradients, operands, strict=True)):
        # multilinear: <gradient, operand> is the value, for every operand
        value, got = float((c * expected).sum()), float((gradient.numpy() * operand).sum())
        assert abs(value - got) < 1e-10 * (1 + abs(value)), i


@pytest.mark.parametrize(
    ("formula", "shapes", "message"),
    [
        ("ij,jk", [(2, 3)], "names 2 operands, got 1"),
        ("ij", [(2,)], "names 2 axes of shape"),
        ("ij,jk->ik", [(2, 3), (4, 5)], "axis 'j' in .* has sizes 3 and 4"),
        ("ij->k", [(2, 3)], "must name known axes once"),
        ("ij->ii", [(2, 3)], "must name known axes once"),
        ("...ij->i", [(3,)], "names more axes than shape"),
    ],
)
def test_einsum_that_does_not_fit_is_an_error(formula: str, shapes: Any, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        mg.einsum(formula, *(np.ones(s) for s in shapes))
    assert re.search(message, str(caught.value))


def test_einsum_contracts_by_matrix_products() -> None:
    graph = mg.trace(
        lambda a, b: mg.einsum("bij,bjk->bik", a, b), np.ones((5, 2, 3)), np.ones((5, 3, 4))
    )
    assert [n.primitive.name for n in graph.simplify().nodes] == ["matmul"]
