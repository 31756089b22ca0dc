"""NumPy's functions and protocols on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import TraceError
from minigrad.ops.interop import RENAMED

X = np.array([0.3, -0.7, 0.9])


@pytest.mark.parametrize("name", ["exp", "tanh", "arcsin", "absolute", "rint", "invert", "isnan"])
def test_a_universal_function_of_one_operand_records_its_equal(name: str) -> None:
    x = X if name != "invert" else np.arange(3)
    found = getattr(np, name)(mg.tensor(x))
    assert isinstance(found, mg.Tensor)
    assert found.node.inputs
    np.testing.assert_allclose(found, getattr(np, name)(x))


@pytest.mark.parametrize(
    "name", ["add", "power", "arctan2", "maximum", "less", "logaddexp", "hypot", "floor_divide"]
)
def test_a_universal_function_of_two_operands_records_its_equal(name: str) -> None:
    f, t = getattr(np, name), mg.tensor(X + 1.0)
    for found in (f(X + 2.0, t), f(t, X + 2.0), f(np.float64(2.0), t), f(2.0, t)):
        assert isinstance(found, mg.Tensor)
    np.testing.assert_allclose(f(X + 2.0, t), f(X + 2.0, X + 1.0))


def test_renamed_functions_exist() -> None:
    for theirs, ours in RENAMED.items():
        assert isinstance(getattr(np, theirs), np.ufunc)
        assert hasattr(mg, ours)


def test_operators_with_arrays_on_the_left_are_ours_and_differentiable() -> None:
    gradient = mg.grad(lambda x: mg.sum((X * x + np.float64(2.0) * x) @ np.eye(3)))(X)
    np.testing.assert_allclose(gradient, X + 2.0)
    assert isinstance(np.eye(3) @ mg.tensor(X), mg.Tensor)
    assert isinstance(np.less(X, mg.tensor(X)), mg.Tensor)


def test_an_array_changed_in_place_stays_an_array() -> None:
    total = X.copy()
    total += mg.tensor(X)
    assert type(total) is np.ndarray
    np.testing.assert_allclose(total, 2 * X)
    np.add(X, mg.tensor(X), out=total)
    np.testing.assert_allclose(total, 2 * X)


def test_other_functions_work_on_the_values() -> None:
    t = mg.tensor(X)
    for f in (np.sum, np.mean, np.max, np.any, np.argmax, np.cbrt, np.linalg.norm, np.median):
        found = f(t)
        assert not isinstance(found, mg.Tensor)
        np.testing.assert_allclose(found, f(X))
    np.testing.assert_array_equal(np.concatenate([t, X]), np.concatenate([X, X]))
    np.testing.assert_array_equal(np.add.reduce(t), X.sum())
    np.testing.assert_array_equal(np.stack((t, t), axis=1), np.stack((X, X), axis=1))


@pytest.mark.parametrize(
    ("f", "fix"),
    [
        (np.cbrt, "functions of mg"),
        (lambda x: np.sum(x), "mg.sum"),
        (lambda x: np.concatenate([x, x]), "functions of mg"),
        (lambda x: np.add.reduce(x), "mg.add"),
    ],
)
def test_a_traced_tensor_has_no_values_for_them(f: Any, fix: str) -> None:
    with pytest.raises(TraceError, match="a traced tensor has none") as caught:
        mg.trace(f, mg.spec((3,)))
    assert fix in str(caught.value.fix)
    assert "test_interop.py, line" in str(caught.value)


def test_numpys_functions_may_be_traced() -> None:
    graph = mg.trace(lambda x: np.exp(x) * np.float32(2.0), mg.spec((3,)))
    assert next(n for n in graph.nodes if n.inputs).primitive.name == "exp"


@pytest.mark.host
def test_conversion_says_when_a_copy_is_forbidden_and_needed() -> None:
    t = mg.tensor(X)
    assert np.shares_memory(np.asarray(t, copy=False), t.value)
    for forbidden in (
        lambda: np.asarray(t, dtype=np.float32, copy=False),
        lambda: t.__array__(np.dtype(np.float32), copy=False),
    ):
        with pytest.raises(ValueError, match="copy"):
            forbidden()
    assert np.from_dlpack(t, copy=False).tolist() == X.tolist()
    with pytest.raises(BufferError, match="copy"):
        mg.broadcast_to(t, (2, 3)).__dlpack__(copy=False)


def test_the_namespace_is_minigrad_for_versions_that_are_here() -> None:
    x = mg.ones(2)
    assert x.__array_namespace__() is mg
    assert x.__array_namespace__(api_version="2024.12") is mg
    with pytest.raises(ValueError, match="versions here"):
        x.__array_namespace__(api_version="1999.01")


def test_a_tensor_is_not_equal_to_what_is_no_array() -> None:
    x = mg.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    assert (x == 1.0).tolist() == [True, True]


class Odd:
    """Something that is no array and knows how to be added and compared."""

    def __radd__(self, other: object) -> str:
        return "added"

    def __gt__(self, other: object) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


def test_operators_leave_what_is_no_array_to_itself() -> None:
    x: Any = mg.ones(2)
    assert x + Odd() == "added"
    assert (x < Odd()) is True
    assert (x == Odd()) is True
    assert mg.tensor(1.0) == pytest.approx(1.0)
    assert x in [None, "a", x]
    for wrong in (lambda: x + None, lambda: x * [None], lambda: (x > 0) + (x > 0), lambda: x - "a"):
        with pytest.raises(mg.errors.DtypeError):
            wrong()
