"""Eager work on a device, on the stand-in: own kernels on the emulator, moves, errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends.cupy import eager, nvrtc, runtime
from minigrad.core import registry
from minigrad.errors import BackendUnavailable, DeviceMemoryError
from tests.ops import checkers as check

from . import emulator, stand_in

pytestmark = pytest.mark.host
needs_gcc = pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING))
RNG = np.random.default_rng(0)


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The stand-in, with kernels on the emulator."""
    if emulator.MISSING:
        pytest.skip(emulator.MISSING)
    with stand_in.installed(kernels=True) as module:
        yield module


@pytest.fixture
def plain() -> Iterator[Any]:
    """The stand-in, with references in place of kernels."""
    with stand_in.installed(kernels=False) as module:
        yield module


# Kernels --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (3, 7), (5, 1000), (0, 4)], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=str)
def test_elementwise_kernel_is_the_reference(cupy: Any, shape: Any, dtype: Any) -> None:
    a, b = (RNG.normal(size=shape).astype(dtype) for _ in range(2))
    for name, arrays in {
        "mul": (a, b),
        "exp": (a,),
        "less": (a, b),
        "where": (a < b, a, b),
    }.items():
        expected = check.run(registry[name], arrays, {})
        found = eager.compute(registry[name], [cupy.asarray(x) for x in arrays], {}).get()
        assert found.dtype == expected.dtype and found.shape == expected.shape
        if name == "exp":
            check.close(found, expected, check.tolerance_of(dtype))
        else:
            check.same_bits(found, expected, name)


def test_elementwise_operands_may_be_repeated_or_strided(cupy: Any) -> None:
    a = RNG.normal(size=(6, 4)).astype(np.float32)
    for make in (
        lambda m, x: (x.T, x.reshape(4, 6)),
        lambda m, x: (x[::2], m.broadcast_to(m.asarray(np.float32(3)), (3, 4))),
        lambda m, x: (m.broadcast_to(x[0], (6, 4)), x),
    ):
        expected = np.multiply(*make(np, a))
        found = eager.compute(registry["mul"], make(cupy, cupy.asarray(a)), {})
        check.same_bits(found.get(), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64], ids=str)
def test_scatter_add_adds_in_the_references_order(cupy: Any, dtype: Any) -> None:
    """The same bits as the reference: no atomics, and the order of the indices."""
    index = RNG.integers(0, 5, (6, 7))
    g = (RNG.normal(size=(3, 6, 7, 2)) * 100).astype(dtype)
    params = {"axis": 1, "n": 9}
    p = registry["scatter_add"]
    found = eager.compute(p, [cupy.asarray(g), cupy.asarray(index)], params).get()
    check.same_bits(found, check.run(p, [g, index], params))


@pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_eager_kernels_compile(arch: str) -> None:
    f16, f64 = np.dtype(np.float16), np.dtype(np.float64)
    sources = [
        eager.pointwise(registry["pow"], [f64, f64], [1, 0], {}, f64),
        eager.pointwise(registry["erf"], [f16], [1], {}, f16),
        eager.scatter(f16),
    ]
    assert all(nvrtc.cubin(s, arch).startswith(b"\x7fELF") for s in sources)


def test_elementwise_kernel_text() -> None:
    f32 = np.dtype(np.float32)
    text = eager.pointwise(registry["add"], [f32, f32], [1, 0], {}, f32)
    assert text[text.index("extern") :] == (
        'extern "C" __global__ void __launch_bounds__(256) mg_add(const f32* __restrict__ x0, '
        "const f32* __restrict__ x1, f32* __restrict__ y, const u64 n) {\n"
        "  const f32 v0 = x1[0];\n"
        "  const u64 stride = (u64)gridDim.x * blockDim.x;\n"
        "  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {\n"
        "    const f32 v1 = x0[i];\n"
        "    const f32 v2 = v1 + v0;\n"
        "    y[i] = v2;\n"
        "  }\n"
        "}\n"
    )


# Places ---------------------------------------------------------------------------


def test_tensors_of_the_user_on_two_devices_are_an_error_that_names_both(plain: Any) -> None:
    a = mg.tensor([1.0, 2.0], name="here")
    b = mg.tensor([1.0, 2.0]).to("cupy")
    b = mg.tensor(b, name="there")
    with pytest.raises(BackendUnavailable) as caught:
        a + b
    message = str(caught.value)
    assert "here" in message and "there" in message
    assert "on the CPU (NumPy)" in message and "on the GPU (cuda:0)" in message
    assert 'x.to("cupy")' in message
    parameter = mg.Parameter([1.0, 2.0], "w")
    with pytest.raises(BackendUnavailable, match=r"(?s)mul.*there"):
        mg.sum(parameter * 2.0 + b)


