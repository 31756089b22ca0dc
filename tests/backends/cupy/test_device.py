"""What only a device can prove. Run it where there is one: ``pytest -m gpu``."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends import Program as Reference
from minigrad.backends.cupy import eager, runtime
from minigrad.backends.cupy.device import CupyDevice
from minigrad.backends.cupy.executable import Executable
from minigrad.bench.device import training
from minigrad.core import Primitive, registry
from minigrad.errors import DataError, DeviceMemoryError
from tests.ops import checkers as check
from tests.ops.test_scalar import CASES, LIBRARY, combinations

from . import test_cuda_dialect as dialect
from . import test_executable as compiled

pytestmark = pytest.mark.gpu
cupy = import_module("cupy") if find_spec("cupy") else None


def on_device(primitive: Primitive, arrays: list[np.ndarray], params: dict) -> np.ndarray:
    """Run the kernel that the emulator tests run, from the same translation unit."""
    dtypes = [a.dtype for a in arrays]
    result = dialect._result(primitive, dtypes, params)
    n = arrays[0].size
    made = cupy.empty(arrays[0].shape, result)
    name = dialect.kernel_name(primitive, dtypes, result)
    count = cupy.asarray(np.uint64(n))
    given = [*map(cupy.asarray, arrays), count, made]
    runtime.launcher(dialect.module(), name)((-(-n // 64), 1, 1), 64, given)
    return made.get()


@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_device_kernel_is_the_reference_at_extremes(primitive: Primitive, dtype: Any) -> None:
    params = dict(primitive.samples[0].params)
    operands = combinations(primitive, dtype)
    expected = check.run(primitive, operands, params)
    found = on_device(primitive, operands, params)
    if primitive.name in ("maximum", "minimum") and dtype.kind == "f":
        found, expected = found + np.zeros(1, dtype), expected + np.zeros(1, dtype)  # -0 is 0
    if primitive.name in LIBRARY and dtype.kind == "f":
        check.close(found, expected, check.tolerance_of(dtype))
    else:
        check.same_bits(found, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=str)
def test_device_arithmetic_has_numpys_bits(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, b = (
        (rng.normal(size=1 << 16) * 10.0 ** rng.integers(-4, 5, 1 << 16)).astype(dtype)
        for _ in range(2)
    )
    for name in ("add", "sub", "mul", "div", "sqrt"):
        arrays = [a, b][: 1 if name == "sqrt" else 2]
        found = eager.compute(registry[name], list(map(cupy.asarray, arrays)), {}).get()
        check.same_bits(found, check.run(registry[name], arrays, {}), name)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64], ids=str)
def test_device_scatter_has_numpys_bits(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(0, 50, (60, 70))
    g = (rng.normal(size=(3, 60, 70, 20)) * 100).astype(dtype)
    p, params = registry["scatter_add"], {"axis": 1, "n": 90}
    found = eager.compute(p, [cupy.asarray(g), cupy.asarray(index)], params).get()
    check.same_bits(found, check.run(p, [g, index], params))


def test_device_masks_are_the_same_bits() -> None:
    with mg.use("numpy"):
        mg.random.seed(3)
        expected = [mg.random.bernoulli(0.3, (100, 77)).numpy() for _ in range(2)]
    mg.random.seed(3)
    found = [mg.random.bernoulli(0.3, (100, 77)) for _ in range(2)]
    assert {t.device for t in found} == {"cuda:0"}
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(f.numpy(), e)
    assert (found[0].numpy() != found[1].numpy()).any()


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_device_memory_is_shared_through_dlpack(library: str) -> None:
    module = pytest.importorskip(library)
    if library == "torch":
        theirs = module.arange(5, dtype=module.float32, device="cuda")
        pointer = theirs.data_ptr()
        back = module.from_dlpack
    else:
        theirs = module.numpy.arange(5, dtype="float32")
        if theirs.device.platform != "gpu":
            pytest.skip("JAX has no GPU here")
        pointer = theirs.unsafe_buffer_pointer()
        back = module.dlpack.from_dlpack
    taken = mg.from_dlpack(theirs)
    assert taken.device == "cuda:0"
    assert taken.value.data.ptr == pointer
    assert taken.numpy().tolist() == [0, 1, 2, 3, 4]
    given = back(mg.tensor([1.0, 2.0]).to("cupy"))
    assert np.asarray(given.cpu() if library == "torch" else given).tolist() == [1, 2]


def test_device_memory_error_leaves_state_valid() -> None:
    w = mg.Parameter(cupy.ones(4, np.float32))
    before = w.value
    huge = mg.full((1 << 20, 1 << 20), 1.0, dtype=mg.float64)
    with pytest.raises(DeviceMemoryError, match="no memory left") as caught:
        w.assign(w * mg.sum(mg.exp(huge)).astype(mg.float32))
    assert "MiB are free" in str(caught.value)
    assert w.value is before
    w.assign(w * 2.0)
    assert w.numpy().tolist() == [2.0] * 4


@pytest.mark.parametrize("name", compiled.CASES)
def test_device_compiled_graph_is_the_reference(name: str) -> None:
    """Launched, then replayed as a CUDA graph: the same bits; the reference's within tolerance."""
    graph, arrays = compiled.graph_of(*compiled.CASES[name])
    expected = Reference(graph)(*arrays)
    executable = Executable(graph, CupyDevice())
    runs = [[f.get() for f in executable(*arrays)] for _ in range(4)]
    compiled.check(runs[0], expected, 1e-4)
    for run in runs[1:]:
        for a, b in zip(run, runs[0], strict=True):
            assert a.tobytes() == b.tobytes()


