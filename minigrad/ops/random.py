"""Random numbers that are functions of seed, draw and element: the same on every backend.

Philox-4x32-10 (Salmon and others, 2011), composed of integer primitives. A draw's
words depend on the generator's seed (the key), on the number of draws made before it
(the stream: it stands for operation and step at once) and on the element's index, and
on nothing else. A mask can therefore be computed again instead of being stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import pi, prod
from typing import Any
from weakref import WeakSet

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import aval
from minigrad.core.door import array_module, as_tensor, cast, full, module_of
from minigrad.core.graph import Graph
from minigrad.core.late import call as late
from minigrad.core.node import Node
from minigrad.core.state import Buffer
from minigrad.core.tape import placeholder, recorder, scope
from minigrad.core.tensor import Tensor
from minigrad.dtypes import (
    DTypeLike,
    as_dtype,
    float32,
    float64,
    foreign,
    get_default_dtype,
    int64,
    kind_of,
    uint32,
    uint64,
)
from minigrad.errors import DataError, DtypeError
from minigrad.shapes import Shape, as_shape

from .analytic import cos, sqrt
from .analytic import log as logarithm
from .arithmetic import astype
from .call import call_p
from .creation import iota
from .indexing import take
from .kinds import ArrayLike
from .logic import less, mulhi
from .movement import cut, stack
from .reductions import argsort
from .structural import reshape

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "is_random_bits",
    "keep_mask",
    "normal",
    "permutation",
    "philox4x32",
    "randint",
    "seed",
    "uniform",
]  # fmt: skip

# Multipliers and key increments of Philox-4x32 (Random123, Salmon and others, 2011).
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def philox4x32(
    counter: Sequence[Tensor], key: Sequence[Tensor], rounds: int = 10
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four random words for each counter of four words, under a key of two words.

    All are uint32 of one shape, or scalars. Known answers: Random123's test vectors.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for r in range(rounds):
        if r:
            k0, k1 = k0 + _W0, k1 + _W1
        low0, high0 = c0 * _M0, mulhi(c0, _M0)
        low1, high1 = c2 * _M1, mulhi(c2, _M1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _words(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the low and high halves of a uint64."""
    return astype(x & 0xFFFFFFFF, uint32), astype(x >> 32, uint32)


_drawn: WeakSet[Graph] = WeakSet()