def test_data_without_a_place_follows(plain: Any) -> None:
    """Numbers, lists, arrays, ranges, masks, index arrays, random words: not the user's tensors."""
    x = mg.tensor(np.arange(12.0).reshape(3, 4))
    there = x.to("cupy")
    functions = [
        lambda t: t + np.ones(4), lambda t: np.ones(4) * t, lambda t: t[[0, 2]],
        lambda t: t[np.array([True, False, True])], lambda t: mg.take(t, [1, 1], axis=1),
        lambda t: mg.tril(t), lambda t: t[:, ::-1] * mg.arange(4.0), lambda t: mg.sort(t),
        lambda t: mg.nn.functional.dropout(t, 0.5), lambda t: t[[0, 1], [1, 2]],
        lambda t: mg.nn.functional.cross_entropy(t, [0, 1, 2]), lambda t: mg.zeros_like(t) + t,
        lambda t: mg.grad(lambda t: mg.sum(mg.tril(t) * np.arange(4)))(t),
    ]  # fmt: skip
    for number, f in enumerate(functions):
        mg.random.seed(5)
        expected = f(x)
        mg.random.seed(5)
        found = f(there)
        assert found.device == "cuda:0", number
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    with mg.no_grad():
        assert (mg.nn.functional.dropout(there, 0.5)).device == "cuda:0"


def test_use_makes_new_tensors_there(plain: Any) -> None:
    with mg.use("cupy"):
        made = [mg.tensor([1.0]), mg.ones(3), mg.arange(3), mg.asarray(np.ones(2))]
        made += [mg.random.normal((3,)), mg.Parameter(np.ones(2)), mg.linspace(0, 1, 4)]
        assert {t.device for t in made} == {"cuda:0"}
        host = np.ones(3)
        assert mg.tensor(host).to("cpu").device == "cpu"
    assert mg.ones(3).device == "cpu"


def _trained(device: str, steps: int = 3) -> Any:
    mg.random.seed(0)
    model = mg.nn.Sequential(
        mg.nn.Linear(4, 8), mg.nn.BatchNorm(8), mg.nn.ReLU(), mg.nn.Dropout(0.3), mg.nn.Linear(8, 3)
    )
    optimiser = mg.optim.Adam(model.parameters(), lr=0.01)
    data = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    model.to(device)
    for step in range(steps):
        if step == 1 and device == "cupy":
            assert {c.device for c in model.state_dict().values()} == {"cuda:0"}
        optimiser.zero_grad()
        loss = mg.nn.functional.cross_entropy(model(data), np.arange(16) % 3)
        loss.backward()
        optimiser.step()
    return model, optimiser, loss


def test_a_model_moves_with_its_state_and_trains_as_on_the_cpu(plain: Any) -> None:
    model, _, loss = _trained("cpu")
    away, optimiser, found = _trained("cupy")
    assert found.device == "cuda:0"
    np.testing.assert_allclose(found.numpy(), loss.numpy(), rtol=1e-5)
    for name, cell in away.state_dict().items():
        assert cell.device == "cuda:0", name
        np.testing.assert_allclose(
            cell.numpy(), model.state_dict()[name].numpy(), rtol=1e-4, atol=1e-6
        )
    moments = [c for n, c in optimiser.state_dict().items() if "moment" in n or "exp" in n]
    assert all(c.device == "cuda:0" for c in moments if isinstance(c, mg.Buffer))
    away.to("cpu")
    assert {c.device for c in away.state_dict().values()} == {"cpu"}


def test_compiled_steps_keep_state_on_the_device(plain: Any) -> None:
    w = mg.Parameter(np.ones(3))

    def step(x: Any) -> Any:
        w.assign(w * 0.5 + x)
        return mg.sum(w)

    compiled = mg.compile(step, backend="cupy")
    assert compiled(np.ones(3)).item() == 4.5
    assert w.device == "cuda:0"
    assert compiled(np.ones(3)).item() == 5.25


# DLPack ---------------------------------------------------------------------------


def test_dlpack_shares_memory_in_both_directions(plain: Any) -> None:
    theirs = plain.asarray(np.arange(4.0))

    class Foreign:
        """An array of some other library, on the device."""

        __dlpack__ = staticmethod(theirs.__dlpack__)
        __dlpack_device__ = staticmethod(theirs.__dlpack_device__)

    taken = mg.from_dlpack(Foreign())
    assert taken.device == "cuda:0"
    assert taken.value.data.ptr == theirs.data.ptr
    assert mg.tensor(Foreign()).value.data.ptr != theirs.data.ptr, "mg.tensor copies"
    assert mg.asarray(theirs).value is theirs
    assert tuple(taken.__dlpack_device__()) == (2, 0)
    back = plain.from_dlpack(taken)
    assert back.data.ptr == theirs.data.ptr


