"""A module as a tree, and compiled: gradients, batches, retracing, training steps."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.trees import flatten
from tests.agreement import agree

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(8, 3)), RNG.integers(0, 2, size=8)


def network(seed=0):
    mg.random.seed(seed)
    return nn.Sequential(
        nn.Linear(3, 5), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 2)
    ).float64()


def loss_of(model, x, t):
    return F.cross_entropy(model(x), t)


def gradients_by_backward(model):
    model.zero_grad()
    loss_of(model, X, T).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def test_gradient_by_a_module_is_a_module_of_gradients() -> None:
    model = network().eval()
    wanted = gradients_by_backward(model)
    grads = mg.grad(loss_of)(model, X, T)
    assert type(grads) is nn.Sequential
    found = dict(grads.named_parameters())
    assert list(found) == list(wanted)
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=1e-13, atol=1e-15)
    assert isinstance(model[0].weight, mg.Parameter)
    assert not isinstance(grads[0].weight, mg.Parameter)
    assert grads[1].running_mean is model[1].running_mean


def test_running_statistics_are_updated_under_a_transformation() -> None:
    model = network()
    mg.grad(loss_of)(model, X, T)
    assert model[1].num_batches_tracked.item() == 1
    inside = np.asarray(model[0](X))
    np.testing.assert_allclose(model[1].running_mean.numpy(), 0.1 * inside.mean(0), rtol=1e-12)


def test_a_tied_parameter_is_one_leaf_with_the_sum_of_its_gradients() -> None:
    model = nn.Sequential(nn.Linear(3, 3, dtype=mg.float64), nn.Linear(3, 3, dtype=mg.float64))
    model[1].weight = model[0].weight
    _leaves, tree = flatten(model)
    assert tree.paths("m") == ["m.0.weight", "m.0.bias", "m.1.bias"]
    f = lambda m: (m(X) ** 2).sum()
    grads = mg.grad(f)(model)
    assert grads[0].weight is grads[1].weight
    f(model).backward()
    np.testing.assert_allclose(grads[0].weight, model[0].weight.grad, rtol=1e-13)


def test_frozen_parameters_are_no_leaves() -> None:
    model = network().eval()
    model[0].requires_grad_(False)
    _leaves, tree = flatten(model)
    assert tree.paths() == ["1.weight", "1.bias", "4.weight", "4.bias"]
    grads = mg.grad(loss_of)(model, X, T)
    assert grads[0].weight is model[0].weight
    model[0].weight.requires_grad = True
    assert len(flatten(model)[0]) == 5


def test_structures_compare_by_model_and_paths() -> None:
    model, other = network(), network()
    assert flatten(model)[1] == flatten(model)[1]
    assert flatten(model)[1] == flatten(mg.grad(loss_of)(model, X, T))[1]
    assert flatten(model)[1] != flatten(other)[1]
    assert hash(flatten(model)[1]) == hash(flatten(model)[1])


def test_directional_derivatives_by_a_module() -> None:
    model = network().eval()
    grads = mg.grad(loss_of)(model, X, T)
    f = lambda m: loss_of(m, X, T)
    _, slope = mg.jvp(f, (model,), (grads,))
    squares = sum(float((g * g).sum()) for g in grads.parameters())
    np.testing.assert_allclose(slope.item(), squares, rtol=1e-12)
    product = mg.hvp(f, model, grads)
    step = 1e-6
    for p, g in zip(model.parameters(), grads.parameters(), strict=True):
        p.assign(p + step * g)
    moved = mg.grad(loss_of)(model, X, T)
    for h, a, b in zip(product.parameters(), moved.parameters(), grads.parameters(), strict=True):
        np.testing.assert_allclose(h, (a - b).numpy() / step, rtol=1e-3, atol=1e-4)


def test_vmap_over_examples_equals_the_batch() -> None:
    model = network().eval()
    one = lambda m, x: m(x[None])[0]
    np.testing.assert_allclose(mg.vmap(lambda x: one(model, x))(X), model(X), rtol=1e-13)
    both = mg.vmap(one, in_axes=(None, 0))(model, X)
    np.testing.assert_allclose(both, model(X), rtol=1e-13)
    loss_of_one = lambda m, x, t: F.cross_entropy(one(m, x), t)
    per_example = mg.vmap(mg.grad(loss_of_one), in_axes=(None, 0, 0))(model, X, T)
    mean = mg.grad(loss_of)(model, X, T)
    for each, total in zip(per_example.parameters(), mean.parameters(), strict=True):
        np.testing.assert_allclose(each.mean(axis=0), total, rtol=1e-10, atol=1e-14)


def test_vmap_over_models_runs_an_ensemble() -> None:
    models = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(3)]
    _leaves, tree = flatten(models[0])
    per_model = zip(*(flatten(m)[0] for m in models), strict=True)
    stacked = tree.build([mg.stack(cells) for cells in per_model])
    found = mg.vmap(lambda m, x: m(x), in_axes=(0, None))(stacked, X)
    np.testing.assert_allclose(found, np.stack([m(X) for m in models]), rtol=1e-6)


def test_vmap_in_training_says_what_to_do() -> None:
    layer = nn.InstanceNorm(3, track_running_stats=True)
    with pytest.raises(mg.errors.TraceError, match=r"model\.eval\(\)"):
        mg.vmap(lambda x: layer(x[None]))(RNG.normal(size=(2, 3, 4)))


def test_transformations_see_methods_bound_to_the_module() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.w = mg.Parameter(np.ones(3))
            self.act = self.times

        def times(self, x):
            return self.w * x

        def forward(self, x):
            return self.act(x).sum()

    grads = mg.grad(lambda m, x: m(x))(Net(), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(grads.w, [1.0, 2.0, 3.0])


# Compiled -------------------------------------------------------------------------


def training_step(model, rate=0.1):
    def step(x, t):
        model.zero_grad()
        loss = loss_of(model, x, t)
        loss.backward()
        for p in model.parameters():
            p.assign(p - rate * p.grad)
        return loss

    return step


def test_compiled_training_equals_eager_training(backend: str) -> None:
    results = []
    for wrap in (lambda f: f, mg.compile(backend=backend)):
        model = network(seed=4)
        step = wrap(training_step(model))
        losses = [step(X, T) for _ in range(5)]
        results.append((losses, list(model.state_dict().values())))
    agree(results[1], results[0], backend)
    assert losses[-1] < losses[0]
    assert step.signatures == 1


def test_compiled_convolutional_training_equals_eager_training(backend: str) -> None:
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(4, 2, 6, 6)), rng.integers(0, 3, size=4)
    results = []
    for wrap in (lambda f: f, mg.compile(backend=backend)):
        mg.random.seed(2)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, padding="same", groups=2), nn.GroupNorm(2, 4), nn.GELU("tanh"),
            nn.AvgPool2d(3), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 3),
        ).float64()  # fmt: skip
        step = wrap(training_step(model))
        results.append([step(x, t) for _ in range(4)])
    agree(results[1], results[0], backend)
    assert results[0][-1] < results[0][0]


def test_a_gradient_inside_a_compiled_function_follows_the_mode() -> None:
    model = network()
    step = mg.compile(lambda x, t: mg.value_and_grad(loss_of)(model, x, t)[0])
    mg.random.seed(0)
    training = step(X, T).item()
    tracked = model[1].num_batches_tracked.item()
    assert tracked == 1
    model.eval()
    assert step(X, T).item() == loss_of(model, X, T).item() != training
    assert model[1].num_batches_tracked.item() == 1
    model.train()
    step(X, T)
    assert step.signatures == 2


def test_a_compiled_model_is_traced_again_when_an_attribute_changes() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.1))
    compiled = mg.compile(model)
    for change in (
        lambda: None,
        lambda: setattr(model[1], "negative_slope", 0.5),
        lambda: setattr(model[0], "weight", mg.Parameter(np.ones((2, 3), np.float32))),
        lambda: setattr(model[0], "bias", None),
        lambda: model.append(nn.Linear(2, 1)),
        lambda: setattr(model, "0", nn.Linear(3, 2)),
    ):
        change()
        np.testing.assert_allclose(compiled(X), model(X), rtol=1e-6)
    assert compiled.signatures == 6
    model[1].negative_slope = 0.1
    compiled(X)
    model[1].negative_slope = 0.5
    compiled(X)  # the trace of before is found again
    assert compiled.signatures == 7


def test_containers_that_are_not_called_are_followed_too() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList([nn.Linear(3, 3)])
            self.heads = nn.ModuleDict({"a": nn.Linear(3, 1)})

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.heads["a"](x)

    model = Net()
    compiled = mg.compile(model)
    compiled(X)
    model.layers.append(nn.Linear(3, 3))
    np.testing.assert_allclose(compiled(X), model(X), rtol=1e-6)
    model.heads["a"] = nn.Linear(3, 2)
    np.testing.assert_allclose(compiled(X), model(X), rtol=1e-6)
    assert compiled.signatures == 3


def test_attributes_assigned_while_running_do_not_cause_endless_tracing() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(3, 2)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.hidden = self.fc(x)
            return self.hidden

    model = Net()
    compiled = mg.compile(model)
    for _ in range(4):
        compiled(X)
        model(X)
    assert compiled.signatures <= 2


def test_a_frozen_parameter_is_thawed_for_a_compiled_step() -> None:
    model = network()
    model[0].requires_grad_(False)
    step = mg.compile(training_step_of_trainable(model))
    before = model[0].weight.numpy()
    step(X, T)
    assert np.array_equal(model[0].weight.numpy(), before)
    model[0].requires_grad_(True)
    step(X, T)
    assert not np.array_equal(model[0].weight.numpy(), before)


def training_step_of_trainable(model):
    def step(x, t):
        model.zero_grad()
        loss = loss_of(model, x, t)
        loss.backward()
        for p in model.parameters():
            if p.requires_grad:
                p.assign(p - 0.1 * p.grad)
        return loss

    return step


def test_a_converted_model_is_traced_again() -> None:
    model = nn.Linear(3, 2)
    compiled = mg.compile(model)
    x = X.astype(np.float32)
    assert compiled(x).dtype == mg.float32
    model.float64()
    assert compiled(x).dtype == mg.float64


def test_checkpointed_layers_give_the_same_gradients() -> None:
    model = network().eval()
    wanted = gradients_by_backward(model)
    model.zero_grad()
    F.cross_entropy(model[2:](mg.checkpoint(model[:2])(X)), T).backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, wanted[name], rtol=1e-12, atol=1e-15)


def test_a_traced_function_of_a_model_takes_its_parameters_as_arguments() -> None:
    model = network().eval()
    graph = mg.trace(loss_of, model, X, T)
    names = [node.name for node in graph.arguments]
    assert names[:2] == ["model.0.weight", "model.0.bias"]
    assert names[-2:] == ["x", "t"]
    np.testing.assert_allclose(graph(model, X, T).item(), loss_of(model, X, T).item(), rtol=1e-15)
    state = [node.name for node in mg.trace(model, X).state]
    assert "1.running_mean" in state
    assert "4.bias" in state
