"""Losses of classes: categorical from logits, with labels or probabilities as targets."""

from __future__ import annotations

from minigrad.core.door import as_tensor, cast
from minigrad.core.tensor import Tensor
from minigrad.dtypes import get_default_dtype, kind_of
from minigrad.errors import DataError, DtypeError, ShapeError
from minigrad.ops.composed import log_softmax, mean
from minigrad.ops.creation import iota
from minigrad.ops.indexing import in_range
from minigrad.ops.kinds import ArrayLike
from minigrad.ops.logic import equal, not_equal, where
from minigrad.ops.reductions import argmax
from minigrad.ops.structural import expand_dims, reshape, sum

from .activation import floating
from .dense import as_labels
from .reduction import reduce, unknown_reduction
from .scoping import scoped

__all__ = ["accuracy", "cross_entropy", "nll_loss"]


@scoped
def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of a classification, from logits.

    Formula
    -------
    For labels t: ``-sum_c q_c w_c log softmax(x)_c`` with
    ``q_c = (1 - s) [c = t] + s / C``, smoothing s and class weights w; "mean" divides the sum
    over examples by the sum of ``w_t``, ignored examples left out. For class probabilities
    t: the same with ``q_c = (1 - s) t_c + s / C``; "mean" divides by the number of examples.

    Shapes
    ------
    ``input`` (N, C), (C) or (N, C, d1, ...); ``target`` labels (N), () or (N, d1, ...), or
    probabilities of the shape of ``input``; ``weight`` (C). The result is a scalar, for
    "none" of the shape of the labels.

    Parameters
    ----------
    input
        Logits: any numbers, no softmax before.
    target
        Integer class labels from 0, or floating class probabilities.
    weight
        One factor for each class.
    ignore_index
        A label that stands for "no label": such examples count for nothing.
    reduction
        "mean", "sum" or "none".
    label_smoothing
        The part of each target that is spread evenly over all classes, from 0 to 1.

    Raises
    ------
    DataError
        If a label is not from 0 to C - 1.
    DtypeError
        If labels are floating.
    ShapeError
        If the shapes do not fit.
    """
    what = "cross_entropy"
    if not 0.0 <= label_smoothing <= 1.0:
        raise DataError(f"{what}: label_smoothing = {label_smoothing}", rule="from 0 to 1")
    x = floating(input)
    axis = _class_axis(what, x)
    t = target if isinstance(target, Tensor) else _from_data(target)
    logp = log_softmax(x, axis=axis)
    if kind_of(t.dtype) == "f" and t.shape == x.shape:
        return _of_probabilities(what, logp, t, weight, axis, reduction, label_smoothing)
    return _of_labels(what, logp, t, weight, axis, ignore_index, reduction, label_smoothing)


@scoped
def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log-likelihood of labels, from log-probabilities.

    Formula
    -------
    ``-w_t x_t``; "mean" divides the sum by the sum of ``w_t``

    Shapes
    ------
    ``input`` (N, C), (C) or (N, C, d1, ...); ``target`` (N), () or (N, d1, ...);
    ``weight`` (C). The result is a scalar, for "none" of the shape of the labels.

    Raises
    ------
    DataError
        If a label is not from 0 to C - 1.
    DtypeError
        If labels are floating.
    ShapeError
        If the shapes do not fit.
    """
    x = floating(input)
    axis = _class_axis("nll_loss", x)
    t = target if isinstance(target, Tensor) else _from_data(target)
    return _of_labels("nll_loss", x, t, weight, axis, ignore_index, reduction, 0.0)


@scoped
def accuracy(input: ArrayLike, target: ArrayLike) -> Tensor:
    """Return the fraction of examples whose largest logit is that of their label.

    Formula
    -------
    ``mean([argmax_c x_c = t])``

    Shapes
    ------
    ``input`` (N, C), (C) or (N, C, d1, ...); ``target`` (N), () or (N, d1, ...); the result
    is a scalar from 0 to 1

    Raises
    ------
    DtypeError
        If labels are floating.
    ShapeError
        If the shapes do not fit.
    """
    x = as_tensor(input)
    axis = _class_axis("accuracy", x)
    labels = as_labels(target, "accuracy: labels")
    found = argmax(x, axis=axis)
    if found.shape != labels.shape:
        raise _misfit("accuracy", x, labels, axis)
    return mean(cast(equal(found, labels), get_default_dtype()))


