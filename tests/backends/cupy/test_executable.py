"""Compiled graphs on the emulator against the reference; their kernels through NVRTC."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import minigrad as mg
from minigrad.api.tracing import state_value
from minigrad.backends import Program as Reference
from minigrad.backends.cupy import nvrtc
from minigrad.backends.cupy.emit import Kernel
from minigrad.backends.cupy.executable import Executable
from minigrad.backends.cupy.products import Multiply
from minigrad.backends.cupy.program import Program
from minigrad.core.graph import Graph, is_state
from minigrad.errors import DataError
from minigrad.ops.collective import all_reduce
from minigrad.passes import finalise
from tests.passes import programs

from . import emulator
from .emulated_device import EmulatedDevice

pytestmark = pytest.mark.host
needs_gcc = pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING))
needs_nvrtc = pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))

F = mg.nn.functional
RNG = np.random.default_rng(0)
GOLDEN = Path(__file__).parent / "golden"


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.normal(size=shape).astype(dtype)


def norm_gradient(x: Any, g: Any, b: Any) -> Any:
    def loss(x: Any, g: Any, b: Any) -> Any:
        return mg.sum(mg.tanh(F.layer_norm(x, (x.shape[-1],), g, b)))

    return mg.value_and_grad(loss, (0, 1, 2))(x, g, b)


def batch_norm_gradient(x: Any, g: Any, b: Any) -> Any:
    def loss(x: Any, g: Any, b: Any) -> Any:
        y = F.batch_norm(x, None, None, g, b, training=True)
        return mg.sum(mg.sigmoid(y) * y)

    return mg.value_and_grad(loss, (0, 1, 2))(x, g, b)


def convolution_gradient(x: Any, w: Any, b: Any) -> Any:
    def loss(x: Any, w: Any, b: Any) -> Any:
        return mg.sum(mg.tanh(F.conv2d(x, w, b, stride=2, padding=1)))

    return mg.grad(loss, (0, 1, 2))(x, w, b)


def network_gradient(x: Any, labels: Any, w: Any, v: Any) -> Any:
    def loss(w: Any, v: Any) -> Any:
        return F.cross_entropy(F.relu(x @ w) @ v, labels)

    return mg.value_and_grad(loss, (0, 1))(w, v)


LABELS = np.arange(33) % 10

CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "pointwise": (lambda x, y: mg.tanh(x) * y + 1.0, [normal(6, 40), normal(6, 40)]),
    "float16": (lambda x, y: mg.exp(x) * y - x / y, [normal(5, 64, dtype=np.float16)] * 2),
    "float64": (lambda x: mg.sin(x) ** 3, [normal(7, 9, dtype=np.float64)]),
    "booleans": (lambda x: (x > 0) & (x < 1), [normal(5, 16)]),
    "broadcast": (lambda x, y: x + y, [normal(4, 1, 8), normal(3, 1)]),
    "movement": (
        lambda x: mg.flip(mg.permute_dims(x, (1, 0))[1:, ::2], axis=0), [normal(10, 12)]
    ),
    "pad and concat": (
        lambda x: mg.concat([mg.pad(x, ((1, 2), (0, 3)), constant_values=-0.0), x], axis=1)
        if x.shape[0] == 0
        else mg.concat([mg.pad(x, ((1, 2), (0, 3)), constant_values=2.0)] * 2, axis=1),
        [normal(5, 6)],
    ),
    "softmax short": (lambda x: F.softmax(x, -1), [normal(33, 10)]),
    "softmax": (lambda x: F.softmax(x, -1), [normal(9, 300)]),
    "softmax of a block": (lambda x: F.log_softmax(x, -1), [normal(3, 1500)]),
    "softmax of a long row": (lambda x: F.softmax(x, -1), [normal(8, 33000)]),
    "layer norm": (lambda x: F.layer_norm(x, (70,)), [normal(11, 70)]),
    "layer norm gradient": (norm_gradient, [normal(500, 40), normal(40), normal(40)]),
    "layer norm gradient of long rows": (
        norm_gradient, [normal(12, 1200), normal(1200), normal(1200)]
    ),
    "batch norm gradient": (batch_norm_gradient, [normal(16, 5, 12, 12), normal(5), normal(5)]),
    "batch norm of columns": (batch_norm_gradient, [normal(300, 70), normal(70), normal(70)]),
    "sums": (lambda x: (mg.sum(x), mg.sum(x, 0), mg.sum(x, 1), mg.mean(x)), [normal(300, 70)]),
    "sums of float16": (lambda x: (mg.sum(x, 0), mg.sum(x)), [normal(400, 33, dtype=np.float16)]),
    "sums of integers": (lambda x: (mg.sum(x, 0), mg.prod(x, 1)), [np.arange(999).reshape(333, 3)]),
    "extrema": (
        lambda x: (mg.max(x, 0), mg.min(x), mg.max(x, 1), mg.any(x > 3)),
        [np.where(normal(200, 50) > 2.5, np.nan, normal(200, 50)).astype(np.float32)],
    ),
    "extremum gradient": (lambda x: mg.grad(lambda x: mg.sum(mg.max(x, 1)))(x), [normal(20, 90)]),
    "positions": (
        lambda x: (mg.argmax(x, 1), mg.argmin(x, 0), mg.argmax(x > 0, 1)), [normal(33, 50)]
    ),
    "running sums": (lambda x: mg.cumulative_sum(x, axis=0), [normal(20, 7)]),
    "sorting": (lambda x: mg.sort(x, axis=1), [normal(9, 30)]),
    "take": (lambda x, i: mg.take(x, i, axis=0), [normal(9, 30), np.array([[1, -1], [8, 0]])]),
    "embedding gradient": (
        lambda w, i: mg.grad(lambda w: mg.sum(mg.sin(mg.take(w, i, axis=0))))(w),
        [normal(50, 70), RNG.integers(0, 50, (6, 40))],
    ),
    "matrix product": (lambda x, w: F.relu(x @ w + 1.0), [normal(30, 40), normal(40, 20)]),
    "transposed products": (
        lambda x, w: (x.T @ w, (w.T @ x).T, x.T @ x), [normal(30, 40), normal(30, 20)]
    ),
    "batched product": (lambda x, w: x @ w, [normal(5, 30, 40), normal(5, 40, 20)]),
    "product of windows": (
        convolution_gradient, [normal(4, 3, 11, 11), normal(6, 3, 3, 3), normal(6)]
    ),
    "max pooling gradient": (
        lambda x: mg.grad(lambda x: mg.sum(F.max_pool2d(x, 3, stride=2) ** 2))(x),
        [normal(3, 2, 11, 11)],
    ),
    "average pooling": (lambda x: F.avg_pool2d(x, 2), [normal(3, 2, 10, 10)]),
    "network": (network_gradient, [normal(33, 20), LABELS, normal(20, 30), normal(30, 10)]),
    "constants": (lambda x: (x, mg.arange(5), 2.0 * np.arange(12.0)), [normal(3)]),
    "empty": (lambda x: (mg.sum(x, 0), x * 2), [normal(0, 4)]),
}  # fmt: skip


def graph_of(f: Callable[..., Any], arrays: list[Any]) -> tuple[Graph, list[Any]]:
    """Return the final graph of a call, and the arrays of its inputs."""
    graph = finalise(mg.trace(f, *arrays))
    given = iter(arrays)
    return graph, [state_value(n) if is_state(n) else next(given) for n in graph.inputs]


def check(found: list[Any], expected: list[Any], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.dtype.kind == "f":
            wide = {np.dtype(np.float16): 5e-3, np.dtype(np.float64): 1e-10}
            t = wide.get(b.dtype, tolerance)
            scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
            np.testing.assert_allclose(a, b, rtol=t, atol=t * scale + 1e-300)
        else:
            np.testing.assert_array_equal(a, b)


@needs_gcc
@pytest.mark.parametrize("name", CASES)
def test_compiled_graph_is_the_reference(name: str) -> None:
    """In both orders of threads the same bits, twice; within float32's tolerance the reference."""
    graph, arrays = graph_of(*CASES[name])
    expected = Reference(graph)(*arrays)
    results = []
    for order in (0, 1):
        executable = Executable(graph, EmulatedDevice(order))
        for _ in range(2):
            found = executable(*arrays)
            check(found, expected, 2e-5)
            results.append([np.asarray(f).tobytes() for f in found])
    assert all(r == results[0] for r in results)


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_nvrtc_compiles_every_kernel(arch: str) -> None:
    sources = {Program(graph_of(f, arrays)[0]).source for f, arrays in CASES.values()}
    for source in sources - {""}:
        assert nvrtc.cubin(source, arch).startswith(b"\x7fELF")


