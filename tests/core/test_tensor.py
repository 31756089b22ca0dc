"""Tensor: what it is, its value, protocols, printing; where it was made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import functions, recorder, scope
from minigrad.core.origin import Origin
from minigrad.errors import MinigradError, ShapeError

X = np.arange(6.0).reshape(2, 3)


@pytest.mark.host
def test_properties() -> None:
    t = mg.tensor(X, name="t")
    assert (t.shape, t.dtype, t.ndim, t.size, t.device, t.name) == (
        (2, 3), np.float64, 2, 6, "cpu", "t",
    )  # fmt: skip
    assert t.T.shape == t.mT.shape == (3, 2)
    assert t.tolist() == X.tolist()
    assert t.value.tolist() == X.tolist()


def test_scalars_become_python_numbers() -> None:
    t = mg.tensor(np.float64(2.5))
    assert (float(t), int(t), complex(t), bool(t), t.item()) == (2.5, 2, 2.5 + 0j, True, 2.5)
    assert f"{t:.2f}" == "2.50"
    assert [10, 20, 30][mg.tensor(np.int64(1))] == 20
    assert list(range(mg.tensor(np.array(3)))) == [0, 1, 2]
    with pytest.raises(TypeError, match="only integer tensors"):
        [1, 2][mg.tensor(1.0)]
    with pytest.raises(ShapeError, match="exactly one element"):
        mg.tensor(X).item()
    with pytest.raises(ShapeError, match="exactly one element"):
        float(mg.tensor(X))
    with pytest.raises(ShapeError, match=r"(?s)ambiguous.*\.any\(\)"):
        bool(mg.tensor(X))


@pytest.mark.host
def test_methods_are_the_functions() -> None:
    t = mg.tensor(X)
    assert t.reshape(3, 2).shape == t.reshape((3, 2)).shape == t.reshape([-1, 2]).shape == (3, 2)
    assert mg.tensor([1.0]).reshape(()).shape == ()
    assert t.astype(np.int8).dtype == np.int8
    assert t.to(np.float32).dtype == np.float32
    assert t.to("cpu") is t
    assert t.to(mg.float64) is t
    for name in ("add", "subtract", "permute_dims", "getitem", "equal", "to"):
        assert name in functions


def test_comparison_is_elementwise_and_hash_is_identity() -> None:
    a, b = mg.tensor(X), mg.tensor(X)
    assert (a == b).all().item()
    assert not (a != b).any().item()
    assert len({a, b}) == 2


def test_repr_shows_values_and_types() -> None:
    assert repr(mg.tensor([1.0, 2.5])) == "tensor([1. , 2.5], dtype=float32)"
    assert repr(mg.tensor([1.0], name="x")) == "tensor([1.], dtype=float32, name='x')"
    assert "shape=(0, 3)" in repr(mg.zeros((0, 3)))
    assert "shape=(1000,)" in repr(mg.zeros(1000))
    assert str(mg.tensor(3.0)) == "tensor(3., dtype=float32)"
    assert repr(mg.Parameter([1.0], "w")) == "Parameter(tensor([1.], dtype=float32, name='w'))"
    assert repr(mg.Buffer([True])) == "Buffer(tensor([ True], dtype=bool))"


def test_cells_are_assigned_in_place_and_keep_their_type() -> None:
    p = mg.Parameter(np.ones(3), "p")
    p.assign([1, 2, 3])
    assert p.tolist() == [1, 2, 3]
    assert p.dtype == np.float64
    p.assign(mg.tensor([4.0, 5.0, 6.0]))
    assert p.dtype == np.float64
    same = p
    p += 1.0
    p *= 2.0
    p -= 4.0
    p /= 3.0
    assert p is same
    assert p.tolist() == [2, 8 / 3, 10 / 3]
    with pytest.raises(ShapeError, match=r"assign: p has shape \(3,\), the new value \(2,\)"):
        p.assign(np.ones(2))
    p.name = "q"
    assert p.leaf.name == p.name == "q"
    assert mg.Buffer([1, 2], dtype="int8").dtype == np.int8
    with pytest.raises(MinigradError, match="not supported"):
        mg.Buffer([1], dtype="complex64")


def test_scopes_name_layers_from_the_outside_in() -> None:
    with scope("outer"), scope("inner"):
        y = mg.tensor(X) * 2
    assert y.node.scope == ("outer", "inner")
    assert recorder.scope == ()
    assert "softmax" in mg.softmax(mg.tensor(X)).node.scope


# Origins ----------------------------------------------------------------------------


def test_origin_is_the_line_of_the_user() -> None:
    made = mg.tensor(X) * 2.0  # this very line
    origin = made.node.origin
    assert origin.file == __file__
    assert origin.text == "made = mg.tensor(X) * 2.0  # this very line"
    assert origin.target == "made"
    assert origin.label == f"test_tensor.py, line {origin.line}"
    assert str(origin) == f"{origin.label}    {origin.text}"
    inside = mg.softmax(mg.tensor(X))
    assert inside.node.origin.target == "inside", "not a line of the library"


def test_origin_of_a_line_that_is_no_assignment_or_not_there() -> None:
    found = [mg.tensor(X) * 2.0]
    assert found[0].node.origin.target == "found"
    nowhere = Origin(None, 0, ())
    assert (nowhere.file, nowhere.line, nowhere.text) == ("<unknown>", 0, "")
    assert (nowhere.label, nowhere.target, str(nowhere)) == ("unknown place", None, "unknown place")
    code = compile("x * 2.0", "<string>", "eval")
    made = eval(code, {"x": mg.tensor(X)})
    assert made.node.origin.text == ""
    assert made.node.origin.label == "<string>, line 1"


def test_describe_is_one_line_for_a_message() -> None:
    node = mg.tag(mg.tensor(X) * 2.0, "double").node
    text = node.describe()
    assert text.startswith("double  f64[2, 3]    test_tensor.py, line")
    assert "\n" not in text
    assert repr(node) == "<node mul 'double': f64[2, 3]>"


@pytest.mark.parametrize(
    "call",
    [
        lambda: mg.ones((2, 3)) @ mg.ones((2, 3)),
        lambda: mg.exp(mg.arange(3)),
        lambda: mg.sum(mg.ones(3), 4),
        lambda: mg.tensor(X)[5],
        lambda: mg.take(mg.ones(3), [7]),
        lambda: mg.grad(lambda x: x)(mg.ones(3)),
        lambda: mg.zeros((2, -1)),
        lambda: mg.tensor("no"),
    ],
)
def test_every_error_gives_the_place_and_a_repair_or_a_rule(call: Any) -> None:
    with pytest.raises(MinigradError) as caught:
        call()
    error = caught.value
    assert error.at is not None
    assert "test_tensor.py" in error.at
    assert str(error).splitlines()[0] == error.message
    assert error.fix or error.rule or error.operands or len(error.message) > 30