@lru_cache(maxsize=512)
def _bits_graph(n: int) -> Graph:
    """Return the graph of n words: element i is word i % 4 of block i // 4."""
    seed_node = placeholder(aval((), uint64), "seed")
    stream_node = placeholder(aval((), uint64), "stream")
    blocks = -(-n // 4)
    stream_low, stream_high = _words(Tensor(stream_node))
    index = iota((blocks,), 0, uint32)
    zero = full(0, (blocks,), uint32)
    counter = (index, zero, stream_low + zero, stream_high + zero)
    words = philox4x32(counter, _words(Tensor(seed_node)))
    flat = cut(reshape(stack(words, axis=1), (4 * blocks,)), 0, 0, n)
    graph = Graph([seed_node, stream_node], [flat.node], name="philox")
    for node in graph.nodes:
        node.where = (None, 0, ())  # shared by all draws of this size: no line made it
    _drawn.add(graph)
    return graph


def is_random_bits(node: Node) -> bool:
    """Whether a node is a draw of random words: a call on key and stream, ``n`` words of it.

    Backends may compute the words of each element where they are needed, instead of
    opening the call.
    """
    return node.primitive is call_p and node.params["graph"] in _drawn


class _Count(Buffer):
    """The seed of a generator, or its count of draws: numbers, not data on some device."""

    __slots__ = ()
    placeless = True


class Generator:
    """A source of random numbers with its own seed and count of draws.

    Both are state cells: a compiled function that draws advances the count, and
    ``mg.save`` keeps them.
    """

    def __init__(self, seed: int = 0) -> None:
        self.key = _Count(np.uint64(0), "random.seed")
        self.stream = _Count(np.uint64(0), "random.stream")
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start again with another seed, from 0 to 2**64 - 1."""
        if not 0 <= seed < 2**64:
            raise DataError(
                f"seed: {seed} is out of range",
                rule="from 0 to 2**64 - 1",
                fix="pass a non-negative integer",
            )
        self.key.assign(np.uint64(seed))
        self.stream.assign(np.uint64(0))

    def bits(self, shape: int | Sequence[int]) -> Tensor:
        """Return random 32-bit words, and count one draw."""
        size = as_shape(shape)
        _bring(self.key, self.stream)
        with scope("random_bits"):
            params = {"graph": _bits_graph(prod(size)), "index": 0}
            words = apply(call_p, (Tensor(self.key.node), Tensor(self.stream.node)), params)
            self.stream.assign(self.stream + 1)
            return reshape(words, size)

    def state_dict(self) -> dict[str, Any]:
        """Return the state cells by name."""
        return {"seed": self.key, "stream": self.stream}

    def __repr__(self) -> str:
        return f"Generator(seed={self.key.item()}, draws={self.stream.item()})"


def _bring(*cells: Buffer) -> None:
    """Let words be made where new tensors are (``mg.use``)."""
    module = array_module()
    for cell in cells:
        if recorder.tape is None and module_of(cell.array) is not module:
            cell.load(late("move", cell.array, module.__name__))


#: The generator of dropout, initialisers and this module's functions.
default_generator = Generator(0)


def seed(n: int) -> None:
    """Seed the default generator: the same seed gives the same masks and initial weights."""
    default_generator.seed(n)


def keep_mask(p: float, shape: Shape, generator: Generator | None = None) -> Tensor:
    """Return True with probability 1 - p: a comparison of integers, exact on every backend."""
    words = (generator or default_generator).bits(shape)
    return less(words >> 8, round((1.0 - p) * 2**24))


def _standard_uniform(shape: Shape, dtype: Any, generator: Generator | None) -> Tensor:
    source = generator or default_generator
    if dtype == float64:
        words = astype(reshape(source.bits((*shape, 2)), (prod(shape), 2)), uint64)
        high, low = cut(words, 1, 0, 1), cut(words, 1, 1, 2)
        mantissa = reshape(((high << 32) | low) >> 11, shape)
        return astype(mantissa, float64) * 2.0**-53
    if dtype == float32:
        return astype(source.bits(shape) >> 8, float32) * 2.0**-24
    digits = 8 if dtype in foreign else 11
    return astype(source.bits(shape) >> (32 - digits), dtype) * 2.0**-digits


def _float_dtype(dtype: DTypeLike, what: str) -> Any:
    wanted = get_default_dtype() if dtype is None else as_dtype(dtype)
    if kind_of(wanted) != "f":
        raise DtypeError(f"random.{what}: {wanted} is not floating", fix="use random.randint")
    return wanted


def uniform(
    shape: int | Sequence[int] = (),
    low: float = 0.0,
    high: float = 1.0,
    *,
    dtype: DTypeLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Return numbers uniform from low to high, which only rounding of the sum can reach.

    On [0, 1) they are multiples of 2**-8 (bfloat16), 2**-11 (float16), 2**-24 (float32)
    or 2**-53 (float64), and 1 is never reached.
    """
    u = _standard_uniform(as_shape(shape), _float_dtype(dtype, "uniform"), generator)
    return u if (low, high) == (0.0, 1.0) else u * (high - low) + low


def normal(
    shape: int | Sequence[int] = (),
    mean: float = 0.0,
    std: float = 1.0,
    *,
    dtype: DTypeLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Return normal numbers of this mean and standard deviation (Box and Muller, 1958).

    They use log and cos, so the last bit may differ from backend to backend.
    """
    size, kind = as_shape(shape), _float_dtype(dtype, "normal")
    u = _standard_uniform((2, *size), kind, generator)
    radius = sqrt(logarithm(1.0 - u[0]) * -2.0)
    z = radius * cos(u[1] * (2.0 * pi))
    return z if (mean, std) == (0.0, 1.0) else z * std + mean


def bernoulli(
    p: float = 0.5,
    shape: int | Sequence[int] = (),
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Return booleans that are True with probability p, in steps of 2**-24."""
    if not 0.0 <= p <= 1.0:
        raise DataError(
            f"bernoulli: p = {p} is not a probability",
            rule="from 0 to 1",
            fix="pass the probability of True",
        )
    return keep_mask(1.0 - p, as_shape(shape), generator)


def randint(
    low: int,
    high: int | None = None,
    shape: int | Sequence[int] = (),
    *,
    dtype: DTypeLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Return integers from low to high - 1; with one bound, from 0. At most 2**32 values."""
    if high is None:
        low, high = 0, low
    span = high - low
    if not 0 < span <= 2**32:
        raise DataError(
            f"randint: no integers from {low} to {high - 1}, or more than 2**32",
            fix="high must be above low, by at most 2**32",
        )
    words = (generator or default_generator).bits(as_shape(shape))
    scaled = astype(words, uint64) * span >> 32
    return cast(astype(scaled, int64) + low, int64 if dtype is None else as_dtype(dtype))


def permutation(x: int | ArrayLike, *, generator: Generator | None = None) -> Tensor:
    """Return 0 to x - 1 in random order, or the rows of x in random order."""
    count = isinstance(x, int | np.integer)
    n = x if count else as_tensor(x).shape[0]
    order = argsort((generator or default_generator).bits((n,)))
    return order if count else take(x, order, axis=0)