def kinds(name: str) -> list[str]:
    steps = Program(graph_of(*CASES[name])[0]).steps
    return [s.what if isinstance(s, Kernel) else type(s).__name__ for s in steps]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pointwise", ["pointwise"]),
        ("softmax", ["rows"]),
        ("layer norm", ["rows"]),
        ("matrix product", ["Multiply", "pointwise"]),
        ("batched product", ["Multiply"]),
    ],
)
def test_kernels_are_fused(name: str, expected: list[str]) -> None:
    assert kinds(name) == expected


def test_layer_norm_gradient_reads_its_rows_once() -> None:
    """One kernel: statistics, the gradient of x, and the sums for those of gamma and beta."""

    def gradient(x: Any, g: Any, b: Any, d: Any) -> Any:
        def loss(x: Any, g: Any, b: Any) -> Any:
            return mg.sum(F.layer_norm(x, (40,), g, b) * d)

        return mg.grad(loss, (0, 1, 2))(x, g, b)

    arrays = [normal(500, 40), normal(40), normal(40), normal(500, 40)]
    program = Program(graph_of(gradient, arrays)[0])
    assert [s.what for s in program.steps if isinstance(s, Kernel)] == ["rows", "join"]
    text = program.steps[0].text
    loads = [line for line in text.splitlines() if "= p" in line and "40 * i0" in line]
    assert len(loads) == 2  # x and d


