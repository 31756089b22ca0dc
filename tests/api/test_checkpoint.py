"""``mg.checkpoint``: equal gradients, memory saved, state changed once, the same random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Graph
from minigrad.passes import finalise

X = np.array([0.5, -1.0, 2.0])


def near(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-12, atol=1e-14)


def layer(x: Any) -> Any:
    return mg.tanh(x * 1.5) * mg.exp(-x * x)


WAYS = {
    "grad": lambda f: mg.grad(lambda x: mg.sum(f(x)))(X),
    "compiled": lambda f: mg.compile(mg.grad(lambda x: mg.sum(f(x))))(X),
    "traced": lambda f: mg.trace(lambda x: mg.sum(f(x)), X).grad()(X)[1],
    "jvp": lambda f: mg.jvp(f, X, X)[1],
    "hessian": lambda f: mg.hessian(lambda x: mg.sum(f(x)))(X),
    "jacobian": lambda f: mg.jacobian(f)(X),
    "vmap": lambda f: mg.vmap(mg.grad(lambda x: mg.sum(f(x))))(np.stack([X, X + 1])),
    "grad of vmap": lambda f: mg.grad(lambda b: mg.sum(mg.vmap(f)(b)))(np.stack([X, X + 1])),
    "value": lambda f: f(mg.tensor(X)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("depth", [1, 2])
def test_checkpoint_changes_no_derivative(way: str, depth: int) -> None:
    wrapped = mg.checkpoint(lambda x: layer(layer(x)))
    if depth == 2:
        once = wrapped
        wrapped = mg.checkpoint(lambda x: once(x))
    near(WAYS[way](wrapped), WAYS[way](lambda x: layer(layer(x))))


def test_checkpoint_with_backward_at_the_prompt_and_compiled() -> None:
    def loss(p: Any, f: Any) -> Any:
        return mg.sum(f(p) * p)

    results = []
    for f in (layer, mg.checkpoint(layer)):
        p = mg.Parameter(X)
        loss(p, f).backward()
        q = mg.Parameter(X)
        mg.compile(lambda q=q, f=f: loss(q, f).backward())()
        near(p.grad, q.grad)
        results.append(p.grad)
    near(*results)
    assert np.abs(results[0].numpy()).min() > 0


def test_checkpoint_of_several_arguments_results_and_nesting() -> None:
    def f(p: Any, x: Any, power: int, *, shift: Any) -> Any:
        return {"a": p["w"] * x**power + shift, "b": [mg.sum(p["w"]), x]}

    def total(f: Any) -> Any:
        def loss(w: Any, x: Any, s: Any) -> Any:
            out = f({"w": w}, x, 3, shift=s)
            return mg.sum(out["a"] * 2.0) + out["b"][0] + mg.sum(out["b"][1] * x)

        return mg.grad(loss, (0, 1, 2))(X + 3, X, X)

    for plain, wrapped in zip(total(f), total(mg.checkpoint(f)), strict=True):
        near(wrapped, plain)


def test_checkpoint_differentiates_what_it_closes_over() -> None:
    p = mg.Parameter(X, "p")

    def loss(w: Any) -> Any:
        u = w * 2.0
        inside = mg.checkpoint(lambda x: mg.sin(x * u) * p)
        return mg.sum(inside(mg.tensor(X)) * u)

    expected = lambda w: 2 * np.sin(2 * w * X) * X + 2 * w * 2 * X * np.cos(2 * w * X) * X
    near(mg.grad(loss)(X), expected(X))
    loss(mg.tensor(X)).backward()
    near(p.grad, np.sin(X * 2 * X) * 2 * X)
    near(mg.compile(mg.grad(loss))(X), expected(X))


@pytest.mark.parametrize("wrap", [lambda f: f, mg.compile], ids=["prompt", "compiled"])
def test_checkpoint_changes_state_once(wrap: Any) -> None:
    count, p = mg.Buffer(np.zeros(3)), mg.Parameter(X)

    def block(x: Any) -> Any:
        count.assign(count + x)
        return mg.tanh(x * p) * count

    def step() -> Any:
        p.grad = None
        loss = mg.sum(mg.checkpoint(block)(mg.tensor(np.ones(3))))
        loss.backward()
        return loss

    run = wrap(step)
    run()
    run()
    assert count.tolist() == [2, 2, 2]
    mg.checkpoint(lambda cell: cell.assign(cell + 1.0) or cell)(count)
    assert count.tolist() == [3, 3, 3], "a cell may be passed, too"
    near(p.grad, 2.0 / np.cosh(X) ** 2)  # the second run multiplies by the count of 2


@pytest.mark.parametrize("wrap", [lambda f: f, mg.compile], ids=["prompt", "compiled"])
def test_checkpoint_draws_the_same_mask_again(wrap: Any) -> None:
    p = mg.Parameter(np.ones(64))

    def block(x: Any) -> Any:
        return x * mg.random.bernoulli(0.5, (64,))

    def step() -> Any:
        p.grad = None
        y = mg.checkpoint(block)(p * 3.0)
        mg.sum(y).backward()
        return y

    run = wrap(step)
    mg.random.seed(7)
    first, second = run().numpy(), None
    mask = mg.tensor(first) > 0
    near(p.grad, 3.0 * mask.numpy())
    second = run().numpy()
    assert (second != first).any(), "the stream goes on"
    near(p.grad, second)
    mg.random.seed(7)
    near(run(), first)
    assert mg.random.default_generator.stream.item() == 1


def test_checkpoint_notes_attributes_for_the_function_compiled_around_it() -> None:
    from minigrad.core.tape import guarded

    class Switch:
        training = True

        def __call__(self, x: Any) -> Any:
            return x * 2.0 if guarded(self, "training", self.training) else x

    switch = Switch()
    run = mg.compile(lambda x: mg.checkpoint(switch)(x))
    assert run(X).tolist() == (2 * X).tolist()
    switch.training = False
    assert run(X).tolist() == X.tolist()


def test_checkpoint_of_a_function_that_calls_backward_is_an_error() -> None:
    p = mg.Parameter(X)
    with pytest.raises(mg.errors.MinigradError, match="the function calls backward"):
        mg.checkpoint(lambda x: mg.sum(p * x).backward())(mg.tensor(X))


def test_checkpoint_asks_for_no_value() -> None:
    with pytest.raises(mg.errors.TraceError, match="truth value"):
        mg.checkpoint(lambda x: x if x > 0 else -x)(mg.tensor(1.0))


def test_checkpoint_with_random_numbers_in_a_batch() -> None:
    """The count of draws does not depend on the batch, so it can be kept."""

    def block(x: Any) -> Any:
        return x * mg.random.bernoulli(0.5, (64,))

    mg.random.seed(2)
    found = mg.vmap(mg.checkpoint(block))(np.ones((3, 64)))
    assert mg.random.default_generator.stream.item() == 1
    assert found[0].tolist() == found[2].tolist()
    assert set(found[0].tolist()) == {0.0, 1.0}


def test_checkpoint_without_tensors_or_dependence() -> None:
    assert mg.checkpoint(lambda: mg.ones(2))().tolist() == [1, 1]
    found = mg.grad(lambda x: mg.sum(mg.checkpoint(lambda t: mg.ones(3))(x)))(X)
    assert found.tolist() == [0, 0, 0]


# What it costs and saves ------------------------------------------------------------


def peak(graph: Graph) -> int:
    """Return the most bytes alive at once, when values are dropped after their last use."""
    last = {i: at for at, node in enumerate(graph.nodes) for i in node.inputs}
    kept, alive, most = set(graph.results), 0, 0
    for at, node in enumerate(graph.nodes):
        alive += node.aval.nbytes if node.inputs else 0
        most = max(most, alive)
        for i in {*node.inputs, node}:
            if last.get(i, at) == at and i not in kept and i.inputs:
                alive -= i.aval.nbytes
    return most


def test_checkpoint_saves_memory_after_the_passes() -> None:
    """A chain of 16 blocks of 8 steps: whole blocks are forgotten, not merged back."""
    n = 1000

    def block(x: Any) -> Any:
        for _ in range(8):
            x = mg.tanh(x) * 1.1
        return x

    def chain(f: Any) -> Any:
        def loss(x: Any) -> Any:
            for _ in range(16):
                x = f(x)
            return mg.sum(x)

        return loss

    graphs = [
        finalise(mg.trace(mg.grad(chain(f)), mg.spec((n,), np.float64)))
        for f in (block, mg.checkpoint(block))
    ]
    plain, saved = map(peak, graphs)
    assert plain > 128 * 8 * n
    assert saved < 45 * 8 * n, f"{saved // (8 * n)} arrays alive, without checkpoint {plain}"
    computed = [sum(m.primitive.name == "tanh" for m in g.nodes) for g in graphs]
    assert computed[0] == 128
    assert 128 < computed[1] <= 256


def test_gradient_of_a_call_computes_the_inside_once() -> None:
    """However many parameters and results there are."""
    parameters = [mg.Parameter(X) for _ in range(5)]

    def block(x: Any) -> Any:
        for p in parameters:
            x = mg.tanh(x * p)
        return x, mg.sum(x), x * 2.0

    def step(x: Any) -> Any:
        a, b, c = mg.checkpoint(block)(x)
        loss = mg.sum(a * c) + b
        loss.backward()
        return loss

    graph = mg.compile(step).graph(X)
    names = [n.primitive.name for n in graph.nodes]
    assert names.count("tanh") == 5
    assert names.count("call") == 3
