"""The emulator honours barriers and shuffles, and catches what no GPU forgives."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends.cupy.prelude import prelude

from . import emulator

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(emulator.MISSING is not None, reason=str(emulator.MISSING)),
]

HEAD = prelude(["mg_word"])
SUM = """
extern "C" __global__ void __launch_bounds__(64) total(const f32* __restrict__ x, f32* y) {
  __shared__ f32 parts[2];
  f32 v = x[blockIdx.x * 64 + threadIdx.x];
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = v;
  BARRIER
  if (threadIdx.x == 0) y[blockIdx.x] = parts[0] + parts[1];
}"""


def total(barrier: str) -> np.ndarray:
    x = np.arange(128, dtype=np.float32)
    source = HEAD + SUM.replace("BARRIER", barrier)
    return emulator.run(source, "total", (2, 1, 1), 64, [x], [((2,), np.float32)])[0]


def test_shuffles_and_barriers_are_honoured() -> None:
    assert total("__syncthreads();").tolist() == [64 * 63 / 2, 64 * 64 + 64 * 63 / 2]


def test_a_missing_barrier_is_found() -> None:
    with pytest.raises(emulator.EmulatorError, match="race"):
        total("")


def test_a_barrier_that_not_all_threads_reach_is_found() -> None:
    with pytest.raises(emulator.EmulatorError, match="not all threads reach the same barrier"):
        total("if (threadIdx.x < 40) __syncthreads();")


def test_a_shuffle_without_the_whole_warp_is_found() -> None:
    source = HEAD + (
        'extern "C" __global__ void k(f32* y) { f32 v = 0; if (threadIdx.x < 7) '
        "v = __shfl_xor_sync(0xffffffffu, v, 1); __syncthreads(); y[threadIdx.x] = v; }"
    )
    with pytest.raises(emulator.EmulatorError, match="barrier"):
        emulator.run(source, "k", (1, 1, 1), 32, [], [((32,), np.float32)])


def test_a_write_outside_is_found() -> None:
    source = HEAD + 'extern "C" __global__ void k(f32* y) { y[threadIdx.x] = 1; }'
    with pytest.raises(emulator.EmulatorError, match="outside"):
        emulator.run(source, "k", (1, 1, 1), 5, [], [((4,), np.float32)])


def test_shared_memory_is_poisoned_before_each_block() -> None:
    source = HEAD + (
        'extern "C" __global__ void k(f32* y) { __shared__ f32 s[4]; '
        "y[blockIdx.x] = s[1]; s[1] = 3; }"
    )
    (found,) = emulator.run(source, "k", (2, 1, 1), 1, [], [((2,), np.float32)])
    assert np.isnan(found).all()


def test_what_does_not_compile_shows_the_compilers_words() -> None:
    with pytest.raises(emulator.EmulatorError, match="nothing_here"):
        emulator.Emulated('extern "C" __global__ void k(float* y) { nothing_here(); }')


def test_philox_gives_the_words_of_a_draw() -> None:
    """The kernel's words are those of the reference generator, for any seed and stream."""
    source = HEAD + (
        'extern "C" __global__ void k(const u64* seed, const u64* stream, u32* y) '
        "{ u32 i = blockIdx.x * 64 + threadIdx.x; "
        "if (i < 1001) y[i] = mg_word(*seed, *stream, i); }"
    )
    generator = mg.random.Generator(2**63 + 12345)
    generator.stream.assign(np.uint64(2**40 + 7))
    expected = generator.bits((1001,)).numpy()
    seeds = [np.uint64(2**63 + 12345), np.uint64(2**40 + 7)]
    (found,) = emulator.run(source, "k", (16, 1, 1), 64, seeds, [((1001,), np.uint32)])
    np.testing.assert_array_equal(found, expected)


def test_philox_known_answers() -> None:
    """Random123's vectors, as far as a draw's counter reaches them."""
    source = HEAD + (
        'extern "C" __global__ void k(const u64* key, const u64* high, const u64* low, u32* y) '
        "{ mg_words w = mg_philox(*key, *high, *low); for (int i = 0; i < 4; ++i) y[i] = w.at[i]; }"
    )
    vectors = {
        (0, 0, 0): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        (2**64 - 1,) * 3: "408f276d 41c83b0e a20bc7c6 6d5451fd",
        (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88): (
            "d16cfe09 94fdcceb 5001e420 24126ea1"
        ),
    }
    for numbers, words in vectors.items():
        given = [np.uint64(n) for n in numbers]
        (found,) = emulator.run(source, "k", (1, 1, 1), 1, given, [((4,), np.uint32)])
        assert " ".join(f"{w:08x}" for w in found) == words