def _from_data(target: ArrayLike) -> Tensor:
    return as_labels(target, "") if _is_whole(target) else as_tensor(target)


def _is_whole(target: ArrayLike) -> bool:
    """Whether data is a list (or number) of integers, which as a tensor would be floats."""
    if isinstance(target, list | tuple):
        return all(_is_whole(item) for item in target)
    return isinstance(target, int) and not isinstance(target, bool)


def _class_axis(what: str, x: Tensor) -> int:
    if not x.ndim or not x.shape[min(1, x.ndim - 1)]:
        raise ShapeError(
            f"{what}: input of shape {x.shape} has no classes",
            operands=[x.node.describe()],
            rule="input is (N, C), (C) or (N, C, d1, ...)",
        )
    return min(1, x.ndim - 1)


def _misfit(what: str, x: Tensor, t: Tensor, axis: int) -> ShapeError:
    wanted = (*x.shape[:axis], *x.shape[axis + 1 :])
    one_hot = t.shape == x.shape
    return ShapeError(
        f"{what}: labels for input of shape {x.shape} have shape {wanted}, got {t.shape}",
        operands=[x.node.describe(), t.node.describe()],
        rule="input (N, C, d1, ...), labels (N, d1, ...)",
        fix="for one-hot rows pass mg.argmax(target, axis=1), or floats as probabilities"
        if one_hot
        else "check that input has one row per example, and one column per class",
    )


def _class_weights(what: str, logp: Tensor, weight: ArrayLike, axis: int) -> Tensor:
    w = as_tensor(weight)
    if w.shape != (logp.shape[axis],):
        raise ShapeError(
            f"{what}: weight has shape {w.shape} for {logp.shape[axis]} classes",
            operands=[w.node.describe()],
        )
    return reshape(w, (logp.shape[axis], *(1,) * (logp.ndim - axis - 1)))


def _of_labels(
    what: str,
    logp: Tensor,
    t: Tensor,
    weight: ArrayLike | None,
    axis: int,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    """Return the loss of integer labels, from log-probabilities.

    The log-probability of the label is picked by comparing with the classes' numbers: unlike
    a gather, that is elementwise and joins the reduction around it.
    """
    classes = logp.shape[axis]
    if kind_of(t.dtype) not in "iu":
        raise DtypeError(
            f"{what}: labels must be integers, got {t.dtype}",
            operands=[t.node.describe()],
            rule="integer labels (N), or floating class probabilities of the input's shape",
            fix="convert them: labels.astype(mg.int64)",
        )
    if t.shape != (*logp.shape[:axis], *logp.shape[axis + 1 :]):
        raise _misfit(what, logp, t, axis)
    counted = _counted(t, ignore_index)
    labels = in_range(t if counted is None else where(counted, t, 0), 0, classes, f"{what}: label")
    chosen = equal(expand_dims(labels, axis=axis), iota(logp.shape, axis, labels.dtype))
    w = None if weight is None else _class_weights(what, logp, weight, axis)
    each = logp if w is None else logp * w
    loss = -sum(where(chosen, each, 0.0), axis)
    if smoothing:
        loss = loss * (1.0 - smoothing) - sum(each, axis) * (smoothing / classes)
    if counted is not None:
        loss = where(counted, loss, 0.0)
    if reduction != "mean":
        return reduce(what, loss, reduction)
    if w is not None:
        share = sum(where(chosen, cast(w, logp.dtype), 0.0), axis)
        share = share if counted is None else where(counted, share, 0.0)
    elif counted is not None:
        share = cast(counted, logp.dtype)
    else:
        return mean(loss)
    return sum(loss) / sum(share)


def _counted(t: Tensor, ignore_index: int) -> Tensor | None:
    """Return which labels count; None if all do, since the dtype has no such label."""
    if ignore_index < 0 and kind_of(t.dtype) == "u":
        return None
    return not_equal(t, ignore_index)


def _of_probabilities(
    what: str,
    logp: Tensor,
    q: Tensor,
    weight: ArrayLike | None,
    axis: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    classes = logp.shape[axis]
    if smoothing:
        q = q * (1.0 - smoothing) + smoothing / classes
    each = logp if weight is None else logp * _class_weights(what, logp, weight, axis)
    loss = -sum(q * each, axis)
    if reduction not in ("mean", "sum", "none"):
        raise unknown_reduction(what, reduction)
    return reduce(what, loss, reduction)
