"""Saving and filling objects: all of them, in place, and all or nothing."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import CheckpointError, TraceError


class Model:
    """The least that looks like a module: cells by name."""

    def __init__(self, seed: int, width: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.weight = mg.Parameter(rng.normal(size=(2, width)).astype(np.float32))
        self.mean = mg.Buffer(np.zeros(width, np.float64))

    def state_dict(self) -> dict[str, Any]:
        return {"0.weight": self.weight, "norm.mean": self.mean}


class Plain:
    """An object whose state is numbers and arrays, which it may refuse."""

    def __init__(self, n: int = 0) -> None:
        self.n, self.x = n, np.full(2, float(n))

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n, "x": self.x}

    def load_state_dict(self, state: Any) -> None:
        self.n = state["n"]
        if state["x"][0] < 0:
            raise RuntimeError("not mine")
        self.x = state["x"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def test_a_model_is_filled_in_place_and_returned(path: Path) -> None:
    first, second = Model(0), Model(1)
    mg.save(path, model=first)
    weight = second.weight
    found = mg.load(path, model=second)
    assert found == {"model": second}
    assert second.weight is weight
    np.testing.assert_array_equal(second.weight.numpy(), first.weight.numpy())
    assert second.mean.dtype == np.float64


def test_without_objects_a_model_is_a_dict_of_arrays_by_path(path: Path) -> None:
    model = Model(0)
    mg.save(path, model=model, epoch=3)
    found = mg.load(path)
    assert found["epoch"] == 3
    assert list(found["model"]) == ["0.weight", "norm.mean"]
    np.testing.assert_array_equal(found["model"]["0.weight"], model.weight.numpy())


def test_every_kind_of_object_is_saved_and_filled(path: Path) -> None:
    def make(n: int) -> dict[str, Any]:
        w = mg.Parameter(np.full((2, 2), n, np.float32))
        optimiser = mg.optim.Adam([w], lr=0.1 * n)
        schedule = mg.optim.StepLR(optimiser, 2)
        generator = mg.random.Generator(n)
        batches = mg.data.Batches(np.arange(10), batch_size=3, shuffle=True, seed=n)
        for _ in range(n):
            w.grad = mg.ones((2, 2))
            optimiser.step()
            schedule.step()
            generator.bits(4)
        next(iter(batches))
        return {
            "w": w, "optimiser": optimiser, "schedule": schedule, "generator": generator,
            "batches": batches, "scaler": mg.data.Standardize().fit(np.arange(6.0 * n)[:, None]),
            "plain": Plain(n), "buffer": mg.Buffer(np.arange(n, n + 3)),
            "notes": {"best": float(n), "name": f"run {n}", "done": n > 2, "curve": [1.0, n],
                      "deep": {"x": np.full(2, n), "w": mg.Parameter([float(n)])}},
        }  # fmt: skip

    first, second = make(3), make(1)
    mg.save(path, **first)
    assert mg.load(path, **second) == second
    again = path.with_name("again")
    mg.save(again, **second)
    assert again.read_bytes() == path.read_bytes()
    assert second["notes"]["deep"]["w"].item() == 3.0
    assert second["notes"]["name"] == "run 3"
    assert second["notes"]["done"] is True


def test_the_default_generator_is_saved_and_filled(path: Path) -> None:
    mg.random.seed(5)
    mg.random.uniform(3)
    mg.save(path, generator=mg.random.default_generator)
    expected = mg.random.uniform(3).numpy()
    mg.random.seed(9)
    mg.load(path, generator=mg.random.default_generator)
    np.testing.assert_array_equal(mg.random.uniform(3).numpy(), expected)


VALUES = {
    "count": 2**80, "negative": -3, "rate": 0.1, "tiny": 5e-324, "top": inf, "bottom": -inf,
    "word": "ε\n\"'😀", "empty": "", "yes": True, "no": False, "nothing": None,
    "list": [1, "a", [2.5, None, {"b": []}]], "dict": {}, "nest": {"a": {"b": {"c": 1}}},
    "dots.in.key": 1, "marker": {"array": "x", "float": "inf"},
}  # fmt: skip


def test_numbers_strings_and_nesting_come_back_as_they_were(path: Path) -> None:
    mg.save(path, values=VALUES, number=0.1, word="x", nothing=None, items=[1, 2])
    found = mg.load(path)
    assert found["values"] == VALUES
    assert [type(v) for v in found["values"].values()] == [type(v) for v in VALUES.values()]
    assert (found["number"], found["word"], found["nothing"]) == (0.1, "x", None)
    assert found["items"] == [1, 2]


def test_not_a_number_numpy_scalars_and_tuples_come_back_as_plain_values(path: Path) -> None:
    scalars = {"b": np.float32(0.1), "c": np.int64(3), "e": np.bool_(True), "f": np.str_("x")}
    mg.save(path, a=nan, d=(1, (2,)), **scalars)
    found = mg.load(path)
    assert np.isnan(found["a"])
    assert found["b"] == float(np.float32(0.1))
    assert (found["c"], found["d"], found["e"], found["f"]) == (3, [1, [2]], True, "x")


def test_tensors_arrays_and_lists_of_them_are_saved(path: Path) -> None:
    tensor = mg.tensor([[1.0, 2.0]])
    mg.save(path, t=tensor * 2, a=np.arange(3), both=[tensor, {"x": np.float64(1)}], none={})
    found = mg.load(path)
    assert found["t"].tolist() == [[2.0, 4.0]]
    assert found["a"].tolist() == [0, 1, 2]
    assert found["both"][0].tolist() == [[1.0, 2.0]]
    assert found["both"][1] == {"x": 1.0}
    assert found["none"] == {}


def test_dicts_and_lists_are_filled_in_place(path: Path) -> None:
    mg.save(path, state={"t": mg.tensor([1.0]), "a": np.ones(2), "n": 5, "l": [1, 2, 3]})
    state = {"t": mg.tensor([0.0]), "a": np.zeros(2), "n": 0, "l": [7]}
    assert mg.load(path, state=state)["state"] is state
    assert isinstance(state["t"], mg.Tensor)
    assert state["t"].tolist() == [1.0]
    assert state["a"].tolist() == [1.0, 1.0]
    assert (state["n"], state["l"]) == (5, [1, 2, 3])
    cells = [mg.Buffer([0.0]), mg.Buffer([0.0])]
    mg.save(path, cells=[mg.Buffer([1.0]), mg.Buffer([2.0])])
    mg.load(path, cells=cells)
    assert [c.item() for c in cells] == [1.0, 2.0]
    with pytest.raises(CheckpointError, match="another length"):
        mg.load(path, cells=cells[:1])


def test_objects_that_are_not_asked_for_are_left_out(path: Path) -> None:
    mg.save(path, a=Model(0), b=Model(1))
    model = Model(2)
    assert list(mg.load(path, b=model)) == ["b"]
    np.testing.assert_array_equal(model.weight.numpy(), Model(1).weight.numpy())


def test_what_cannot_be_filled_in_place_is_refused(path: Path) -> None:
    mg.save(path, x=np.ones(2), n=1)
    for x in (mg.tensor([1.0, 1.0]), np.ones(2), 3):
        with pytest.raises(
            CheckpointError, match=r'cannot be filled(.|\n)*mg\.load\(path\)\["x"\]'
        ):
            mg.load(path, x=x)
    with pytest.raises(CheckpointError, match=r"(?s)no object 'model'.*found     x, n|n, x"):
        mg.load(path, model=Model(0))


def altered(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {key: cell.numpy() for key, cell in state.items()} | changes
    return {key: value for key, value in plain.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.weight": None}, r"expected  model\.0\.weight.*found     nothing instead"),
        ({"1.weight": np.ones(1)}, r"expected  nothing else.*found     model\.1\.weight"),
        (
            {"0.weight": np.ones((2, 4), np.float32)},
            r"'model\.0\.weight'.*f32\[2, 3\].*f32\[2, 4\]",
        ),
        ({"0.weight": np.ones((2, 3))}, r"expected  f32\[2, 3\].*found     f64\[2, 3\]"),
        ({"0.weight": 3}, r"expected  f32\[2, 3\].*found     a number"),
    ],
)
def test_a_file_that_does_not_fit_one_object_changes_none(
    changes: Any, message: str, path: Path
) -> None:
    mg.save(path, first=Model(5), model=altered(Model(0).state_dict(), **changes))
    first, model = Model(1), Model(2)
    before = [c.numpy() for m in (first, model) for c in m.state_dict().values()]
    with pytest.raises(CheckpointError, match=f"(?s)run.safetensors.*{message}"):
        mg.load(path, first=first, model=model)
    for cell, old in zip(
        [c for m in (first, model) for c in m.state_dict().values()], before, strict=True
    ):
        np.testing.assert_array_equal(cell.numpy(), old)


@pytest.mark.parametrize(
    ("saved", "target", "message"),
    [
        ({"n": 1}, {"n": "1"}, r"expected  a string.*found     a number"),
        ({"n": True}, {"n": 1}, r"expected  a number.*found     True or False"),
        ({"n": [1]}, {"n": 1}, r"expected  a number.*found     a list"),
        ({"n": {}}, {"n": [1]}, r"expected  a list.*found     entries by name"),
        ({"n": None}, {"n": {}}, r"expected  entries by name.*found     nothing"),
    ],
)
def test_values_of_another_kind_are_refused(
    saved: Any, target: Any, message: str, path: Path
) -> None:
    mg.save(path, x=saved)
    with pytest.raises(CheckpointError, match=f"(?s)'x.n' does not fit.*{message}"):
        mg.load(path, x=target)


def test_an_object_that_refuses_its_state_leaves_all_as_they_were(path: Path) -> None:
    class Refusing(Plain):
        def state_dict(self) -> dict[str, Any]:
            return {"n": 4, "x": np.full(2, -1.0)}

    model, notes, listed, plain = Model(1), {"n": 1, "b": mg.Buffer([1.0])}, [1, 2], Plain(2)
    mg.save(
        path, model=Model(0), notes={"n": 2, "b": mg.Buffer([2.0])}, listed=[3], plain=Refusing()
    )
    weight = model.weight.numpy()
    with pytest.raises(RuntimeError, match="not mine") as caught:
        mg.load(path, model=model, notes=notes, listed=listed, plain=plain)
    assert "while filling 'plain' from" in caught.value.__notes__[0]
    np.testing.assert_array_equal(model.weight.numpy(), weight)
    assert notes["n"] == 1
    assert notes["b"].item() == 1.0  # type: ignore[attr-defined]
    assert listed == [1, 2]
    assert (plain.n, plain.x.tolist()) == (2, [2.0, 2.0])


def test_batches_of_other_data_are_refused_and_nothing_is_filled(path: Path) -> None:
    model = Model(1)
    weight = model.weight.numpy()
    mg.save(path, model=Model(0), batches=mg.data.Batches(np.ones(9), batch_size=3))
    with pytest.raises(CheckpointError, match="rows = 9, here it is 8"):
        mg.load(path, model=model, batches=mg.data.Batches(np.ones(8), batch_size=3))
    np.testing.assert_array_equal(model.weight.numpy(), weight)


def test_a_scaling_that_was_never_fitted_takes_the_saved_numbers(path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    mg.save(path, scaler=mg.data.Standardize().fit(x))
    scaler = mg.data.Standardize()
    mg.load(path, scaler=scaler)
    np.testing.assert_array_equal(scaler.transform(x), mg.data.Standardize().fit(x).transform(x))
    mg.save(path, scaler=mg.data.Standardize())
    with pytest.raises(CheckpointError, match=r"(?s)'scaler.shift'.*found     nothing"):
        mg.load(path, scaler=scaler)


@pytest.mark.host
def test_what_is_loaded_shares_no_memory(path: Path) -> None:
    mg.save(path, model=Model(0))
    first, second = Model(1), Model(2)
    mg.load(path, model=first)
    mg.load(path, model=second)
    assert not np.shares_memory(first.weight.value, second.weight.value)


def test_inside_a_traced_function_nothing_is_saved_or_loaded(path: Path) -> None:
    model = Model(0)
    mg.save(path, model=model)
    for act in (lambda: mg.save(path, model=model), lambda: mg.load(path, model=model)):

        def step(act: Any = act) -> Any:
            act()
            return model.weight + 0.0

        with pytest.raises(TraceError, match="outside the compiled function"):
            mg.compile(step)()


def test_nothing_is_not_saved_over_something(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    mg.save(path, model=mg.nn.Linear(2, 2))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="nothing was given"):
        mg.save(path)
    assert path.read_bytes() == before