def test_dlpack_of_a_device_that_is_not_here_is_an_error() -> None:
    foreign = SimpleNamespace(__dlpack__=None, __dlpack_device__=lambda: (2, 0))
    type(foreign).__module__  # noqa: B018
    with pytest.raises(BackendUnavailable, match=r"x\.cpu\(\)"):
        eager.from_dlpack(foreign)


# Errors ---------------------------------------------------------------------------


def test_too_little_memory_has_the_numbers_and_leaves_state_valid(
    plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = mg.Parameter(np.ones(1000, np.float32)).to("cupy")
    cell = mg.Parameter(w)
    monkeypatch.setattr(stand_in.Function, "limit", 100)
    with pytest.raises(DeviceMemoryError, match="no memory left: mul of") as caught:
        cell.assign(cell * 2.0)
    assert "3.0 MiB of 5.0 MiB are free" in str(caught.value)
    assert "smaller batch" in str(caught.value)
    monkeypatch.setattr(stand_in.Function, "limit", None)
    np.testing.assert_array_equal(cell.numpy(), 1.0)
    cell.assign(cell * 2.0)
    np.testing.assert_array_equal(cell.numpy(), 2.0)


def _fake(count: Any, driver: int, needed: int) -> Any:
    module = stand_in.module()

    def devices() -> int:
        if isinstance(count, int):
            return count
        raise RuntimeError(count)

    module.cuda.runtime.getDeviceCount = devices
    module.cuda.runtime.driverGetVersion = lambda: driver
    module.cuda.runtime.runtimeGetVersion = lambda: needed
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            _fake("cudaErrorInsufficientDriver", 0, 13020),
            r"no NVIDIA driver \(.* CUDA 13.2",
        ),
        (
            _fake("cudaErrorInsufficientDriver", 12040, 13000),
            r"driver supports CUDA 12.4, this CuPy needs 13.0: update the driver, or pip install",
        ),
        (_fake("cudaErrorUnknown: what", 13000, 13020), "no CUDA device answers: cudaErrorUnknown"),
        (_fake(0, 13000, 13000), "there is no CUDA device"),
    ],
)
def test_what_is_missing_is_said_with_numbers(
    module: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(BackendUnavailable, match=message):
        mg.use("cupy")
    with pytest.raises(BackendUnavailable, match=message):
        mg.tensor([1.0]).to("cupy")
    assert mg.ones(2).device == "cpu"


def test_without_cupy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    assert "minigrad[cuda13]" in mg.backends()["cupy"]
    with pytest.raises(BackendUnavailable, match=r"minigrad\[cuda13\]"):
        mg.compile(lambda x: x, backend="cupy")


def test_a_broken_cupy_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("libcuda.so is odd\nand more")

    monkeypatch.setattr(runtime, "find_spec", lambda name: True)
    monkeypatch.setattr(runtime, "import_module", broken)
    assert "does not load (libcuda.so is odd)" in str(runtime.missing())


# The suite ------------------------------------------------------------------------


def test_part_of_the_suite_runs_with_its_tensors_away() -> None:
    """Some of the tests that ``-m gpu`` runs on a device, with the stand-in in its place."""
    root = Path(__file__).parents[3]
    chosen = ["tests/api", "tests/optim/test_optim_rules.py", "tests/hand/test_hand_dropout.py"]
    chosen += ["tests/lowp"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--device",
         "stand-in", *chosen],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_function_compiled_for_the_cpu_says_that_its_argument_is_away(plain: Any) -> None:
    pytest.importorskip("llvmlite", reason="pip install 'minigrad[cpu]'")
    x = mg.tensor(np.ones(4)).to("cupy")
    with pytest.raises(mg.errors.MinigradError, match=r"compiled for the CPU, but x .* another"):
        mg.compile(lambda x: mg.tanh(x) * 2, backend="cpu")(x)


def test_compiled_functions_run_where_their_arguments_are(plain: Any) -> None:
    run = mg.compile(lambda x: mg.tanh(x) * 2)
    here = mg.tensor(np.ones(4))
    away = here.to("cupy")
    for _ in range(2):  # alternately, and again
        assert type(run(here).value) is np.ndarray
        assert type(run(away).value) is not np.ndarray
