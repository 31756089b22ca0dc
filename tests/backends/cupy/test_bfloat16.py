"""bfloat16 on a device: on the stand-in, and the same on hardware (``pytest -m gpu``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends.cupy import eager
from minigrad.core import registry
from minigrad.core.primitive import defined
from minigrad.dtypes import convert
from tests.ops.test_scalar import LIBRARY

from . import emulator, stand_in

pytest.importorskip("ml_dtypes", reason="pip install 'minigrad[lowp]'")

F = mg.nn.functional
BF16: np.dtype[Any] = mg.bfloat16
ULP = 2.0**-7


@pytest.fixture(
    params=[
        pytest.param("stand-in", marks=pytest.mark.host),
        pytest.param("cupy", marks=pytest.mark.gpu),
    ],
)
def cupy(request: pytest.FixtureRequest) -> Iterator[Any]:
    """CuPy, or the stand-in, which stores bfloat16 and refuses to compute with it."""
    if request.param == "cupy":
        yield import_module("cupy")
        return
    with stand_in.installed(kernels=False) as module:
        yield module


def normal(*shape: int, seed: int = 0) -> Any:
    return convert(np.random.default_rng(seed).normal(size=shape), BF16)


def both(f: Callable[..., Any], *arrays: Any) -> tuple[Any, Any]:
    """Return the result on the device, seen to be there, and the one on the CPU."""
    with mg.use("numpy"):
        operands = [mg.tensor(a) for a in arrays]
        mg.random.seed(3)
        expected = f(*operands)
    mg.random.seed(3)
    found = f(*[x.to("cupy") for x in operands])
    assert found.device == "cuda:0" and found.dtype == expected.dtype
    return found.numpy(), expected.numpy()


def same(found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


def near(found: Any, expected: Any, ulps: float = 1.0) -> None:
    """Hold two arrays to some steps of bfloat16: in place, and of the largest element / 16."""
    wide = expected.astype(np.float64)
    largest = float(np.max(np.abs(wide), initial=0.0, where=np.isfinite(wide)))
    tolerance = ulps * ULP
    np.testing.assert_allclose(
        found.astype(np.float64), wide, rtol=tolerance, atol=tolerance * largest / 16
    )


def test_every_pattern_goes_to_the_device_and_back(cupy: Any) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    for shape in ((1 << 16,), (256, 256)):
        away = mg.tensor(bits.view(BF16).reshape(shape)).to("cupy")
        assert away.device == "cuda:0" and away.dtype == BF16
        np.testing.assert_array_equal(away.numpy().view(np.uint16).ravel(), bits)
    one = mg.tensor(convert(np.float64(-0.0), BF16)).to("cupy")
    assert one.shape == () and one.numpy().view(np.uint16) == 0x8000
    assert mg.tensor(normal(0, 3)).to("cupy").numpy().shape == (0, 3)
    assert mg.tensor(bits.view(BF16)).to("cupy")[0x3FC0].item() == 1.5


def samples() -> list[Any]:
    found = []
    for name, p in sorted(registry.items()):
        if p.kind not in ("creation", "collective"):
            found += [pytest.param(p, s, id=f"{name}-{i}") for i, s in enumerate(p.samples)]
    return found


@pytest.mark.parametrize(("primitive", "sample"), samples())
def test_a_primitive_is_the_reference(cupy: Any, primitive: Any, sample: Any) -> None:
    drawn = sample.draw(np.random.default_rng(0))
    given = [convert(a, BF16) if a.dtype.kind == "f" else a for a in drawn]
    params = dict(sample.params)
    try:
        primitive.aval(*[mg.tensor(a).node.aval for a in given], **params)
    except mg.errors.DtypeError:
        pytest.skip(f"{primitive.name} takes no floats")
    with np.errstate(all="ignore"):
        expected = np.asarray(defined(primitive, given, params))
    found = eager.compute(primitive, [cupy.asarray(a) for a in given], params).get()
    assert found.dtype == expected.dtype
    if primitive.name in LIBRARY or primitive.kind in ("contraction", "reduction", "scan"):
        assert found.shape == expected.shape
        near(found, expected)
    else:
        same(found, expected)


@pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING))
@pytest.mark.host
def test_its_own_kernels_on_the_emulator() -> None:
    """The kernels that the stand-in above leaves to the reference."""
    x, y = normal(3, 700), normal(3, 700, seed=1)
    with stand_in.installed(kernels=True) as module:
        for name, arrays in {"add": (x, y), "where": (x < y, x, y), "less": (x, y)}.items():
            found = eager.compute(registry[name], [module.asarray(a) for a in arrays], {}).get()
            same(found, np.asarray(defined(registry[name], arrays, {})))
        for axes in ((0,), (0, 1)):
            same(*both(lambda x, a=axes: mg.max(x, a), x))
            near(*both(lambda x, a=axes: mg.sum(x, a), x))
        same(*both(lambda x: mg.where(x > 0, x * 0.5, -x), x))


WITH_NUMBERS: list[Callable[..., Any]] = [
    lambda x: x + x * 0.5, lambda x: mg.where(x > 0, x, -x), lambda x: 1 - x, lambda x: 2.5 / x,
    lambda x: x // 2, lambda x: x % 3, lambda x: mg.clip(x, -0.5, 1), lambda x: mg.maximum(x, 0),
    lambda x: x > 0.5, lambda x: (x == 1) | (x < 0), lambda x: mg.where(x > 0, x, 0.1),
    lambda x: mg.ones_like(x) * 3 + mg.full_like(x, 0.1), lambda x: x + np.ones(20),
    lambda x: mg.tril(x), lambda x: x * mg.arange(20.0, dtype=BF16),
    lambda x: x.astype(mg.float64) * 0.1, lambda x: x.astype(mg.int32) + 1,
    lambda x: (x.astype(mg.float32) * 0.1).astype(BF16), lambda x: mg.abs(mg.round(x)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WITH_NUMBERS)))
def test_numbers_and_literals_beside_it(cupy: Any, number: int) -> None:
    same(*both(WITH_NUMBERS[number], normal(30, 20)))


MOVED: list[Callable[..., Any]] = [
    lambda x: x[3:9, ::2], lambda x: x[[2, 0, 2]], lambda x: x[np.arange(30) % 3 == 0],
    lambda x: x[[0, 1], [1, 2]], lambda x: mg.concat([x, x[:, :3]], axis=1), lambda x: x.T,
    lambda x: mg.pad(x, ((1, 2), (0, 3)), constant_values=0.1), lambda x: mg.flip(x, axis=0),
    lambda x: mg.stack([x, x]), lambda x: mg.sort(x, axis=0), lambda x: mg.argsort(x, axis=1),
    lambda x: mg.argmax(x, 1), lambda x: mg.max(x, 0), lambda x: mg.take(x, [1, 1], axis=1),
    lambda x: mg.reshape(x.T, (20, 5, 6)), lambda x: mg.broadcast_to(x[0], (4, 20)),
    lambda x: F.dropout(x, 0.5), lambda x: mg.random.uniform(x.shape, dtype=BF16) + x,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MOVED)))
def test_what_is_moved_chosen_or_drawn(cupy: Any, number: int) -> None:
    same(*both(MOVED[number], normal(30, 20)))


def _layer(x: Any, w: Any, b: Any) -> Any:
    return mg.mean(F.gelu(F.layer_norm(x @ w + b, (8,))) ** 2)


COMPUTED: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "sums": (lambda x: mg.concat([mg.sum(x, 0), mg.mean(x, 1)]), [normal(40, 30)]),
    "running sums": (lambda x: mg.cumulative_sum(x, axis=0), [normal(40, 30)]),
    "softmax": (lambda x: F.softmax(x, -1), [normal(40, 30)]),
    "matmul": (lambda x, w: F.relu(x @ w + 0.5), [normal(30, 40), normal(40, 20, seed=1)]),
    "convolution": (
        lambda x, w: F.conv2d(x, w, stride=2, padding=1),
        [normal(4, 3, 11, 11), normal(6, 3, 3, 3, seed=1)],
    ),
    "gradient": (
        lambda x, w, b: mg.concat([mg.reshape(g, (-1,)) for g in mg.grad(_layer, (1, 2))(x, w, b)]),
        [normal(16, 12), normal(12, 8, seed=1), normal(8, seed=2)],
    ),
    "embedding": (
        lambda w: mg.grad(lambda w: mg.sum(w[np.arange(600) % 2] * 0.5))(w),
        [normal(5, 4)],
    ),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_added_up(cupy: Any, name: str, compiled: bool) -> None:
    f, arrays = COMPUTED[name]
    if not compiled:
        near(*both(f, *arrays), ulps=4)
        return
    with mg.use("numpy"):
        expected = f(*map(mg.tensor, arrays)).numpy()
    run = mg.compile(f, backend="cupy")
    for _ in range(3):  # launched, then replayed; arrays of the CPU, and of the device
        found = run(*[mg.tensor(a).to("cupy") for a in arrays])
        assert found.device == "cuda:0" and found.dtype == BF16
        near(found.numpy(), expected, ulps=4)
    near(run(*arrays).numpy(), expected, ulps=4)


def test_arrays_of_cupy_are_rounded_once(cupy: Any) -> None:
    just_above_a_tie = np.array([1 + 2.0**-8 + 2.0**-40, -2.0])
    made = mg.tensor(cupy.asarray(just_above_a_tie), dtype=BF16)
    assert made.device == "cuda:0" and made.tolist() == [1 + 2.0**-7, -2]
    assert mg.tensor(made.value).dtype == BF16
    assert mg.tensor(made.value, dtype=mg.float32).tolist() == [1 + 2.0**-7, -2]
    with mg.use("cupy"):
        new = [mg.zeros(2, dtype=BF16), mg.linspace(0, 1, 3, dtype=BF16), mg.eye(2, dtype=BF16),
               mg.random.normal((4,), dtype=BF16), mg.tensor([1, 2], dtype=BF16)]  # fmt: skip
    assert {(t.device, t.dtype) for t in new} == {("cuda:0", BF16)}


def _model() -> tuple[Any, Any, Any, Any]:
    mg.random.seed(0)
    model = mg.nn.Sequential(
        mg.nn.Linear(4, 16), mg.nn.LayerNorm(16), mg.nn.ReLU(), mg.nn.Dropout(0.1),
        mg.nn.Linear(16, 2),
    )  # fmt: skip
    model.astype(BF16)
    model.to("cupy")
    optimiser = mg.optim.Adam(model.parameters(), lr=0.05)
    x = mg.tensor(normal(32, 4)).to("cupy")
    return model, optimiser, x, mg.tensor((normal(32, 4)[:, 0] > 0).astype(np.int64)).to("cupy")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_is_trained(cupy: Any, compiled: bool) -> None:
    model, optimiser, x, labels = _model()

    def step(x: Any, labels: Any) -> Any:
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    run = mg.compile(step, backend="cupy") if compiled else step
    losses = [run(x, labels).item() for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]
    assert {(p.dtype, p.device) for p in model.parameters()} == {(BF16, "cuda:0")}


def test_a_checkpoint_keeps_every_bit_of_what_is_there(cupy: Any, tmp_path: Path) -> None:
    model, *_ = _model()
    before = {name: p.numpy().view(np.uint16) for name, p in model.state_dict().items()}
    mg.save(tmp_path / "a", model=model)
    for p in model.parameters():
        p.assign(p * 0.5)
    mg.load(tmp_path / "a", model=model)
    for name, cell in model.state_dict().items():
        assert cell.device == "cuda:0" and cell.dtype == BF16
        np.testing.assert_array_equal(cell.numpy().view(np.uint16), before[name])


def test_other_libraries_are_refused_with_what_to_do(cupy: Any) -> None:
    x = mg.tensor(normal(3)).to("cupy")
    with pytest.raises(BufferError, match=r"astype\(mg.float32\)"):
        x.__dlpack__()
    assert "bfloat16" in repr(x)
