"""What an optimiser accepts as parameters, its groups, its state, and its messages."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import CheckpointError, DataError


class Model:
    """The least that looks like a module."""

    def __init__(self) -> None:
        self.weight = mg.Parameter(np.ones((2, 3), np.float32), "weight")
        self.bias = mg.Parameter(np.ones(2, np.float32), "bias")

    def parameters(self) -> Any:
        return iter([self.weight, self.bias])

    def named_parameters(self) -> Any:
        return iter([("layer.weight", self.weight), ("layer.bias", self.bias)])


def test_parameters_may_be_bare_named_or_grouped() -> None:
    model = Model()
    bare = mg.optim.SGD(model.parameters(), momentum=0.9)
    named = mg.optim.SGD(model.named_parameters(), momentum=0.9)
    groups = [{"params": [model.weight], "lr": 0.5, "momentum": 0.1}, {"params": [model.bias]}]
    grouped = mg.optim.SGD(groups, lr=0.25, momentum=0.9)
    assert "state.weight.momentum_buffer" in bare.state_dict()
    assert "state.layer.weight.momentum_buffer" in named.state_dict()
    assert [g["lr"] for g in grouped.param_groups] == [0.5, 0.25]
    assert [g["momentum"] for g in grouped.param_groups] == [0.1, 0.9]
    assert grouped.param_groups[0]["params"][0] is model.weight


def test_unnamed_and_equally_named_parameters_are_called_by_position() -> None:
    unnamed = mg.optim.Adam([mg.Parameter([1.0]), mg.Parameter([1.0])])
    twice = mg.optim.Adam([mg.Parameter([1.0], "w"), mg.Parameter([1.0], "w")])
    assert list(unnamed.state_dict()) == list(twice.state_dict())
    assert "state.1.exp_avg" in unnamed.state_dict()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (Model(), r"got a module \(Model\)(.|\n)*model\.parameters\(\)"),
        (mg.Parameter([1.0]), r"a single Parameter(.|\n)*\[parameter\]"),
        (3, "a single int"),
        ({"w": mg.Parameter([1.0])}, r"a dict(.|\n)*params\.items\(\)"),
        ([], "no parameters"),
        ([mg.tensor([1.0])], r"got a Tensor(.|\n)*mg\.Parameter"),
        ([("w", 1.0)], "got a float"),
        ([{"lr": 0.1}], "has no 'params'"),
        ([{"params": [mg.Parameter([1.0])]}, mg.Parameter([1.0])], "mixed"),
        ([{"params": [mg.Parameter([1.0])], "moment": 1}], "no option 'moment'"),
        ([("w", mg.Parameter([1.0])), ("w", mg.Parameter([1.0]))], "called 'w'"),
    ],
)
def test_wrong_parameters_are_refused_with_a_repair(params: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mg.optim.SGD(params)


def test_a_parameter_passed_twice_is_refused() -> None:
    p = mg.Parameter([1.0])
    with pytest.raises(DataError, match="twice"):
        mg.optim.SGD([{"params": [p]}, {"params": [p]}])


def test_the_learning_rate_is_a_float_that_can_be_set() -> None:
    optimiser = mg.optim.SGD([mg.Parameter([1.0])], lr=0.1)
    assert optimiser.lr == 0.1
    assert type(optimiser.lr) is float
    optimiser.lr = 0.2
    assert optimiser.param_groups[0]["lr"] == 0.2
    optimiser.param_groups[0]["lr"] = 0.3
    assert optimiser.lr == 0.3
    with pytest.raises(DataError, match="lr = -1"):
        optimiser.lr = -1
    with pytest.raises(DataError, match="no option 'rate'"):
        optimiser.param_groups[0]["rate"] = 1.0
    with pytest.raises(DataError, match="momentum = -1"):
        optimiser.param_groups[0]["momentum"] = -1
    with pytest.raises(AttributeError):
        optimiser.momentum = 0.9  # type: ignore[attr-defined]


def test_one_learning_rate_of_several_groups_is_only_read_where_it_is_one() -> None:
    groups = [{"params": [mg.Parameter([1.0])], "lr": lr} for lr in (0.1, 0.2)]
    optimiser = mg.optim.SGD(groups)
    with pytest.raises(DataError, match="2 groups"):
        _ = optimiser.lr
    optimiser.lr = 0.5
    assert optimiser.lr == 0.5


def test_decay_groups_leave_out_what_has_fewer_than_two_axes() -> None:
    model = Model()
    groups = mg.optim.decay_groups(model, 0.1)
    assert [[name for name, _ in g["params"]] for g in groups] == [["layer.weight"], ["layer.bias"]]
    optimiser = mg.optim.SGD(groups, lr=1.0)
    model.weight.grad, model.bias.grad = mg.zeros((2, 3)), mg.zeros(2)
    optimiser.step()
    np.testing.assert_allclose(model.weight.numpy(), 0.9)
    np.testing.assert_array_equal(model.bias.numpy(), 1.0)
    only = mg.optim.decay_groups([model.weight], 0.1)
    assert [g["weight_decay"] for g in only] == [0.1]
    chosen = mg.optim.decay_groups(model, 0.1, decay=lambda name, p: name.endswith("bias"))
    assert chosen[0]["params"][0][1] is model.bias


def trained(optimiser: Any, steps: int, parameters: list[Any]) -> None:
    for i in range(steps):
        for p in parameters:
            p.grad = mg.tensor(np.full(p.shape, 0.1 * (i + 1), np.float32))
        optimiser.step()


def test_saved_state_goes_on_exactly() -> None:
    def make() -> tuple[list[Any], Any]:
        parameters = [mg.Parameter(np.ones((2, 2), np.float32)), mg.Parameter([1.0, 2.0])]
        return parameters, mg.optim.Adam(parameters, lr=0.1)

    straight, first = make()
    trained(first, 10, straight)
    half, second = make()
    trained(second, 5, half)
    state = {k: v.numpy() for k, v in second.state_dict().items()}
    resumed, third = make()
    third.load_state_dict(state)
    for p, q in zip(resumed, half, strict=True):
        p.assign(q)
    for i in range(5, 10):
        for p in resumed:
            p.grad = mg.tensor(np.full(p.shape, 0.1 * (i + 1), np.float32))
        third.step()
    for p, q in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("state.0.exp_avg"), "lacks 'state.0.exp_avg'"),
        (lambda s: s.update(other=np.ones(1)), "has 'other'"),
        (
            lambda s: s.update({"state.0.exp_avg": np.ones(3, np.float32)}),
            r"'state.0.exp_avg' is f32\[3\], expected f32\[2\]",
        ),
        (
            lambda s: s.update({"state.0.exp_avg": np.ones(2)}),
            r"is f64\[2\], expected f32\[2\]",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Any, message: str) -> None:
    optimiser = mg.optim.Adam([mg.Parameter([1.0, 2.0])])
    state = {k: v.numpy() + 1 for k, v in optimiser.state_dict().items()}
    change(state)
    before = {k: v.numpy() for k, v in optimiser.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        optimiser.load_state_dict(state)
    for name, cell in optimiser.state_dict().items():
        np.testing.assert_array_equal(cell.numpy(), before[name])


def test_a_loaded_state_is_a_copy() -> None:
    optimiser = mg.optim.SGD([mg.Parameter([1.0, 2.0])], momentum=0.9)
    state = {k: v.numpy() for k, v in optimiser.state_dict().items()}
    optimiser.load_state_dict(state)
    state["state.0.momentum_buffer"][:] = 7
    assert optimiser.state_dict()["state.0.momentum_buffer"].tolist() == [0.0, 0.0]


def test_a_copied_optimiser_is_independent() -> None:
    p = mg.Parameter([1.0])
    optimiser = mg.optim.SGD([p], lr=0.1, momentum=0.9)
    twin = copy.deepcopy(optimiser)
    twin.lr = 0.5
    twin.param_groups[0]["momentum"] = 0.1
    assert optimiser.lr == 0.1
    assert optimiser.param_groups[0]["momentum"] == 0.9


def test_the_text_of_an_optimiser_names_its_numbers() -> None:
    optimiser = mg.optim.SGD([mg.Parameter(np.ones((2, 3)))], lr=0.1, momentum=0.9)
    assert "SGD(1 parameters, 6 numbers: lr=0.1, momentum=0.9" in repr(optimiser)
