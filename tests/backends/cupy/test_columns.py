"""Kernels whose rows are columns in memory, and those of few rows, on the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import minigrad as mg
from minigrad.api.tracing import state_value
from minigrad.backends import Program as Reference
from minigrad.backends.cupy import nvrtc, program, rows
from minigrad.backends.cupy.emit import Kernel
from minigrad.backends.cupy.executable import Executable
from minigrad.backends.cupy.program import Program
from minigrad.core.graph import Graph, is_state
from minigrad.passes import finalise, kernels, schedule
from tests.passes import programs

from .emulated_device import EmulatedDevice
from .test_executable import GOLDEN, RNG, needs_gcc, needs_nvrtc, normal

pytestmark = pytest.mark.host

F = mg.nn.functional


def norm(x: Any, g: Any, b: Any) -> Any:
    return F.batch_norm(x, None, None, g, b, training=True)


def gradient(x: Any, g: Any, b: Any, d: Any) -> Any:
    y, pull = mg.vjp(lambda *a: F.relu(norm(*a)), x, g, b)
    return (y, *pull(d))


def second(x: Any, g: Any, b: Any, d: Any) -> Any:
    def slope(x: Any, g: Any, b: Any) -> Any:
        return mg.sum(mg.grad(lambda x: mg.sum(mg.tanh(norm(x, g, b)) * d))(x) ** 2)

    return mg.grad(slope, (0, 1, 2))(x, g, b)


def batch(*shape: int, dtype: Any = np.float32) -> list[Any]:
    c = shape[1]
    return [normal(*s, dtype=dtype) for s in (shape, (c,), (c,), shape)]


def reductions(axis: Any) -> Callable[..., Any]:
    def f(x: Any) -> Any:
        return mg.sum(x, axis), mg.max(x, axis), mg.min(x, axis), mg.prod(x, axis, keepdims=True)

    return f


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "norm": (norm, batch(64, 256)[:3]),
    "norm of odd sizes": (norm, batch(77, 259)[:3]),
    "norm of long columns": (norm, batch(2048, 256)[:3]),
    "norm of a channel in the middle": (norm, batch(60, 300, 3)[:3]),
    "gradient": (gradient, batch(128, 256)),
    "gradient of odd sizes": (gradient, batch(77, 259)),
    "gradient in float64": (gradient, batch(70, 257, dtype=np.float64)),
    "gradient in float16": (gradient, batch(70, 257, dtype=np.float16)),
    "second gradient": (second, batch(40, 261)),
    "of one row": (lambda x: (mg.sum(x, 0), x - mg.mean(x, 0)), [normal(1, 260)]),
    "of two rows": (gradient, batch(2, 260)),
    "reductions": (reductions(0), [normal(41, 259)]),
    "reductions of a whole block": (reductions(0), [normal(64, 256)]),
    "reductions of two axes": (reductions((0, 1)), [normal(7, 9, 262)]),
    "reductions between two axes": (reductions(1), [normal(30, 50, 9)]),
    "reductions of float64": (reductions(0), [normal(41, 259, dtype=np.float64)]),
    "reductions of float16": (reductions(0), [normal(41, 259, dtype=np.float16)]),
    "reductions of integers": (reductions(0), [RNG.integers(-3, 4, (50, 257))]),
    "with NaN": (
        reductions(0), [np.where(normal(41, 259) > 2.5, np.nan, normal(41, 259)).astype(np.float32)]
    ),
    "softmax": (lambda x: F.softmax(x, 0), [normal(70, 300)]),
    "softmax of what is transposed": (lambda x: F.softmax(x.T, 1), [normal(70, 300)]),
    "few": (reductions(None), [normal(1000)]),
    "few of two axes": (lambda x: x / mg.sum(x), [normal(60, 61)]),
    "fewer than eight rows": (lambda x: F.softmax(x, -1), [normal(7, 1300)]),
    "flags": (lambda x: (mg.any(x > 3), mg.all(x < 4)), [normal(300)]),
}  # fmt: skip


def graph_of(f: Callable[..., Any], arrays: list[Any]) -> tuple[Graph, list[Any]]:
    """Return the final graph of a call, and the arrays of its inputs."""
    graph = finalise(mg.trace(f, *arrays))
    given = iter(arrays)
    return graph, [state_value(n) if is_state(n) else next(given) for n in graph.inputs]


def hold(graph: Graph, arrays: list[Any], tolerance: float = 3e-5) -> list[Any]:
    """Run a graph twice in both orders of threads: the same bits, and the reference's values."""
    expected, results = Reference(graph)(*arrays), []
    for order in (0, 1):
        executable = Executable(graph, EmulatedDevice(order))
        for _ in range(2):
            found = executable(*arrays)
            results.append([np.asarray(f).tobytes() for f in found])
            for a, b in zip(found, expected, strict=True):
                assert a.shape == b.shape and a.dtype == b.dtype
                t = {2: 1e-2, 8: 1e-10}.get(b.dtype.itemsize, tolerance)
                if b.dtype.kind != "f":
                    t = 0.0
                scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
                np.testing.assert_allclose(a, b, rtol=t, atol=t * scale + 1e-300)
    assert all(r == results[0] for r in results)
    return expected


