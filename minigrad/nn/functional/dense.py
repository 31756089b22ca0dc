"""Affine maps, embeddings and the like: functions of the last axis, or of indices."""

from __future__ import annotations

import numpy as np

from minigrad.core.door import as_tensor
from minigrad.core.tensor import Tensor
from minigrad.dtypes import int64, kind_of, limits
from minigrad.errors import DtypeError, ShapeError, TraceError
from minigrad.ops.analytic import pow, sqrt
from minigrad.ops.arithmetic import abs, astype, stop_gradient
from minigrad.ops.contraction import matmul
from minigrad.ops.creation import iota
from minigrad.ops.indexing import in_range, take
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import equal, greater, where
from minigrad.ops.reductions import max
from minigrad.ops.structural import expand_dims, permute_dims, sum

from .activation import floating
from .scoping import scoped

__all__ = ["as_labels", "embedding", "linear", "normalize", "one_hot"]


@scoped
def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
    """Return an affine map of the last axis.

    Formula
    -------
    ``y = x W^T + b``

    Shapes
    ------
    ``input`` (..., in), ``weight`` (out, in), ``bias`` (out); the result is (..., out)

    Raises
    ------
    ShapeError
        If the last axis of ``input`` is not what ``weight`` takes.
    """
    x, w = as_tensor(input), as_tensor(weight)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[1]:
        raise ShapeError(
            f"linear: input of shape {x.shape} does not fit weight of shape {w.shape}",
            operands=[x.node.describe(), w.node.describe()],
            rule="input (..., in), weight (out, in)",
            fix="check the number of features; flatten images first",
        )
    y = matmul(x, permute_dims(w, (1, 0)))
    return y if bias is None else y + bias


def as_labels(target: ArrayLike, what: str) -> Tensor:
    """Return labels or indices as an integer tensor; whole numbers in lists are integers."""
    t = target if isinstance(target, Tensor) else as_tensor(np.asarray(target))
    if kind_of(t.dtype) not in "iu":
        raise DtypeError(
            f"{what} must be integers, got {t.dtype}",
            operands=[t.node.describe()],
            fix="convert them: labels.astype(mg.int64)",
        )
    return t


@scoped
def embedding(input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Tensor:
    """Return a row of ``weight`` for each index.

    Formula
    -------
    ``y[...] = W[input[...]]``; the row ``padding_idx``, if given, receives no gradient

    Shapes
    ------
    ``input`` any shape of integers, ``weight`` (n, d); the result is (*input.shape, d)

    Raises
    ------
    DtypeError
        If the indices are not integers.
    DataError
        If an index is negative, or n or more.
    """
    w = as_tensor(weight)
    if w.ndim != 2:
        raise ShapeError(
            f"embedding: the weight has shape {w.shape}", rule="(num_embeddings, embedding_dim)"
        )
    index = in_range(as_labels(input, "embedding: indices"), 0, w.shape[0], "embedding: index")
    rows = take(w, index, axis=0)
    if padding_idx is None:
        return rows
    padding = expand_dims(equal(index, padding_idx % w.shape[0]), axis=-1)
    return where(padding, stop_gradient(rows), rows)


@scoped
def one_hot(input: ArrayLike, num_classes: int = -1) -> Tensor:
    """Return integers as rows of zeros with a single 1.

    Formula
    -------
    ``y[..., c] = 1 if input[...] == c else 0``, as int64

    Shapes
    ------
    ``input`` any shape of integers; the result is (*input.shape, num_classes)

    Parameters
    ----------
    input
        Class labels from 0.
    num_classes
        The number of classes; -1 means one more than the largest label.

    Raises
    ------
    DtypeError
        If the labels are not integers.
    DataError
        If a label is negative, or ``num_classes`` or more.
    TraceError
        If the number of classes is left open while tracing.
    """
    labels = as_labels(input, "one_hot: labels")
    if num_classes == -1:
        if labels.node.value is None:
            raise TraceError(
                "one_hot: the number of classes depends on labels that have no value yet",
                operands=[labels.node.describe()],
                fix="pass num_classes",
            )
        num_classes = int(labels.value.max()) + 1 if labels.size else 0
    checked = in_range(labels, 0, num_classes, "one_hot: label")
    classes = iota((*labels.shape, num_classes), labels.ndim, labels.dtype)
    return astype(equal(expand_dims(checked, axis=-1), classes), int64)


@scoped
def normalize(input: ArrayLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Return vectors along ``dim`` divided by their length.

    Formula
    -------
    ``y = x / max(||x||_p, eps)`` with ``||x||_p = (sum |x|^p)^(1/p)``, for p = inf the
    largest ``|x|``; a vector of zeros stays zero, with a finite derivative

    Shapes
    ------
    any with an axis ``dim``; the result has the shape of ``input``
    """
    x = floating(input)
    if p == float("inf"):
        length, least = max(abs(x), dim, keepdims=True), eps
    else:
        length = sum(x * x if p == 2.0 else pow(abs(x), p), dim, keepdims=True)
        least = eps**p
    least = float(np.maximum(least, limits(x.dtype).tiny))
    safe = where(greater(length, least), length, least)  # so that the root has a slope
    if p == 2.0:
        return x / sqrt(safe)
    return x / (safe if p == float("inf") else pow(safe, 1.0 / p))
