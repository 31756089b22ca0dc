"""A device for executables in host memory: kernels on the emulator, products by NumPy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random
from typing import Any

import numpy as np

from minigrad.backends.cupy.emit import Kernel
from minigrad.backends.cupy.executable import Work
from minigrad.backends.cupy.products import Matrix, Multiply
from minigrad.core.primitive import defined
from minigrad.passes.terms import row_major as contiguous

from . import emulator


class EmulatedDevice:
    """Memory is full of NaN at first, and so is the arena before each run in the tests."""

    def __init__(self, order: int = 0) -> None:
        self.order = order
        self.chance = Random(order)
        self.memory: list[emulator.Guarded] = []
        self.launched: list[str] = []

    def allocate(self, nbytes: int, what: str) -> int:
        self.memory.append(emulator.Guarded(nbytes))
        return self.memory[-1].pointer

    def upload(self, address: int, array: Any) -> None:
        self._bytes(address, array.nbytes)[:] = np.ascontiguousarray(array).view(np.uint8).ravel()

    def _bytes(self, address: int, nbytes: int) -> Any:
        for m in self.memory:
            if m.pointer <= address and address + nbytes <= m.pointer + m.nbytes:
                return m.inside[address - m.pointer : address - m.pointer + nbytes]
        raise AssertionError("outside of the memory")

    def view(self, address: int, shape: Any, dtype: Any, strides: Sequence[int] = ()) -> Any:
        size = np.dtype(dtype).itemsize
        span = 1 + sum(s * (n - 1) for s, n in zip(strides, shape, strict=True) if n > 0)
        flat = self._bytes(address, span * size).view(dtype)
        return np.lib.stride_tricks.as_strided(flat, shape, [s * size for s in strides])

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass

    def same(self, view: Any, array: Any) -> bool:
        return bool(array.ctypes.data == view.ctypes.data)

    def take(self, view: Any, array: Any) -> None:
        view[...] = array

    def copy(self, view: Any) -> Any:
        return np.array(view)

    def prepare(self, source: str, names: Collection[str]) -> None:
        self.unit = emulator.emulated(source)

    def kernel(self, step: Kernel, addresses: Sequence[int], lane: int) -> Any:
        del lane

        def run() -> None:
            self.launched.append(step.name)
            self.unit.launch(step.name, step.grid, step.threads, addresses, self.order)
            for m in self.memory:
                m.check()

        return run

    def product(self, step: Multiply, addresses: Sequence[int], lane: int) -> Any:
        del lane
        a = self._matrix(step.a, addresses[0], step.batch, step.n, step.k, step.dtype)
        b = self._matrix(step.b, addresses[1], step.batch, step.k, step.m, step.dtype)
        c = self._matrix(step.c, addresses[2], step.batch, step.n, step.m, step.dtype)

        def run() -> None:
            with np.errstate(all="ignore"):
                c[...] = np.matmul(a, b)

        return run

    def _matrix(self, m: Matrix, base: int, batch: int, n: int, k: int, dtype: Any) -> Any:
        address = base + m.offset * dtype.itemsize
        return self.view(address, (batch, n, k), dtype, (m.batch, m.row, m.column))

    def compute(self, node: Any, operands: Sequence[Any]) -> Any:
        with np.errstate(all="ignore"):
            return defined(node.primitive, operands, node.params)

    def play(self, work: Sequence[Work]) -> None:
        """Run the work as the lanes of a device may run it, in another order each time."""
        lanes = {w.lane: [i for i, v in enumerate(work) if v.lane == w.lane] for w in work}
        done: set[int] = set()
        while any(lanes.values()):
            can = [n for n, left in lanes.items() if left and done.issuperset(work[left[0]].waits)]
            i = lanes[self.chance.choice(can)].pop(0)
            work[i].run()
            done.add(i)

    def captured(self, work: Sequence[Work]) -> Any:
        return lambda: self.play(work)

    def watch(self, views: Sequence[Any], lane: int) -> Any:
        del lane
        fetched: list[Any] = []
        return (
            lambda: fetched.append([np.array(v) for v in views]),
            lambda: any(bool(v.any()) for v in fetched[-1]),
        )

    def room(self, nbytes: int, kinds: Sequence[Any]) -> list[Any]:
        base = self.allocate(nbytes, "results")
        return [self.view(base + at, shape, dtype, contiguous(shape)) for at, shape, dtype in kinds]

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def outputs(self, address: int, nbytes: int, kinds: Sequence[Any]) -> list[Any]:
        memory = self._bytes(address, nbytes).copy()
        sizes = [int(np.prod(shape)) * dtype.itemsize for _, shape, dtype in kinds]
        return [
            memory[at : at + size].view(dtype).reshape(shape)
            for (at, shape, dtype), size in zip(kinds, sizes, strict=True)
        ]