@contextmanager
def small(unroll: int = 36, **changes: Any) -> Iterator[None]:
    """Let arrays that are small have what otherwise only large ones have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "OPTIONS", replace(program.OPTIONS, **changes))
        patch.setattr(kernels, "BESIDE", 1)
        patch.setattr(schedule, "UNROLL", unroll)
        yield


def kinds(graph: Graph) -> list[str]:
    return [s.what for s in Program(graph).steps if isinstance(s, Kernel)]


@needs_gcc
@pytest.mark.parametrize("name", CASES)
def test_columns_are_the_reference(name: str) -> None:
    hold(*graph_of(*CASES[name]))


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_nvrtc_compiles_every_kernel(arch: str) -> None:
    for source in {Program(graph_of(f, arrays)[0]).source for f, arrays in CASES.values()}:
        assert nvrtc.cubin(source, arch).startswith(b"\x7fELF")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("norm", ["columns"]),
        ("gradient", ["columns"]),
        ("norm of long columns", ["columns"]),
        ("reductions of two axes", ["columns"]),
        ("softmax", ["columns"]),
        ("softmax of what is transposed", ["columns"]),
        ("few", ["rows"]),
        ("few of two axes", ["rows"]),
        ("fewer than eight rows", ["rows"]),
        ("flags", ["rows"]),
    ],
)
def test_one_kernel_is_enough(name: str, expected: list[str]) -> None:
    assert kinds(graph_of(*CASES[name])[0]) == expected


def specs(f: Callable[..., Any], *shapes: tuple[int, ...]) -> Graph:
    return finalise(mg.trace(f, *[mg.spec(s, "float32") for s in shapes]))


def test_each_array_is_read_once() -> None:
    text = Program(graph_of(*CASES["gradient"])[0]).source
    loads = [line for line in text.splitlines() if "= p" in line and "256 * i0" in line]
    assert len(loads) == 2, "x and d"


@pytest.mark.parametrize("shape", [(2049, 256), (65536, 1024), (300, 255), (100, 50, 7)])
def test_long_and_few_columns_are_added_up_in_parts(shape: tuple[int, ...]) -> None:
    axes = tuple(range(len(shape) - 1))
    assert kinds(specs(lambda x: mg.sum(x, axes), shape)) == ["sum", "join"]
    assert "columns" not in kinds(specs(lambda x: x - mg.mean(x, axes), shape))


def test_rows_with_sums_across_them_stay_as_they_are() -> None:
    """The kernel of a LayerNorm's gradient adds up for gamma and beta: it has the rows at hand."""

    def backward(x: Any, g: Any, b: Any, d: Any) -> Any:
        return mg.vjp(lambda *a: F.layer_norm(a[0], (512,), *a[1:]), x, g, b)[1](d)

    assert kinds(specs(backward, (256, 512), (512,), (512,), (256, 512))) == ["rows", "join"]


def test_a_variance_of_columns_is_not_shifted() -> None:
    """Its columns are in registers: a sweep about the mean reads nothing."""
    assert kinds(specs(lambda x: mg.var(x, 0), (1000, 256))) == ["columns"]
    assert kinds(specs(lambda x: mg.var(x, 0), (3000, 256)))[0] == "pointwise"


def test_text_of_a_softmax_of_columns() -> None:
    source = Program(graph_of(lambda x: F.softmax(x, 0), [normal(40, 257)])[0]).source
    assert source[source.index("extern") :] == (GOLDEN / "columns.cu").read_text()


def test_explain_names_the_kernel_and_its_work() -> None:
    graph, _ = graph_of(*CASES["norm"])
    (step,) = Executable(graph, EmulatedDevice()).explain().steps
    assert step.what == "columns" and step.over == (64, 256) and step.parts == 32
    assert "rsqrt" in {n.primitive.name for n in step.computes}
    assert "k0_columns(" in step.source


# Shapes of blocks -------------------------------------------------------------------


