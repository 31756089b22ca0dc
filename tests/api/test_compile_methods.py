"""``mg.compile`` on methods: attributes that change, the life of what is compiled, copies."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn


class Scaled(nn.Module):
    def __init__(self, factor: float = 2.0) -> None:
        self.layer = nn.Linear(3, 2)
        self.factor = factor

    @mg.compile
    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.factor

    @mg.compile
    def loss(self, x: Any, scale: float = 1.0) -> Any:
        return self(x).sum() * scale


def test_a_compiled_method_sees_the_attributes_of_its_object_change() -> None:
    model, other, x = Scaled(), Scaled(5.0), np.ones((4, 3), np.float32)
    plain = model.layer(x).numpy()
    np.testing.assert_allclose(model(x), plain * 2.0, rtol=1e-6)
    model.factor = 3.0
    np.testing.assert_allclose(model(x), plain * 3.0, rtol=1e-6)
    np.testing.assert_allclose(other(x), other.layer(x).numpy() * 5.0, rtol=1e-6)
    np.testing.assert_allclose(model.loss(x, scale=2.0), plain.sum() * 6.0, rtol=1e-5)
    bound = mg.compile(model.forward)
    bound(x)
    model.factor = 4.0
    np.testing.assert_allclose(bound(x), plain * 4.0, rtol=1e-6)


def test_a_compiled_method_has_the_tools_of_a_compiled_function() -> None:
    model, x = Scaled(), mg.ones((4, 3))
    assert model.loss.graph(x).outputs[0].aval.shape == ()
    assert "(Linear)" in str(model.loss.explain(x))
    assert model.loss.signatures == Scaled.loss.signatures
    model.loss(x).backward()
    assert model.layer.weight.grad is not None


def test_what_is_compiled_for_an_object_goes_with_it() -> None:
    before = Scaled.forward.signatures
    models = [Scaled(float(i)) for i in range(3)]
    for model in models:
        model(mg.ones((1, 3)))
    assert Scaled.forward.signatures == before + 3
    del models, model
    gc.collect()
    assert Scaled.forward.signatures == before

    compiled = mg.compile(lambda f, x: f(x))
    for _ in range(3):
        compiled(lambda x: x * 2.0, mg.ones(2))
    gc.collect()
    assert compiled.signatures == 0


def test_objects_that_are_equal_by_value_share_what_is_compiled() -> None:
    compiled = mg.compile(lambda x, s: x[s])
    x = mg.arange(6.0)
    for _ in range(3):
        assert compiled(x, slice(1, 3)).tolist() == [1.0, 2.0]
        assert compiled(x, slice(2, None)).tolist() == [2.0, 3.0, 4.0, 5.0]
    assert compiled.signatures == 2


def test_a_temporary_module_does_not_make_every_call_trace_again() -> None:
    compiled = mg.compile(lambda x: nn.Sequential(nn.ReLU(), nn.Dropout(0.0))(x))
    for _ in range(3):
        compiled(mg.ones(2))
        gc.collect()
    assert compiled.signatures == 1


def doubled(x: Any) -> Any:
    return x * 2.0


def test_compiled_functions_can_be_copied_and_pickled() -> None:
    compiled = mg.compile(doubled)
    compiled(mg.ones(2))
    for twin in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert twin.signatures == 0
        assert twin(mg.ones(2)).tolist() == [2.0, 2.0]
    model = Scaled()
    model.step = mg.compile(doubled)
    assert copy.deepcopy(model).step(mg.ones(1)).item() == 2.0


def test_a_call_that_was_made_before_is_found_by_the_types_of_its_arrays() -> None:
    weight = mg.Parameter(np.ones(3), "w")
    compiled = mg.compile(lambda x, y: mg.sum(x * weight) + y)
    a, b = np.arange(3.0), np.float64(1.0)
    for _ in range(2):
        assert compiled(a, np.asarray(b)).item() == 4.0
        assert compiled(mg.tensor(a), mg.tensor(b)).item() == 4.0
    assert compiled.signatures == 1
    assert compiled(a.astype(">f8"), b).item() == 4.0, "foreign byte order"
    assert compiled(a.astype(np.float32), np.asarray(b)).dtype == mg.float64
    assert compiled.signatures == 2
    weight.assign(np.full(3, 2.0))
    result = compiled(a, np.asarray(b))
    assert result.item() == 7.0
    result.backward()
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad, a)
    np.testing.assert_allclose(mg.grad(compiled)(mg.tensor(a), mg.tensor(b)), 2.0)
    with mg.no_grad():
        assert not compiled(a, np.asarray(b)).node.inputs
    model = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5)).astype(mg.float64)
    run = mg.compile(model)
    for mode in (True, False, True, False):
        model.train(mode)
        same = np.array_equal(run(a[None]), run(a[None]))
        assert same is not mode
    assert run.signatures == 2


def test_states_of_one_signature_do_not_pile_up() -> None:
    model = nn.Dropout(0.0)
    run = mg.compile(model)
    for i in range(30):
        model.p = i / 100
        run(mg.ones(2))
    assert run.signatures <= 16