def test_no_kernel_is_atomic_and_none_includes_a_header() -> None:
    text = "".join(Program(graph_of(f, arrays)[0]).source for f, arrays in CASES.values())
    assert "atomic" not in text and "#include" not in text


def test_text_of_a_pointwise_kernel() -> None:
    source = Program(graph_of(lambda x, y: x * 2.0 + y, [normal(8, 4), normal(4)])[0]).source
    assert source[source.index("extern") :] == (GOLDEN / "pointwise.cu").read_text()


def test_text_of_a_softmax() -> None:
    source = Program(graph_of(lambda x: F.softmax(x, -1), [normal(8, 48)])[0]).source
    assert source[source.index("extern") :] == (GOLDEN / "softmax.cu").read_text()


def test_equal_kernels_are_written_once() -> None:
    f = lambda x, y: mg.sum(mg.exp(x @ x), 1) @ mg.exp(y @ y)
    program = Program(graph_of(f, [normal(16, 16)] * 2)[0])
    names = [s.name for s in program.steps if isinstance(s, Kernel)]
    assert program.source.count("__global__") == len(set(names)) <= len(names)
    assert sum(isinstance(s, Multiply) for s in program.steps) == 2


@needs_gcc
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs.steps(list(programs.STEPS)), programs.arrays(special=True))
def test_random_programs_are_the_reference(steps: Any, pair: Any) -> None:
    graph, arrays = graph_of(programs.program(steps), [np.asarray(a) for a in pair])
    if any(n.primitive.name == "prod" for n in graph.nodes):  # what overflows depends on the order
        arrays = [np.where(np.abs(a) > 1e100, 3.0, a) for a in arrays]
    expected = Reference(graph)(*arrays)
    found = Executable(graph, EmulatedDevice())(*arrays)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def _columns(kind: str, n: int) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(n, 8))
    x += {"mean 100": 100.0, "mean 10,000": 1e4}.get(kind, 0.0)
    if kind == "constant":
        x[:] = 0.1
    if kind in ("first is far", "one is far"):
        x[0 if kind == "first is far" else n // 3] = 1000.0
    return x.astype(np.float32)


@needs_gcc
@pytest.mark.parametrize("n", [64, 1000, 20_000])
@pytest.mark.parametrize(
    "kind", ["plain", "mean 100", "mean 10,000", "constant", "first is far", "one is far"]
)
def test_variance_in_one_sweep(kind: str, n: int) -> None:
    x = _columns(kind, n)
    graph = finalise(mg.compile(lambda x: mg.var(x, 0), backend="numpy").graph(x))
    executable = Executable(graph, EmulatedDevice())
    (found,), (two,) = executable(x), Reference(graph)(x)
    wide = x.astype(np.float64)
    exact = wide.var(axis=0)
    away = wide[:: n // 8][:8].mean(axis=0) - wide.mean(axis=0)
    allowed = 1e-6 * (exact + away**2) + (4e-7 * np.abs(wide).max()) ** 2
    np.testing.assert_array_less(np.abs(found - exact), 2 * np.abs(two - exact).max() + allowed)
    reads = [s for s in executable.program.steps if s.what == "sum" and s.grid != (1, 1, 1)]
    assert len(reads) == 1, "x is read once"


@needs_gcc
@pytest.mark.parametrize("shape", [(200, 6), (12, 6, 20, 18)])
def test_gradients_of_batch_norm_from_fewer_sweeps(shape: tuple[int, ...]) -> None:
    def f(x: Any, g: Any, b: Any, d: Any) -> Any:
        y, pull = mg.vjp(lambda *a: F.batch_norm(a[0], None, None, *a[1:], training=True), x, g, b)
        return (y, *pull(d))

    args = [normal(*s).astype(np.float32) for s in (shape, (6,), (6,), shape)]
    args[0] += 100.0
    graph = finalise(mg.compile(f, backend="numpy").graph(*args))
    wide = [a.astype(np.float64) for a in args]
    exact = Reference(finalise(mg.compile(f, backend="numpy").graph(*wide)))(*wide)
    executable = Executable(graph, EmulatedDevice())
    for a, b in zip(executable(*args), exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
    large = [
        s.nbytes // args[0].nbytes for s in executable.explain().steps if s.what != "pointwise"
    ]
    assert sum(large) <= 3, "d twice, x once, before the last kernel"
    args[0][3, 2] = np.nan
    for a, b in zip(executable(*args), Reference(graph)(*args), strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))


# State ------------------------------------------------------------------------------


def training() -> tuple[Graph, list[Any], list[Any]]:
    """Return the graph of a step with momentum and dropout, its state, and its argument."""
    w, v = mg.Parameter(normal(6, 4)), mg.Buffer(np.zeros((6, 4), np.float32))

    def step(x: Any, labels: Any) -> Any:
        loss = F.cross_entropy(F.dropout(x, 0.5) @ w, labels)
        (g,) = (mg.grad(lambda w: F.cross_entropy(x @ w, labels))(w),)
        v.assign(v * 0.9 + g)
        w.assign(w - 0.1 * v)
        return loss

    compiled = mg.compile(step, backend="numpy")
    x, labels = normal(8, 6), np.arange(8) % 4
    graph = finalise(compiled.graph(x, labels))
    state = [np.array(state_value(n)) for n in graph.state]
    return graph, state, [x, labels]


@needs_gcc
@pytest.mark.parametrize("owned", [True, False])
def test_state_is_updated_step_by_step(owned: bool) -> None:
    graph, state, args = training()
    executable = Executable(graph, EmulatedDevice())
    reference = Reference(graph)
    cells = [n.params["cell"] for n in graph.state]
    here = dict(zip(cells, state, strict=True))
    away = dict(here)
    losses = []
    for _ in range(3):
        held = executable.reusable if owned else ()
        found = executable(*args, *(away[c] for c in cells), owned=held)
        expected = reference(*args, *(here[c] for c in cells))
        check(found, expected, 2e-5)
        losses.append(float(found[0]))
        for i, (cell, _) in enumerate(graph.updates):
            here[cell], away[cell] = expected[1 + i], found[1 + i]
    assert len(set(losses)) == 3, "a mask differs from the one before"


@needs_gcc
def test_old_state_that_somebody_holds_is_left_alone() -> None:
    graph, state, args = training()
    executable = Executable(graph, EmulatedDevice())
    first = executable(*args, *state, owned=executable.reusable)
    cells = [n.params["cell"] for n in graph.state]
    new = {cell: first[1 + i] for i, (cell, _) in enumerate(graph.updates)}
    held = {cell: (a, a.copy()) for cell, a in new.items()}
    other = [np.array(new.get(c, s)) for c, s in zip(cells, state, strict=True)]
    second = executable(*args, *other, owned=executable.reusable)
    for a, before in held.values():
        np.testing.assert_array_equal(a, before)
    check(second, Reference(graph)(*args, *other), 2e-5)


@needs_gcc
def test_state_that_is_passed_but_held_is_left_alone() -> None:
    """As with the test above, but the same arrays come again, this time not to be written over."""
    graph, state, args = training()
    executable = Executable(graph, EmulatedDevice())
    cells = [n.params["cell"] for n in graph.state]
    first = executable(*args, *state, owned=executable.reusable)
    new = {cell: first[1 + i] for i, (cell, _) in enumerate(graph.updates)}
    present = [new.get(c, s) for c, s in zip(cells, state, strict=True)]
    before = [np.array(p) for p in present]
    second = executable(*args, *present)
    for a, b in zip(present, before, strict=True):
        np.testing.assert_array_equal(a, b)
    check(second, Reference(graph)(*args, *before), 2e-5)


@needs_gcc
def test_cells_that_change_places_and_old_state_as_a_result() -> None:
    a, b, c = (mg.Buffer(normal(5, 7)) for _ in range(3))

    def step(x: Any) -> Any:
        was = a * 1.0
        a.assign(b * 2.0)
        b.assign(was)
        c.assign(c + x)
        return was, c * 1.0

    graph = finalise(mg.compile(step, backend="numpy").graph(normal(5, 7)))
    executable, reference = Executable(graph, EmulatedDevice()), Reference(graph)
    assert graph.outputs[0] in graph.inputs
    cells = [n.params["cell"] for n in graph.state]
    here = {n.params["cell"]: np.array(state_value(n)) for n in graph.state}
    away = dict(here)
    for _ in range(4):
        x = normal(5, 7)
        found = executable(x, *(away[i] for i in cells), owned=executable.reusable)
        expected = reference(x, *(here[i] for i in cells))
        for p, q in zip(found, expected, strict=True):
            np.testing.assert_array_equal(p, q)
        for i, (cell, _) in enumerate(graph.updates):
            here[cell], away[cell] = expected[2 + i], found[2 + i]


@needs_gcc
def test_more_state_than_one_kernel_has_arguments_for() -> None:
    cells = [mg.Buffer(normal(i % 3, 2 + i)) for i in range(310)]

    def step(x: Any) -> Any:
        for cell in cells:
            cell.assign(mg.flip(cell, axis=1) + x)  # what is read elsewhere is not written over

    x = np.array(0.5, np.float32)
    graph = finalise(mg.compile(step, backend="numpy").graph(x))
    executable = Executable(graph, EmulatedDevice())
    state = [np.array(state_value(n)) for n in graph.state]
    for _ in range(2):
        found = executable(x, *state, owned=executable.reusable)
        for p, q in zip(found, Reference(graph)(x, *state), strict=True):
            np.testing.assert_array_equal(p, q)
    assert sum(s.what == "commit" for s in executable.explain().steps) == 2


@needs_gcc
def test_what_a_kernel_alone_reads_it_writes_over() -> None:
    a, b, c = (mg.Buffer(normal(6, 8)) for _ in range(3))
    n = mg.Buffer(np.array(2.0, np.float32))

    def step(x: Any, labels: Any) -> Any:
        read_by_others = mg.sum(c @ mg.matrix_transpose(x))  # c is written over after that
        a.assign(a * 0.5 + b)
        b.assign(a - b)  # the new a, out of registers
        c.assign(c + n)
        n.assign(n + 1.0)
        return read_by_others + mg.sum(mg.take(x, labels, axis=0))

    labels = np.array([1, 2])
    x = normal(6, 8)
    graph = finalise(mg.compile(step, backend="numpy").graph(x, labels))
    state = [np.array(state_value(n)) for n in graph.state]
    cells = [n.params["cell"] for n in graph.state]
    for order in range(5):
        executable = Executable(graph, EmulatedDevice(order))
        copied = [s.nbytes for s in executable.explain().steps if s.what == "commit"]
        assert sum(copied) < 100  # the counter is with the flags: they come first
        here = away = dict(zip(cells, state, strict=True))
        for _ in range(4):
            with pytest.raises(DataError, match="7 is out of range"):
                executable(x, np.array([1, 7]), *away.values(), owned=executable.reusable)
            found = executable(x, labels, *away.values(), owned=executable.reusable)
            expected = Reference(graph)(x, labels, *here.values())
            check(found, expected, 2e-6)
            new = {cell: i for i, (cell, _) in enumerate(graph.updates, 1)}
            away = {c: found[new[c]] for c in cells}
            here = {c: expected[new[c]] for c in cells}


@needs_gcc
def test_an_index_out_of_range_changes_nothing_and_work_goes_on() -> None:
    graph, state, (x, labels) = training()
    executable = Executable(graph, EmulatedDevice())
    first = executable(x, labels, *state, owned=executable.reusable)
    cells = [n.params["cell"] for n in graph.state]
    new = {cell: first[1 + i] for i, (cell, _) in enumerate(graph.updates)}
    present = [new.get(c, s) for c, s in zip(cells, state, strict=True)]
    before = [np.array(p) for p in present]
    with pytest.raises(DataError, match="99 is out of range"):
        executable(x, np.full(8, 99), *present, owned=executable.reusable)
    for a, b in zip(present, before, strict=True):
        np.testing.assert_array_equal(a, b)
    check(
        executable(x, labels, *present, owned=executable.reusable),
        Reference(graph)(x, labels, *before), 2e-5,
    )  # fmt: skip


@needs_gcc
def test_masks_have_the_references_bits_and_change_from_run_to_run() -> None:
    def f(x: Any) -> Any:
        return F.dropout(x, 0.4), mg.random.bernoulli(0.3, (37,))

    compiled = mg.compile(f, backend="numpy")
    x = np.ones((40, 36), np.float32)
    graph = finalise(compiled.graph(x))
    executable, reference = Executable(graph, EmulatedDevice()), Reference(graph)
    state = [np.array(state_value(n)) for n in graph.state]
    cells = [n.params["cell"] for n in graph.state]
    masks = []
    for _ in range(3):
        expected, found = reference(x, *state), executable(x, *state)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        masks.append(np.asarray(found[0]).tobytes())
        new = {c: found[2 + i] for i, (c, _) in enumerate(graph.updates)}
        state = [new.get(c, s) for c, s in zip(cells, state, strict=True)]
    assert len(set(masks)) == 3


@needs_gcc
def test_workers_in_threads_wait_for_each_other_and_not_for_ever() -> None:
    """A sum over workers is not captured, and keeps no other thread from launching."""
    barrier = threading.Barrier(2, timeout=20)
    parts: list[Any] = [None, None]

    class Worker:
        size = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def all_reduce(self, array: Any) -> Any:
            parts[self.rank] = array
            barrier.wait()
            return parts[0] + parts[1]

    def work(rank: int) -> Any:
        f = lambda x: mg.tanh(all_reduce(mg.sum(x, 0), group=Worker(rank))) * 2.0
        x = np.full((3, 4), rank + 0.5, np.float32)
        graph = finalise(mg.compile(f, backend="numpy").graph(x))
        return Executable(graph, EmulatedDevice())(x)[0]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, [0, 1]))
    for array in found:
        np.testing.assert_allclose(array, 2 * np.tanh(3 * 2.0) * np.ones(4), rtol=1e-6)
