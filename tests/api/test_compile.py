"""``mg.compile``: equal to eager, retraced when it must be, state in place, errors, threads."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import BackendUnavailable, DataError, MinigradError, ShapeError, TraceError
from minigrad.trees import flatten, map_leaves
from tests.agreement import agree

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=4)

FUNCTIONS = {
    "elementwise": lambda a, b: mg.tanh(a) * b + mg.where(a > 0, a, b) / 3.0,
    "softmax": lambda a, b: mg.softmax(a * b, -1),
    "moments": lambda a, b: (a - mg.mean(a, 0)) / (mg.std(a, 0) + 1.0),
    "products": lambda a, b: {"y": a @ b, "z": [mg.einsum("ij,kj->ik", a, a), None]},
    "indexing": lambda a, b: a[[2, 0]][:, ::-1] * b[1:3].sum(),
    "sorting": lambda a, b: mg.sort(a, axis=1) + mg.cumulative_sum(b),
    "gradient": lambda a, b: mg.grad(lambda a, b: mg.sum(mg.sin(a @ b) ** 2), (0, 1))(a, b),
    "hessian": lambda a, b: mg.hessian(lambda b: mg.logsumexp(a @ b))(b),
    "jvp": lambda a, b: mg.jvp(lambda b: mg.tanh(a @ b), (b,), (b * 2,)),
    "vmap": lambda a, b: mg.vmap(lambda r: r * mg.softmax(r + b))(a),
    "random": lambda a, b: (
        a * mg.random.bernoulli(0.5, (3, 4)) + mg.random.normal((4,), dtype=a.dtype)
    ),
    "numbers": lambda a, b: (1.0, mg.ones(3), a),
    "nothing": lambda a, b: None,
}


def bits(tree: Any) -> list[tuple[Any, bytes]]:
    leaves, structure = flatten(tree)
    arrays = [np.asarray(x) for x in leaves]
    return [structure, *((a.shape, a.dtype.str, np.ascontiguousarray(a).tobytes()) for a in arrays)]


@pytest.mark.host
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_equals_eager(name: str, dtype: Any, backend: str) -> None:
    function = FUNCTIONS[name]
    a, b = A.astype(dtype), B.astype(dtype)
    compiled = mg.compile(function, backend=backend)
    for _ in range(2):
        mg.random.seed(3)
        with mg.no_grad():
            eager = function(mg.tensor(a), mg.tensor(b))
        mg.random.seed(3)
        agree(compiled(a, b), map_leaves(mg.asarray, eager), backend)
    assert compiled.signatures == 1


def training_step(p: Any, m: Any, b: Any) -> Any:
    """Momentum, running statistics, dropout and backward in one step."""

    def step(x: Any) -> Any:
        p.grad = None
        mask = mg.random.bernoulli(0.7, x.shape)
        b.assign(b * 0.9 + mg.mean(x, 0) * 0.1)
        loss = mg.mean((mg.tanh(x * mask @ p) - 1.0) ** 2)
        loss.backward()
        m.assign(m * 0.9 + p.grad)
        p.assign(p - m * 0.1)
        return loss, p.grad

    return step


@pytest.mark.host
def test_compiled_training_equals_eager_training(backend: str) -> None:
    runs = []
    for wrap in (lambda f: f, lambda f: mg.compile(f, backend=backend)):
        cells = mg.Parameter(B), mg.Buffer(np.zeros(4)), mg.Buffer(np.zeros(4))
        step = wrap(training_step(*cells))
        mg.random.seed(1)
        losses = [step(mg.tensor(A + i)) for i in range(5)]
        runs.append((losses, cells, cells[0].grad, mg.random.default_generator.stream.numpy()))
    agree(runs[1], runs[0], backend)
    assert runs[0][3] == 5


# When it traces ---------------------------------------------------------------------


def test_traces_once_for_each_shape_dtype_and_static_argument() -> None:
    calls = []

    @mg.compile
    def f(x: Any, *, scale: float = 1.0, mode: str = "up") -> Any:
        calls.append(1)
        return x * scale if mode == "up" else x / scale

    one, two = np.ones(2), np.ones(3)
    f(one), f(one), f(mg.tensor(one))
    assert len(calls) == 1
    for again in (lambda: f(two), lambda: f(one.astype(np.float32)), lambda: f(one, scale=2.0),
                  lambda: f(one, scale=2), lambda: f(one, mode="down"),
                  lambda: f(one, scale=-0.0), lambda: f(one, scale=0.0)):  # fmt: skip
        before = len(calls)
        again()
        again()
        assert len(calls) == before + 1
    assert f.signatures == len(calls)
    assert np.signbit(f(one, scale=-0.0).numpy()).all()
    assert not np.signbit(f(one, scale=0.0).numpy()).any()


def test_default_dtype_is_part_of_the_signature() -> None:
    f = mg.compile(lambda x: mg.where(x > 0, 1, 2))
    assert f(B).dtype == mg.float32
    mg.set_default_dtype(mg.float64)
    try:
        assert f(B).dtype == mg.float64
    finally:
        mg.set_default_dtype(mg.float32)
    assert f(B).dtype == mg.float32
    assert f.signatures == 2


def test_structure_of_containers_is_part_of_the_signature() -> None:
    f = mg.compile(lambda t: flatten(t)[0][0] * 2)
    for tree in ([A], (A,), {"a": A}, {"b": A}, [A, None]):
        f(tree)
    assert f.signatures == 5


def test_unhashable_static_argument_is_an_error() -> None:
    with pytest.raises(MinigradError, match="neither an array nor hashable"):
        mg.compile(lambda x, s: x)(A, {1, 2})


def test_changed_attribute_is_noticed() -> None:
    from minigrad.core.tape import guarded

    class Layer:
        scale = 2.0

        def __call__(self, x: Any) -> Any:
            return x * guarded(self, "scale", self.scale)

    layer = Layer()
    f = mg.compile(lambda x: layer(x))
    assert f(B).tolist() == (2 * B).tolist()
    layer.scale = 5.0
    assert f(B).tolist() == (5 * B).tolist()
    layer.scale = 2.0
    assert f(B).tolist() == (2 * B).tolist()
    assert f.signatures == 2, "the first trace is valid again"


def test_cell_with_another_type_is_noticed() -> None:
    p = mg.Parameter(B)
    f = mg.compile(lambda: mg.sum(p * p))
    f()
    p.load(np.ones(7, np.float32))
    assert f().item() == 7.0
    assert f().dtype == np.float32


def test_many_signatures_warn_once() -> None:
    f = mg.compile(lambda x, n: x * n)
    with pytest.warns(UserWarning, match=r"was traced 17 times.*mg\.tensor") as caught:
        for n in range(20):
            f(B, n)
    assert len(caught) == 1


def test_methods_keywords_defaults_and_decorators() -> None:
    class Model:
        def __init__(self, w: float) -> None:
            self.w = mg.Parameter(np.full(4, w), "w")

        @mg.compile
        def forward(self, x: Any, *, shift: Any = 0.0) -> Any:
            """Return w x + shift."""
            return self.w * x + shift

    one, two = Model(1.0), Model(2.0)
    assert two.forward(B).tolist() == (2 * B).tolist()
    assert one.forward(x=B, shift=B).tolist() == (2 * B).tolist()
    assert Model.forward.__doc__ == "Return w x + shift."
    assert Model.forward.__name__ == "forward"
    decorated = mg.compile(backend="numpy")(lambda x: x + 1)
    assert decorated(B).tolist() == (B + 1).tolist()


def test_cells_that_are_passed_are_state_as_at_the_prompt() -> None:
    def step(p: Any, x: Any) -> Any:
        if p.grad is not None:
            p.grad = None
        loss = mg.sum(p * x)
        loss.backward()
        p.assign(p - 0.5 * p.grad)
        return loss

    compiled = mg.compile(step, backend="numpy")
    pairs = [(mg.Parameter(B + i), mg.Parameter(B + i)) for i in range(2)]
    for _ in range(3):
        for eager, mine in pairs:
            assert step(eager, B).item() == compiled(mine, B).item()
            assert eager.tolist() == mine.tolist()
    assert compiled.signatures == 4, "each parameter, with and without a gradient before"
    (loss,) = [mg.compile(lambda ps, x: mg.sum(ps["w"] * x))({"w": pairs[0][1]}, B)]
    pairs[0][1].grad = None
    loss.backward()
    assert pairs[0][1].grad.tolist() == B.tolist()


def test_graph_takes_types_alone_and_running_does_not() -> None:
    f = mg.compile(lambda x, n: x * n)
    graph = f.graph(mg.spec((2,), np.float64), 3)
    assert [n.name for n in graph.inputs] == ["x"]
    assert f(np.ones(2), 3).tolist() == [3, 3]
    assert f.signatures == 1
    with pytest.raises(ShapeError, match="cannot run on types alone"):
        f(mg.spec((2,), np.float64), 3)


# Inside each other ------------------------------------------------------------------


def test_compiled_function_is_part_of_what_is_around_it() -> None:
    f = mg.compile(lambda x: mg.sum(mg.sin(x) * x))
    expected = np.cos(B) * B + np.sin(B)
    np.testing.assert_allclose(mg.grad(f)(B), expected)
    np.testing.assert_allclose(mg.compile(mg.grad(f))(B), expected)
    np.testing.assert_allclose(mg.vmap(mg.grad(f))(A), np.cos(A) * A + np.sin(A))
    np.testing.assert_allclose(mg.hessian(f)(B), np.diag(2 * np.cos(B) - np.sin(B) * B))
    assert mg.compile(lambda x: f(x) + f(x))(B).item() == pytest.approx(2 * f(B).item())
    assert len(mg.trace(f, B).nodes) == 3


def test_compiled_result_has_a_history_for_backward() -> None:
    p, x = mg.Parameter(B), mg.tensor(A, requires_grad=True)

    @mg.compile
    def forward(x: Any) -> Any:
        h = mg.tanh(x * p)
        return h, mg.sum(h)

    h, s = forward(x)
    (mg.sum(h * h) + s).backward()
    t = np.tanh(A * B)
    outer = (2 * t + 1) * (1 - t * t)
    np.testing.assert_allclose(p.grad, (outer * A).sum(0))
    np.testing.assert_allclose(x.grad, outer * B)
    with mg.no_grad():
        assert forward(x)[1].node.inputs == ()


def test_compiled_forward_with_dropout_and_statistics_has_a_history() -> None:
    """The walk back draws the mask that the forward pass drew, from the state that it read."""
    p, b = mg.Parameter(np.ones(64)), mg.Buffer(np.zeros(64))

    @mg.compile
    def forward() -> Any:
        mask = mg.random.bernoulli(0.5, (64,))
        b.assign(b + 1.0)
        return p * mask * b

    mg.random.seed(4)
    y = forward()
    forward()
    mg.sum(y).backward()
    assert p.grad.tolist() == y.tolist()


def test_compiled_training_step_keeps_no_history() -> None:
    """A list of losses must not keep the parameters of every step alive."""
    p = mg.Parameter(B)

    @mg.compile
    def step() -> Any:
        p.grad = None
        loss = mg.sum(p * p)
        loss.backward()
        p.assign(p - p.grad * 0.1)
        return loss

    assert step().node.inputs == ()
    assigned = mg.compile(lambda: p.assign(p * 2.0))
    assert assigned() is None


def test_known_values_from_outside_become_constants() -> None:
    w = mg.tensor(B)
    outside = mg.tanh(w) * 2.0
    p, b = mg.Parameter(B), mg.Buffer(B)

    @mg.compile
    def f(x: Any) -> Any:
        b.assign(outside)
        return x * outside, outside

    y, same = f(B)
    np.testing.assert_allclose(y, B * np.tanh(B) * 2)
    np.testing.assert_allclose(same, np.tanh(B) * 2)
    np.testing.assert_allclose(b, np.tanh(B) * 2)
    names = {n.primitive.name for n in f.graph(B).nodes}
    assert "tanh" not in names, "what was computed outside is not computed again"
    assert p.tolist() == B.tolist()


# Errors -----------------------------------------------------------------------------


def test_error_at_run_time_names_the_node_and_changes_nothing() -> None:
    count, labels = mg.Buffer(np.zeros(())), np.array([0, 1])

    @mg.compile
    def f(x: Any, labels: Any) -> Any:
        count.assign(count + 1.0)
        return mg.sum(mg.take(x, labels))

    f(B, labels)
    with pytest.raises(DataError, match="index: 9 is out of range") as caught:
        f(B, np.array([0, 9]))
    assert "test_compile.py" in str(caught.value.operands)
    assert count.item() == 1.0
    f(B, labels)
    assert count.item() == 2.0


def test_error_while_tracing_changes_nothing_and_can_be_retried() -> None:
    count, fail = mg.Buffer(np.zeros(())), [True]

    @mg.compile
    def f(x: Any) -> Any:
        count.assign(count + 1.0)
        if fail[0]:
            raise RuntimeError("stop")
        return x

    with pytest.raises(RuntimeError, match="stop"):
        f(B)
    assert count.item() == 0.0
    assert (mg.tensor(B) * 2).node.value is not None, "recording is back at the prompt"
    fail[0] = False
    f(B)
    assert count.item() == 1.0


@pytest.mark.parametrize(
    "body",
    [
        lambda x: x if mg.sum(x) > 0 else -x,
        lambda x: float(mg.sum(x)),
        lambda x: mg.sum(x).item(),
        lambda x: x.numpy(),
        lambda x: np.asarray(x),
        lambda x: [1, 2, 3][mg.argmax(x)],
        lambda x: f"{mg.sum(x):.2f}",
        lambda x: x.tolist(),
    ],
)
def test_asking_a_traced_tensor_for_its_value_is_an_error(body: Any) -> None:
    with pytest.raises(TraceError, match=r"(?s)has no value.*mg\.where"):
        mg.compile(body)(B)


def test_the_repair_for_a_value_is_to_return_it() -> None:
    with pytest.raises(TraceError, match=r"(?s)fix +return it .*`loss = step\(x\)`"):
        mg.compile(lambda x: mg.sum(x).item())(B)
    with pytest.raises(TraceError, match=r"(?s)fix .*instead of t\[mask\] use mg\.where"):
        mg.compile(lambda x: x[x > 0])(B)
    with pytest.raises(TraceError, match=r"(?s)fix +use mg\.where.*instead of `if`"):
        mg.compile(lambda x: x if mg.sum(x) > 0 else -x)(B)


def test_traced_tensor_prints_its_type_and_place() -> None:
    seen = []
    mg.compile(lambda x: seen.append(repr(x * 2)) or x)(B)
    assert seen[0].startswith("tensor(f64[4], traced at test_compile.py")


def test_result_that_is_no_tensor_is_an_error() -> None:
    with pytest.raises(TraceError, match="the function returned a str"):
        mg.compile(lambda x: "text")(B)


def test_leaked_tracer_is_an_error() -> None:
    kept = []
    mg.compile(lambda x: kept.append(x * 2) or x)(B)
    with pytest.raises(TraceError, match="a traced value that is not among the inputs"):
        mg.compile(lambda y: y + kept[0])(B)
    with pytest.raises(TraceError, match="has no value"):
        float(mg.sum(kept[0]))


def test_unknown_backend_is_an_error_at_once() -> None:
    with pytest.raises(BackendUnavailable, match=r"(?s)no backend 'gpu9'.*numpy"):
        mg.compile(lambda x: x, backend="gpu9")


def test_another_default_backend_is_used_at_once() -> None:
    """Also where the short way through a call was taken before."""
    f = mg.compile(lambda x: x * 2.0)
    x = np.ones(3, np.float32)
    for _ in range(4):
        f(x)
    ran = [e for found in f._entries.values() for e in found]
    with mg.use("numpy"):
        f(x)
        new = [e for found in f._entries.values() for e in found if e not in ran]
        expected = 0 if mg.backends()["cpu"] != "usable" else 1
        assert len(new) == expected
        assert all(type(e.execute).__module__ == "minigrad.backends.reference" for e in new)
    f(x)
    assert len(f._entries) == 1 + expected


def test_use_sets_the_default_and_puts_it_back() -> None:
    with mg.use("numpy"):
        assert mg.compile(lambda x: x + 1)(B).device == "cpu"
    missing = [n for n, state in mg.backends().items() if state != "usable"]
    for name in missing:
        with pytest.raises(BackendUnavailable, match="not usable here"):
            mg.use(name)
        with pytest.raises(BackendUnavailable):
            mg.compile(lambda x: x, backend=name)
    assert mg.backends()["numpy"] == "usable"


# Threads ----------------------------------------------------------------------------


def test_threads_trace_differentiate_and_compile_side_by_side() -> None:
    barrier = threading.Barrier(4)
    shared = mg.compile(lambda x: mg.sum(mg.tanh(x) ** 2))
    results: dict[int, Any] = {}

    def work(k: int) -> None:
        own, p = mg.compile(mg.grad(lambda x: mg.sum(x**3) * k)), mg.Parameter(B * k)
        barrier.wait()
        found = []
        for i in range(10):
            x = B + i
            with mg.no_grad() if k % 2 else warnings.catch_warnings():
                value = shared(x).item()
            p.grad = None
            mg.sum(p * x).backward()
            g = mg.trace(lambda t: mg.sum(mg.sin(t)), x).grad()(x)[1]
            found.append((value, own(x).tolist(), p.grad.tolist(), g.tolist()))
        results[k] = found

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    for k in range(4):
        for i, (value, own, p, g) in enumerate(results[k]):
            x = B + i
            assert value == pytest.approx((np.tanh(x) ** 2).sum())
            assert own == pytest.approx((3 * x * x * k).tolist())
            assert p == x.tolist()
            assert g == pytest.approx(np.cos(x).tolist())
    assert shared.signatures == 1, "two threads at once trace a signature once"
