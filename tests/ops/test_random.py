"""Random numbers: Philox's known answers, streams, masks, distributions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DataError, DtypeError
from minigrad.ops.random import keep_mask, philox4x32
from minigrad.passes import finalise

ANSWERS = Path(__file__).parents[3] / "shared" / "data" / "philox_kat.json"

#: Random123's known answers for philox4x32 (Salmon and others, 2011; file kat_vectors):
#: rounds, counter, key, result.
KNOWN = [
    (7, [0] * 4, [0] * 2, [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
    (7, [0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]),
    (10, [0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (10, [0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        10, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rounds", "counter", "key", "expected"), KNOWN)
def test_philox_gives_the_known_answers(
    rounds: int, counter: list[int], key: list[int], expected: list[int]
) -> None:
    words = [mg.tensor(np.uint32(w)) for w in counter]
    keys = [mg.tensor(np.uint32(w)) for w in key]
    found = [w.item() for w in philox4x32(words, keys, rounds)]
    assert found == expected


@pytest.mark.skipif(not ANSWERS.is_file(), reason="put philox_kat.json in ../shared/data")
def test_philox_gives_every_known_answer_of_the_shared_file() -> None:
    vectors = json.loads(ANSWERS.read_text(encoding="utf-8"))["vectors"]
    mine = [v for v in vectors if v["generator"] == "philox4x32"]
    assert {v["rounds"] for v in mine} >= {7, 10}
    for v in mine:
        words = [mg.tensor(np.uint32(int(w, 16))) for w in v["ctr"]]
        keys = [mg.tensor(np.uint32(int(w, 16))) for w in v["key"]]
        found = [w.item() for w in philox4x32(words, keys, v["rounds"])]
        assert found == [int(w, 16) for w in v["out"]], v


def philox_by_hand(counter: list[int], key: list[int]) -> list[int]:
    """Return Philox-4x32-10 in Python integers, from the paper."""
    c, (k0, k1), mask = list(counter), key, 0xFFFFFFFF
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(b >> 32) ^ c[1] ^ k0, b & mask, (a >> 32) ^ c[3] ^ k1, a & mask]
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c


def test_bits_are_a_function_of_seed_draw_and_element() -> None:
    generator = mg.random.Generator(0x1234_5678_9ABC_DEF0)
    for draw in range(3):
        expected = [
            w for block in range(2) for w in philox_by_hand([block, 0, draw, 0],
                                                            [0x9ABC_DEF0, 0x1234_5678])
        ]  # fmt: skip
        assert generator.bits((7,)).tolist() == expected[:7]
    assert repr(generator) == f"Generator(seed={0x123456789ABCDEF0}, draws=3)"


def test_shape_does_not_change_the_numbers() -> None:
    draws = []
    for shape in [(12,), (3, 4), (2, 2, 3)]:
        generator = mg.random.Generator(5)
        draws.append(mg.random.uniform(shape, generator=generator).numpy().ravel().tolist())
    assert draws[0] == draws[1] == draws[2]
    assert mg.random.uniform((0, 3)).shape == (0, 3)
    assert mg.random.uniform().shape == ()


def test_seed_governs_and_streams_differ() -> None:
    mg.random.seed(1)
    a, b = mg.random.uniform((8,)), mg.random.uniform((8,))
    mg.random.seed(1)
    assert mg.random.uniform((8,)).tolist() == a.tolist() != b.tolist()
    mg.random.seed(2)
    assert mg.random.uniform((8,)).tolist() != a.tolist()
    for bad in (-1, 2**64):
        with pytest.raises(DataError, match="out of range"):
            mg.random.seed(bad)


def test_state_of_a_generator_can_be_put_back() -> None:
    generator = mg.random.Generator(3)
    generator.bits((4,))
    saved = {k: v.numpy() for k, v in generator.state_dict().items()}
    expected = generator.bits((4,)).tolist()
    for name, cell in generator.state_dict().items():
        cell.assign(saved[name])
    assert generator.bits((4,)).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_uniform_lies_in_its_interval_and_is_flat(dtype: Any) -> None:
    u = mg.random.uniform((20_000,), -1.0, 3.0, dtype=dtype, generator=mg.random.Generator(0))
    x = u.numpy().astype(float)
    assert u.dtype == dtype
    assert x.min() >= -1.0
    assert x.max() <= 3.0
    counts, _ = np.histogram(x, 16, (-1, 3))
    assert ((counts - 1250) ** 2 / 1250).sum() < 45.0  # chi-square, 15 degrees of freedom, 1e-4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_has_its_moments(dtype: Any) -> None:
    z = mg.random.normal((40_000,), 2.0, 3.0, dtype=dtype, generator=mg.random.Generator(0)).numpy()
    u = (z.astype(float) - 2.0) / 3.0
    assert z.dtype == dtype
    assert abs(u.mean()) < 4 / 200
    assert abs(u.var() - 1) < 4 * np.sqrt(2) / 200
    assert abs((u**3).mean()) < 4 * np.sqrt(15) / 200
    assert abs((u**4).mean() - 3) < 4 * np.sqrt(96) / 200
    assert np.isfinite(z).all()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_bernoulli_and_masks_have_their_probability(p: float) -> None:
    drawn = mg.random.bernoulli(p, (20_000,), generator=mg.random.Generator(0))
    kept = keep_mask(p, (20_000,), mg.random.Generator(1))
    spread = 4 * np.sqrt(p * (1 - p) / 20_000)
    assert drawn.dtype == kept.dtype == np.bool_
    assert abs(drawn.numpy().mean() - p) <= spread
    assert abs(kept.numpy().mean() - (1 - p)) <= spread


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_bernoulli_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(DataError, match="not a probability"):
        mg.random.bernoulli(p)


def test_randint_is_flat_and_within_its_bounds() -> None:
    x = mg.random.randint(-2, 4, (12_000,), generator=mg.random.Generator(0)).numpy()
    assert x.dtype == np.int64
    assert sorted(set(x.tolist())) == [-2, -1, 0, 1, 2, 3]
    assert ((np.bincount(x + 2) - 2000) ** 2 / 2000).sum() < 26.0  # 5 degrees of freedom, 1e-4
    assert mg.random.randint(7, shape=3, dtype=np.int8).dtype == np.int8
    whole = mg.random.randint(0, 2**32, (1000,), generator=mg.random.Generator(1)).numpy()
    assert whole.max() > 2**31
    for low, high in [(3, 3), (4, 3), (0, 2**33)]:
        with pytest.raises(DataError, match="no integers"):
            mg.random.randint(low, high)


@pytest.mark.parametrize("n", [7, np.int64(7)])
def test_permutation_is_one(n: Any) -> None:
    p = mg.random.permutation(n, generator=mg.random.Generator(0))
    assert sorted(p.tolist()) == list(range(7))
    assert p.tolist() != list(range(7))
    rows = np.arange(14.0).reshape(7, 2)
    shuffled = mg.random.permutation(rows, generator=mg.random.Generator(0))
    assert shuffled.tolist() == rows[p.numpy()].tolist()


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_floating_draws_refuse_integers(name: str) -> None:
    with pytest.raises(DtypeError, match=r"use random\.randint"):
        getattr(mg.random, name)((2,), dtype=np.int64)


def test_gradient_flows_through_scale_and_shift() -> None:
    def f(mean: Any, std: Any) -> Any:
        z = mg.random.normal((1000,), dtype=mg.float64, generator=mg.random.Generator(0))
        return mg.mean(z * std + mean)

    dm, ds = mg.grad(f, (0, 1))(np.float64(1.0), np.float64(2.0))
    z = mg.random.normal((1000,), dtype=mg.float64, generator=mg.random.Generator(0))
    assert dm.item() == pytest.approx(1.0)
    assert ds.item() == pytest.approx(float(z.numpy().mean()))


def test_draws_in_a_batch_are_the_same_for_every_element() -> None:
    def f(x: Any) -> Any:
        return x + mg.random.uniform((), dtype=mg.float64)

    mg.random.seed(0)
    found = mg.vmap(f)(np.zeros(3)).tolist()
    assert found[0] == found[1] == found[2]


def test_graph_of_a_draw_is_one_node_at_the_prompt() -> None:
    names = [n.primitive.name for n in mg.random.uniform((1000,)).graph().nodes]
    assert names.count("call") == 1
    assert len(names) < 10


def test_bits_belong_to_the_line_and_layer_that_drew_them() -> None:
    """They are made once for all draws of a size; the first of them must not own the others."""
    mg.random.uniform((13,))
    layer = mg.nn.Dropout(0.5)
    graph = finalise(mg.trace(lambda x: layer(x), mg.spec((13,))))
    words = [n for n in graph.nodes if n.inputs and n.aval.kind == "u"]
    assert words
    lines = {n.origin.text for n in words}
    assert all("layer(x)" in line for line in lines), lines
    assert {n.scope[0] for n in words} == {"Dropout"}
