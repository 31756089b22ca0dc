"""bfloat16: a dtype that NumPy has not, on the reference backend and at the prompt."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.core.apply import compute
from minigrad.core.primitive import registry
from minigrad.dtypes import convert

pytest.importorskip("ml_dtypes", reason="pip install 'minigrad[lowp]'")

BF16: np.dtype[Any] = mg.bfloat16
ALL_BITS = np.arange(1 << 16, dtype=np.uint16)


def by_hand(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the nearest bfloat16's bits, ties to even, from exact fractions of float64."""
    steps = np.float64(2.0) ** (np.maximum(np.frexp(x)[1], -125) - 8)
    with np.errstate(all="ignore"):
        near = np.rint(x / steps) * steps  # x / steps is exact, rint rounds ties to even
        narrow = near.astype(np.float32)  # 2**128 becomes an infinity
    return (narrow.view(np.uint32) >> 16).astype(np.uint16)


def test_its_names() -> None:
    assert mg.dtypes.as_dtype("bfloat16") is BF16 is mg.dtypes.bfloat16
    assert mg.dtypes.as_dtype(BF16.type) is BF16
    assert repr(mg.zeros(2, dtype="bfloat16").node.aval) == "bf16[2]"
    assert "dtype=bfloat16" in repr(mg.ones(3, dtype=mg.bfloat16))
    assert mg.finfo(BF16).eps == 2.0**-7
    assert mg.isdtype(BF16, "real floating") and mg.isdtype(BF16, ("bool", BF16))
    assert not mg.isdtype(BF16, "integral") and not mg.isdtype(BF16, mg.float16)
    assert not mg.isdtype(mg.float16, BF16)


@pytest.mark.parametrize(
    ("other", "meet"),
    [
        ("bfloat16", "bfloat16"), ("float16", "float32"), ("float32", "float32"),
        ("float64", "float64"), ("int64", "bfloat16"), ("uint8", "bfloat16"),
        ("bool", "bfloat16"),
    ],
)  # fmt: skip
def test_what_it_meets(other: str, meet: str) -> None:
    a, b = mg.ones(2, dtype=BF16), mg.ones(2, dtype=other)
    assert mg.result_type(a, b) == mg.result_type(b, a) == (a + b).dtype == (b * a).dtype == meet
    assert mg.concat([b, a]).dtype == meet
    assert mg.can_cast(BF16, mg.float32) and not mg.can_cast(BF16, mg.float16)


def test_python_numbers_are_weak_beside_it() -> None:
    x = mg.ones(3, dtype=BF16)
    for y in (x + 1, 2.5 * x, x**2, x > 0.5, mg.where(x > 0, x, 0.0), mg.clip(x, 0, 1)):
        assert y.dtype in (BF16, mg.bool)


def test_all_65536_patterns_survive_float32() -> None:
    x = mg.tensor(ALL_BITS.view(BF16))
    back = x.astype(mg.float32).astype(BF16).numpy().view(np.uint16)
    nan = np.isnan(ALL_BITS.view(BF16).astype(np.float32))
    np.testing.assert_array_equal(back[~nan], ALL_BITS[~nan])
    assert np.isnan(back[nan].view(BF16).astype(np.float32)).all()
    np.testing.assert_array_equal(x.numpy().view(np.uint16), ALL_BITS)


@given(hnp.arrays(np.float64, 16, elements=st.floats(width=64, allow_nan=False)))
def test_float64_is_rounded_once(x: np.ndarray[Any, Any]) -> None:
    with np.errstate(over="ignore"):
        found = convert(x, BF16)
    np.testing.assert_array_equal(found.view(np.uint16), by_hand(x))


def test_what_two_roundings_would_get_wrong() -> None:
    just_above_a_tie = 1 + 2.0**-8 + 2.0**-40
    assert mg.tensor([just_above_a_tie], dtype=BF16).tolist() == [1 + 2.0**-7]
    assert mg.full((), just_above_a_tie, dtype=BF16).item() == 1 + 2.0**-7
    assert mg.tensor(just_above_a_tie, dtype="float64").astype(BF16).item() == 1 + 2.0**-7
    assert mg.full(3, 1 + 2.0**-8, dtype=BF16).tolist() == [1.0] * 3  # a tie goes to even