@needs_gcc
@pytest.mark.parametrize(
    ("n", "c", "side", "threads"),
    [
        (37, 64, 32, 512),
        (65, 67, 32, 512),
        (300, 264, 32, 512),
        (520, 64, 16, 512),
        (1100, 67, 8, 512),
    ],
)
def test_many_columns_are_side_by_side(
    n: int, c: int, side: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In wide arrays a block has up to 32: as many as leave registers for their length."""
    monkeypatch.setattr(rows, "_MANY", 8)
    with small(columns=8):
        graph, arrays = graph_of(gradient, batch(n, c))
        (step,) = Program(graph).steps
        assert isinstance(step, Kernel) and step.grid == (-(-c // side), 1, 1)
        assert step.threads == threads
        hold(graph, arrays)


@needs_gcc
@pytest.mark.parametrize("count", [9, 64, 67, 200])
@pytest.mark.parametrize("op", ["sum", "max"])
def test_sums_across_columns_on_the_way(op: str, count: int) -> None:
    """Rows too long to be rows: the kernel of the columns adds them up, in parts."""

    def f(x: Any) -> Any:
        y = x - mg.mean(x, 0)
        return y * 2.0, getattr(mg, op)(y, 1), mg.sum(x * x, 1)

    with small(columns=8, row_bytes=16, parts=lambda _, result: 3 if result > 1 else 1):
        graph, arrays = graph_of(f, [normal(50, count)])
        assert kinds(graph)[0] == "columns" and len(Program(graph).schedule.divided) == 2
        hold(graph, arrays)


@needs_gcc
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs.steps(list(programs.STEPS)), programs.arrays(special=True))
def test_random_programs_of_columns(steps: Any, pair: Any) -> None:
    with small(unroll=1, columns=1):
        graph, arrays = graph_of(programs.program(steps), [np.asarray(a) for a in pair])
        if any(n.primitive.name == "prod" for n in graph.nodes):  # overflow depends on the order
            arrays = [np.where(np.abs(a) > 1e100, 3.0, a) for a in arrays]
        expected = Reference(graph)(*arrays)
        found = Executable(graph, EmulatedDevice())(*arrays)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Layers -----------------------------------------------------------------------------


@needs_gcc
def test_a_layer_with_dropout_and_its_statistics_step_by_step() -> None:
    layer = mg.nn.BatchNorm(260)
    w = mg.Parameter(RNG.uniform(0.5, 1.5, 260).astype(np.float32))

    def step(x: Any) -> Any:
        def loss(w: Any) -> Any:
            return mg.sum(F.dropout(F.relu(layer(mg.tanh(x * w))), 0.4) ** 2)

        value, g = mg.value_and_grad(loss)(w)
        w.assign(w - 0.01 * g)
        return value

    graph = finalise(mg.compile(step, backend="numpy").graph(normal(50, 260)))
    executable, reference = Executable(graph, EmulatedDevice()), Reference(graph)
    assert "columns" in [s.what for s in executable.explain().steps]
    cells = [n.params["cell"] for n in graph.state]
    here = {n.params["cell"]: np.array(state_value(n)) for n in graph.state}
    away = dict(here)
    for _ in range(3):
        x = normal(50, 260)
        found = executable(x, *(away[c] for c in cells), owned=executable.reusable)
        expected = reference(x, *(here[c] for c in cells))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
        for i, (cell, _) in enumerate(graph.updates):
            here[cell], away[cell] = expected[1 + i], found[1 + i]


@needs_gcc
def test_columns_of_bfloat16() -> None:
    pytest.importorskip("ml_dtypes", reason="pip install 'minigrad[lowp]'")

    def f(x: Any) -> Any:
        return F.softmax(x, 0), mg.sum(x, 0), mg.max(x, 0)

    x = mg.asarray(normal(70, 259)).astype(mg.bfloat16).numpy()
    graph, arrays = graph_of(f, [x])
    assert "columns" in kinds(graph)
    for order in (0, 1):
        found = Executable(graph, EmulatedDevice(order))(*arrays)
        for a, b in zip(found, Reference(graph)(*arrays), strict=True):
            assert a.dtype == b.dtype
            p, q = (np.asarray(v).astype(np.float64) for v in (a, b))
            np.testing.assert_allclose(p, q, rtol=2**-6, atol=2**-6 * np.abs(q).max())


@needs_gcc
def test_the_state_of_one_row_is_not_written_over_while_it_is_read() -> None:
    w = mg.Buffer(RNG.uniform(1.0, 2.0, 1000).astype(np.float32))

    def step(x: Any) -> None:
        w.assign((w - mg.max(w)) / mg.sum(w * x))

    x = RNG.uniform(1.0, 2.0, 1000).astype(np.float32)
    graph = finalise(mg.compile(step, backend="numpy").graph(x))
    assert kinds(graph) == ["rows", "commit"]
    hold(graph, [x, np.array(state_value(graph.state[0]))])
