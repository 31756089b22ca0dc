"""Contractions: as calls of cuBLAS where the factors lie as matrices, else gathered first.

A factor whose index is not that of a plain strided matrix (the windows of a convolution) is
written out as one by a kernel: im2col. Likewise the result: what is stored otherwise than as
a matrix is stored by a kernel from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from minigrad.backends.layout import Place
from minigrad.backends.memory import Buffer
from minigrad.core.node import Node
from minigrad.dtypes import DType
from minigrad.passes.affine import ZERO, Affine, Var, flatten
from minigrad.passes.bodies import Body, Product, Stored
from minigrad.passes.terms import Load, row_major

from .emit import Emitter, Kernel
from .layout import Layout
from .loops import write_pointwise

__all__ = ["Matrix", "Multiply", "product_steps"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A batch of matrices in memory: offset, and the strides of batch, rows and columns."""

    buffer: int
    offset: int
    batch: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Multiply:
    """c = a b for each of a batch; sizes and the dtype."""

    a: Matrix
    b: Matrix
    c: Matrix
    batch: int
    n: int
    m: int
    k: int
    dtype: DType

    @property
    def function(self) -> str:
        """The function of cuBLAS: for one product it has more ways, such as to divide k."""
        return "cublasGemmEx" if self.batch == 1 else "cublasGemmStridedBatchedEx"

    @property
    def slots(self) -> tuple[int, ...]:
        """The buffers that it uses."""
        return self.a.buffer, self.b.buffer, self.c.buffer

    @property
    def writes(self) -> frozenset[int]:
        """The buffer of the result."""
        return frozenset((self.c.buffer,))


def _stride(at: Affine, variables: Sequence[Var]) -> int | None:
    """Return the one stride of several variables taken as one number; None if there is none."""
    moving = [v for v in variables if v.extent > 1]
    if not moving:
        return 0
    inner = at.coefficient(moving[-1])
    size = 1
    for var in reversed(moving):
        if at.coefficient(var) != inner * size:
            return None
        size *= var.extent
    return inner


def _matrix(
    place: Place, at: Affine, batch: Sequence[Var], rows: Sequence[Var], columns: Sequence[Var]
) -> Matrix | None:
    """Return where matrices lie if cuBLAS can read them there."""
    strides = [_stride(at, v) for v in (batch, rows, columns)]
    if None in strides:
        return None
    b, r, c = (s or 0 for s in strides)
    n, m = prod(v.extent for v in rows), prod(v.extent for v in columns)
    r = r if n > 1 else max(m * c, 1) if c == 1 or m == 1 else 1
    c = c if m > 1 else max(n * r, 1) if r == 1 else 1
    if b < 0 or not ((c == 1 and r >= m) or (r == 1 and c >= n)):
        return None
    return Matrix(place.buffer, at.const, b, r, c)


def product_steps(body: Body, layout: Layout) -> list[Kernel | Multiply]:
    """Return the steps of a contraction."""
    node = body.kernel.node  # type: ignore[union-attr]
    assert body.left is not None and body.right is not None
    *batch_axes, rows, columns = body.axes
    batch = [v for axis in batch_axes for v in axis]
    steps: list[Kernel | Multiply] = []
    n, m, k = (prod(v.extent for v in vs) for vs in (rows, columns, body.inner))
    count = prod(v.extent for v in batch)

    def factor(load: Load, first: Sequence[Var], second: Sequence[Var]) -> Matrix:
        place = layout.place(load.node)
        at = flatten(load.index, place.strides) + place.offset
        found = _matrix(place, at, batch, first, second)
        if found is not None:
            return found
        kernel, matrix = _gathered(load, [*batch, *first, *second], node.aval.dtype, layout)
        steps.append(kernel)
        size = prod(v.extent for v in second)
        return Matrix(matrix.buffer, 0, prod(v.extent for v in first) * size, size, 1)

    a = factor(body.left, rows, body.inner)
    b = factor(body.right, body.inner, columns)
    direct = _direct(body, node, layout, batch, rows, columns)
    if direct is not None:
        steps.append(Multiply(a, b, direct, count, n, m, k, node.aval.dtype))
        return steps
    buffer = layout.scratch(Buffer("arena", node.aval.nbytes))
    plain = Place(buffer, 0, row_major(node.aval.shape), node.aval.dtype)
    c = Matrix(buffer, 0, n * m, m, 1)
    steps.append(Multiply(a, b, c, count, n, m, k, node.aval.dtype))
    out = Emitter(layout.place, layout.partial, plain, body.result)
    steps.append(write_pointwise(out, body.vars, body.stores))
    return steps


def _direct(
    body: Body,
    node: Node,
    layout: Layout,
    batch: Sequence[Var],
    rows: Sequence[Var],
    columns: Sequence[Var],
) -> Matrix | None:
    """Return where the product may be written at once: it is all that is stored, as a matrix."""
    if len(body.stores) != 1 or body.sums or not isinstance(body.stores[0].term, Product):
        return None
    (stored,) = body.stores
    place = layout.place(stored.target)
    if place.dtype != node.aval.dtype:
        return None
    at = flatten(stored.index, place.strides) + place.offset
    return _matrix(place, at, batch, rows, columns)


def _gathered(
    load: Load, variables: Sequence[Var], dtype: DType, layout: Layout
) -> tuple[Kernel, Place]:
    """Return the kernel that writes a factor out as matrices, and where."""
    shape = tuple(v.extent for v in variables)
    buffer = layout.scratch(Buffer("arena", prod(shape) * dtype.itemsize))
    goal = Place(buffer, 0, row_major(shape), dtype)
    copy = Node(
        load.node.primitive, (), {}, load.node.aval, None, load.node.where, None, None
    )  # stands for the copy: it is only ever looked up
    index = tuple(Affine.of(v) if v.extent > 1 else ZERO for v in variables)
    out = Emitter(lambda n: goal if n is copy else layout.place(n), layout.partial)
    return write_pointwise(out, variables, [Stored(copy, index, load)]), goal