def test_creation() -> None:
    assert mg.arange(0, 1, 2**-4, dtype=BF16).tolist() == [i / 16 for i in range(16)]
    assert mg.arange(300, dtype=BF16).dtype == BF16
    assert mg.linspace(0, 1, 5, dtype=BF16).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert mg.eye(2, dtype=BF16).dtype == mg.zeros_like(mg.eye(2, dtype=BF16)).dtype == BF16
    assert mg.tensor([[1, 2], [3, 4]], dtype=BF16).tolist() == [[1, 2], [3, 4]]
    assert mg.tensor([True, False]).astype(BF16).tolist() == [1, 0]
    u = mg.random.uniform((1000,), dtype=BF16)
    assert u.dtype == BF16 and min(u.tolist()) >= 0 and max(u.tolist()) < 1
    assert mg.random.normal((8,), dtype=BF16).dtype == BF16


def _samples() -> list[Any]:
    found = []
    for name, p in sorted(registry.items()):
        for i, sample in enumerate(p.samples):
            domains = sample.domains or ()
            if p.kind != "creation" and all(d.dtype == np.float64 for d in domains):
                found.append(pytest.param(p, sample, id=f"{name}-{i}"))
    return found


@pytest.mark.parametrize(("primitive", "sample"), _samples())
def test_a_primitive_is_computed_in_float32_and_rounded_once(primitive: Any, sample: Any) -> None:
    given = [convert(a, BF16) for a in sample.draw(np.random.default_rng(0))]
    avals = [mg.tensor(a).node.aval for a in given]
    try:
        derived = primitive.aval(*avals, **sample.params)
    except mg.errors.DtypeError:
        pytest.skip(f"{primitive.name} takes no floats")
    found = compute(primitive, given, dict(sample.params))
    assert found.dtype == derived.dtype and found.shape == derived.shape
    wide = [a.astype(np.float32) for a in given]
    with np.errstate(all="ignore"):
        expected = np.asarray(primitive.reference(*wide, **sample.params))
    if derived.dtype == BF16:
        expected = convert(expected.astype(np.float32), BF16)
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))


def test_sums_and_products_are_added_up_in_float32() -> None:
    x = mg.ones(4096, dtype=BF16)  # in bfloat16, 256 + 1 is 256
    assert mg.sum(x).item() == 4096 and mg.mean(x).item() == 1
    assert mg.cumulative_sum(x)[-1].item() == 4096
    assert (x @ x).item() == 4096
    rows = mg.tensor(np.ones(1000), dtype=BF16)
    table = mg.ones((2, 1), dtype=BF16)
    g = mg.grad(lambda t: mg.sum(mg.take(t, mg.zeros(1000, dtype=mg.int64), axis=0)[:, 0] * rows))
    assert g(table).tolist() == [[1000.0], [0.0]]


def _layer(x: mg.Tensor, w: mg.Tensor, b: mg.Tensor) -> mg.Tensor:
    return mg.mean(mg.nn.functional.gelu(mg.nn.functional.layer_norm(x @ w + b, (8,))) ** 2)


def test_the_derivative_of_a_layer_is_near_that_of_float32() -> None:
    rng = np.random.default_rng(1)
    args = [mg.tensor(rng.normal(size=s), dtype=BF16) for s in [(16, 12), (12, 8), (8,)]]
    found = mg.grad(_layer, argnums=(0, 1, 2))(*args)
    wide = mg.grad(_layer, argnums=(0, 1, 2))(*[a.astype(mg.float32) for a in args])
    for g, h in zip(found, wide, strict=True):
        assert g.dtype == BF16
        scale = float(mg.max(mg.abs(h)).item())
        np.testing.assert_allclose(g.astype(mg.float32), h, rtol=0, atol=0.05 * scale)


def test_gradients_can_be_compared_and_checked() -> None:
    values = np.array([0.5, 1.25, -2.0])
    x = mg.tensor(values, dtype=BF16)
    report = mg.testing.compare_gradients(
        lambda x: mg.sum(mg.tanh(x) * x),
        [x],
        hand=lambda g: {"x": g * (np.tanh(values) + values / np.cosh(values) ** 2)},
        backend="numpy",
    )
    assert report.first_wrong is None and len(report.rows) == 1
    mg.testing.check_grads(lambda x: mg.sum(mg.tanh(x)), [x])
    with pytest.raises(mg.errors.GradientMismatch):
        mg.testing.compare_gradients(
            lambda x: mg.sum(mg.tanh(x) * x), [x], hand={"x": [1, 1, 1]}, backend="numpy"
        )


def test_transformations_and_the_text_of_a_graph() -> None:
    x = mg.tensor([[0.5, 1.0], [2.0, 3.0]], dtype=BF16)
    rows = mg.vmap(mg.grad(lambda r: mg.sum(r * r)))(x)
    assert rows.dtype == BF16 and rows.tolist() == [[1, 2], [4, 6]]
    _, tangent = mg.jvp(mg.exp, (x,), (mg.ones_like(x),))
    assert tangent.dtype == BF16
    graph = mg.trace(lambda x: mg.sum(x * 2.0), x)
    assert "bf16[2, 2]" in graph.text()
    assert graph.grad().outputs[0].aval.dtype == BF16
    assert "bf16" in graph.draw().svg


