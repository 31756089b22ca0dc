"""Layers of vectors and indices: Linear, Embedding, and changes of shape."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from minigrad.core.door import as_tensor
from minigrad.core.state import Parameter
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DTypeLike
from minigrad.errors import DataError, ShapeError
from minigrad.ops.creation import iota
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import equal, where
from minigrad.ops.structural import reshape
from minigrad.shapes import axis_of

from . import functional, init
from .module import Module

__all__ = ["Embedding", "Flatten", "Linear", "Unflatten", "check_sizes"]


def check_sizes(kind: str, **sizes: int) -> None:
    """Raise DataError unless each size is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise DataError(f"{kind}: {name} = {size}", rule=f"{name} is at least 1")


class Linear(Module):
    """An affine map of the last axis.

    Formula
    -------
    ``y = x W^T + b``

    Shapes
    ------
    ``input`` (..., in_features), ``weight`` (out_features, in_features),
    ``bias`` (out_features); the result is (..., out_features)

    Parameters
    ----------
    in_features, out_features
        The sizes of the last axis before and after.
    bias
        Whether there is a bias.
    dtype
        Of the parameters; the default floating dtype if None.

    Weight and bias start uniform on ``(-1, 1) / sqrt(in_features)``.

    Raises
    ------
    ShapeError
        If the input has another number of features.
    """

    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: DTypeLike = None
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        bound = 1.0 / sqrt(in_features)
        shape = (out_features, in_features)
        self.weight = Parameter(init.uniform(shape, -bound, bound, dtype=dtype))
        self.bias = (
            Parameter(init.uniform((out_features,), -bound, bound, dtype=dtype)) if bias else None
        )

    def forward(self, input: ArrayLike) -> Tensor:
        """Return the affine map of x."""
        x = as_tensor(input)
        if not x.ndim or x.shape[-1] != self.in_features:
            features = x.shape[-1] if x.ndim else "no"
            raise ShapeError(
                f"{self._title}: input has {features} features",
                operands=[x.node.describe()],
                rule=f"input is (..., {self.in_features})",
                fix="check the layer before; nn.Flatten() turns images into rows",
            )
        return functional.linear(x, self.weight, self.bias)

    def _brief(self) -> str:
        return f"Linear {self.in_features} -> {self.out_features}"

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of vectors, one for each index.

    Formula
    -------
    ``y[...] = W[input[...]]``

    Shapes
    ------
    ``input`` any shape of integers, ``weight`` (num_embeddings, embedding_dim); the result
    is (*input.shape, embedding_dim)

    Parameters
    ----------
    num_embeddings, embedding_dim
        The number and the size of the vectors. They start normal.
    padding_idx
        A row that starts as zeros and receives no gradient.
    dtype
        Of the table; the default floating dtype if None.

    Raises
    ------
    DataError
        If an index is negative, or ``num_embeddings`` or more.
    DtypeError
        If the indices are not integers.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: DTypeLike = None,
    ) -> None:
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise DataError(
                f"Embedding: padding_idx = {padding_idx} is out of range",
                rule=f"from {-num_embeddings} to {num_embeddings - 1}",
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        table = init.normal((num_embeddings, embedding_dim), dtype=dtype)
        if padding_idx is not None:
            row = equal(iota((num_embeddings, 1)), padding_idx % num_embeddings)
            table = where(row, 0.0, table)
        self.weight = Parameter(table)

    def forward(self, input: ArrayLike) -> Tensor:
        """Return a vector for each index."""
        return functional.embedding(input, self.weight, self.padding_idx)

    def _brief(self) -> str:
        return f"Embedding {self.num_embeddings} x {self.embedding_dim}"

    def extra_repr(self) -> str:
        """Return the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Flatten(Module):
    """Join the axes from ``start_dim`` to ``end_dim`` into one.

    Shapes
    ------
    (N, C, H, W) becomes (N, C H W) with the defaults

    Raises
    ------
    ShapeError
        If the axes do not exist.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x with fewer axes."""
        x = as_tensor(input)
        start = axis_of(self.start_dim, x.ndim, "Flatten: start_dim")
        end = axis_of(self.end_dim, x.ndim, "Flatten: end_dim")
        if end < start:
            raise ShapeError(f"{self._title}: end_dim is before start_dim in shape {x.shape}")
        joined = prod(x.shape[start : end + 1])
        return reshape(x, (*x.shape[:start], joined, *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the axis ``dim`` into several.

    Shapes
    ------
    (N, C H W) becomes (N, C, H, W) with ``Unflatten(1, (C, H, W))``; one size may be -1

    Raises
    ------
    ShapeError
        If the sizes do not multiply to that of the axis.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: ArrayLike) -> Tensor:
        """Return x with more axes."""
        x = as_tensor(input)
        axis = axis_of(self.dim, x.ndim, "Unflatten: dim")
        sizes, n = self.unflattened_size, x.shape[axis]
        known = prod(s for s in sizes if s != -1)
        if sizes.count(-1) == 1 and known and n % known == 0:
            sizes = tuple(n // known if s == -1 else s for s in sizes)
        if prod(sizes) != n or min(sizes, default=0) < 0:
            raise ShapeError(
                f"{self._title}: axis {axis} of shape {x.shape} does not split into "
                f"{self.unflattened_size}",
                operands=[x.node.describe()],
                rule="the sizes multiply to the size of the axis; one may be -1",
            )
        return reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """Return the axis and the sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