def test_device_training_step_is_one_graph_and_memory_does_not_grow() -> None:
    mg.random.seed(0)
    step, batch = training("W1")
    compiled_step = mg.compile(step, backend="cupy")
    losses = [compiled_step(*batch).item() for _ in range(30)]
    (entry,) = [e for found in compiled_step._entries.values() for e in found]
    assert entry.execute.program.captured
    pool = cupy.get_default_memory_pool()
    before, held = pool.used_bytes(), pool.total_bytes()
    for _ in range(2000):
        loss = compiled_step(*batch)
    assert loss.item() < min(losses)
    assert pool.used_bytes() - before <= 1 << 20
    assert pool.total_bytes() - held <= 64 << 20


def test_device_step_equals_the_reference_step_by_step() -> None:
    found = {}
    for backend in ("numpy", "cupy"):
        mg.random.seed(0)
        step, batch = training("W1")
        run = mg.compile(step, backend=backend)
        found[backend] = [run(*batch).item() for _ in range(5)]
    np.testing.assert_allclose(found["cupy"], found["numpy"], rtol=1e-4)


def test_device_masks_differ_between_replays() -> None:
    f = mg.compile(lambda x: mg.nn.functional.dropout(x, 0.5), backend="cupy")
    x = mg.ones((64, 64))
    masks = {f(x).numpy().tobytes() for _ in range(5)}
    assert len(masks) == 5
    mg.random.seed(3)
    replayed = f(x).numpy()
    mg.random.seed(3)
    np.testing.assert_array_equal(replayed, mg.nn.functional.dropout(x, 0.5).numpy())


def test_device_index_out_of_range_changes_nothing() -> None:
    w = mg.Parameter(np.ones((5, 3), np.float32))

    def step(i: Any) -> Any:
        w.assign(w + 1.0)
        return mg.take(w, i, axis=0)

    run = mg.compile(step, backend="cupy")
    run(np.array([1, 2]))
    run(np.array([1, 2]))
    with pytest.raises(DataError, match="7 is out of range"):
        run(np.array([1, 7]))
    np.testing.assert_array_equal(w.numpy(), 3.0)
    np.testing.assert_array_equal(run(np.array([0, 4])).numpy(), 4.0)


def test_device_index_out_of_range_is_found_while_the_device_is_busy() -> None:
    """The host asks for the flags of this call, whatever else the device has still to do."""
    w = mg.Buffer(np.zeros((2048, 2048), np.float32))
    turn = mg.tensor(np.eye(2048, dtype=np.float32)[::-1].copy()).to("cupy")

    def step(i: Any) -> Any:
        w.assign(w @ turn @ turn @ turn @ turn + 1.0)
        return mg.take(w, i, axis=0)

    run = mg.compile(step, backend="cupy")
    good, bad = (mg.tensor(np.array(i)).to("cupy") for i in ([3, 4], [3, 2048]))
    for count in range(1, 41):
        if count % 4 == 0:
            with pytest.raises(DataError, match="2048 is out of range"):
                run(bad)
        found = run(good)
        if count > 35:
            np.testing.assert_array_equal(found.numpy(), count)
    np.testing.assert_array_equal(w.numpy(), 40.0)


def test_device_lanes_give_the_same_bits_as_one_after_the_other() -> None:
    """Whatever runs side by side: a missing wait would show sooner or later."""
    found = []
    for lanes in (1, 2):
        mg.random.seed(0)
        step, batch = training("W1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["minigrad.backends.cupy.program"], "LANES", lanes)
            run = mg.compile(step, backend="cupy")
            found.append([run(*batch).numpy().tobytes() for _ in range(200)])
    assert found[0] == found[1]