def test_a_compiled_step_trains_a_model_on_the_reference() -> None:
    model = mg.nn.Sequential(
        mg.nn.Linear(4, 8), mg.nn.ReLU(), mg.nn.Dropout(0.1), mg.nn.Linear(8, 2)
    )
    model.astype(BF16)
    optimiser = mg.optim.Adam(model.parameters(), lr=0.05)
    x = mg.random.normal((32, 4), dtype=BF16)
    labels = (x[:, 0] > 0).astype(mg.int64)

    def step(x: mg.Tensor, labels: mg.Tensor) -> mg.Tensor:
        loss = mg.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    run = mg.compile(step, backend="numpy")
    losses = [run(x, labels).item() for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.dtype == BF16 for p in model.parameters())


def test_a_graph_that_is_one_operation_rounds_as_its_operations_do() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        return mg.tanh(x * x * 1.1) * x + x

    x = mg.random.normal((1000,), dtype=BF16)
    found = compute(registry["call"], [x.value], {"graph": mg.trace(f, x), "index": 0})
    np.testing.assert_array_equal(mg.tensor(found).numpy(), f(x).numpy())


def test_counting_is_exact_as_far_as_the_dtype_goes() -> None:
    params = {"shape": (600,), "axis": 0, "dtype": BF16}
    line = compute(registry["iota"], [np], params)
    np.testing.assert_array_equal(line, convert(np.arange(600.0), BF16))


@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_a_checkpoint_keeps_every_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 16, shape).astype(np.uint16)
    mg.save(tmp_path / "a", x=mg.tensor(bits.view(BF16)), y=mg.ones(3, dtype=mg.float32))
    found = mg.load(tmp_path / "a")["x"]
    assert found.dtype == BF16 and found.shape == shape
    np.testing.assert_array_equal(np.asarray(found).view(np.uint16), bits)
    assert b'"BF16"' in (tmp_path / "a").read_bytes()


def test_the_formats_own_library_reads_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="pip install 'minigrad[dev]'")
    mg.save(tmp_path / "a", x=mg.tensor([1.0, -2.5], dtype=BF16))
    with (tmp_path / "a").open("rb") as file:
        entries = dict(safetensors.deserialize(file.read()))
    (entry,) = [e for e in entries.values() if e["dtype"] == "BF16"]
    assert bytes(entry["data"]) == np.array([0x3F80, 0xC020], "<u2").tobytes()


def test_dlpack_is_refused_with_what_to_do() -> None:
    with pytest.raises(BufferError, match=r"astype\(mg.float32\)"):
        np.from_dlpack(mg.ones(2, dtype=BF16))


_MISSING = """
import sys
sys.modules["ml_dtypes"] = None
import minigrad as mg
for ask in (lambda: mg.bfloat16, lambda: mg.zeros(2, dtype="bfloat16"), lambda: mg.dtypes.bfloat16):
    try:
        ask()
    except mg.errors.BackendUnavailable as error:
        assert "pip install 'minigrad[lowp]'" in str(error), error
    else:
        raise SystemExit("no error")
assert mg.zeros(2, dtype="float16").dtype == mg.float16
from minigrad import *
"""


def test_without_the_package_the_error_says_what_to_install() -> None:
    subprocess.run([sys.executable, "-c", _MISSING], check=True, timeout=60)


def test_the_package_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import sys, minigrad as mg, minigrad.nn, minigrad.optim, minigrad.checkpoints\n"
        "mg.ones(2, dtype=mg.float16) + 1\n"
        "assert 'ml_dtypes' not in sys.modules\n"
        "mg.bfloat16\n"
        "assert 'ml_dtypes' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def asked_by_letter(source: str) -> list[int]:
    """Return the lines that read NumPy's own letter of a dtype, which for bfloat16 is a void's."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == "kind"
        and (ast.unparse(node.value).split(".")[-1] in ("dtype", "wanted", "found", "target")
             or ast.unparse(node.value).endswith(("dtype", "dtype(a)", "dtype(x)")))
    ]  # fmt: skip


def test_nobody_asks_numpy_for_the_kind_of_a_dtype() -> None:
    assert asked_by_letter("x.dtype.kind == 'f'") == [1]
    assert asked_by_letter("k.dtype(a).kind") == [1]
    assert asked_by_letter("node.aval.kind") == []
    root = Path(mg.__file__).parent
    for path in root.rglob("*.py"):
        if path.name == "dtypes.py" or "notebooks" in path.parts:
            continue
        assert asked_by_letter(path.read_text()) == [], path
