"""Matrix products, and every contraction that can be brought into their form."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.aval import aval as aval_of
from minigrad.core.door import as_tensor, cast
from minigrad.core.primitive import NUMERIC, Primitive, Sample, check_kind
from minigrad.core.tensor import Tensor
from minigrad.dtypes import result_type
from minigrad.errors import ShapeError
from minigrad.shapes import broadcast, is_index

from .kinds import ArrayLike, axis_in, same_dtype, structural
from .structural import broadcast_to, matrix_transpose, moveaxis, permute_dims, reshape, sum

_RULE = "(..., n, k) @ (..., k, m) -> (..., n, m)"


def _matmul_aval(a: Aval, b: Aval) -> Aval:
    dtype = same_dtype("matmul", (a, b))
    check_kind("matmul", a, NUMERIC)
    if a.ndim < 2 or a.shape[:-2] != b.shape[:-2]:
        raise ShapeError(
            f"matmul: batch axes of {a.shape} and {b.shape} differ",
            rule=_RULE,
            fix="expand one of them, so that they broadcast",
        )
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: inner sizes differ, {a.shape[-1]} and {b.shape[-2]}",
            rule=_RULE,
            fix=f"give the right operand {a.shape[-1]} rows, or the left one {b.shape[-2]} columns",
        )
    return aval_of((*a.shape[:-1], b.shape[-1]), dtype)


def _matmul_batch(
    p: Primitive, xs: Sequence[Tensor], batched: Sequence[bool], size: int, params: dict[str, Any]
) -> Tensor:
    """Batch a product. If one factor of a plain product has no batch, it stays one product."""
    a, b = xs
    if batched[0] and not batched[1] and b.ndim == 2:  # (B, n, k) @ (k, m): stack the rows
        rows = reshape(a, (size * a.shape[1], a.shape[2]))
        return reshape(apply(p, (rows, b)), (size, a.shape[1], b.shape[1]))
    if batched[1] and not batched[0] and a.ndim == 2:  # (n, k) @ (B, k, m): join the columns
        k, m = b.shape[1:]
        columns = reshape(permute_dims(b, (1, 0, 2)), (k, size * m))
        joined = reshape(apply(p, (a, columns)), (a.shape[0], size, m))
        return permute_dims(joined, (1, 0, 2))
    whole = [
        x if on else broadcast_to(x, (size, *x.shape)) for x, on in zip(xs, batched, strict=True)
    ]
    return apply(p, tuple(whole))


matmul_p: Primitive = structural(
    "matmul",
    "contraction",
    aval=_matmul_aval,
    reference=np.matmul,
    vjp=(
        lambda g, y, a, b: apply(matmul_p, (g, matrix_transpose(b))),
        lambda g, y, a, b: apply(matmul_p, (matrix_transpose(a), g)),
    ),
    batch=_matmul_batch,
    latex="{0} {1}",
    note="Batched; the batch axes are equal. All contractions are brought into this form.",
    samples=(
        Sample(((2, 3), (3, 4))),
        Sample(((5, 2, 3), (5, 3, 1))),
        Sample(((2, 0), (0, 3))),
        Sample(((0, 2), (2, 3))),
    ),
)


def matmul(x1: ArrayLike, x2: ArrayLike) -> Tensor:
    """Return the matrix product; a vector is a row on the left, a column on the right.

    Shapes: ``(..., n, k) @ (..., k, m) -> (..., n, m)``; batch axes broadcast.

    Raises
    ------
    ShapeError
        If the inner sizes differ, or an operand is a scalar.
    """
    a, b = as_tensor(x1), as_tensor(x2)
    if not a.ndim or not b.ndim:
        raise ShapeError(
            "matmul: a scalar has no rows or columns",
            operands=[a.node.describe(), b.node.describe()],
            fix="use * to multiply by a scalar",
        )
    if a.dtype != b.dtype:
        common = result_type(a.dtype, b.dtype)
        a, b = cast(a, common), cast(b, common)
    row, column = a.ndim == 1, b.ndim == 1
    if row:
        a = reshape(a, (1, -1))
    if column:
        b = reshape(b, (-1, 1))
    y = _batched(a, b)
    if row or column:
        shape = [n for n, gone in zip(y.shape[-2:], (row, column), strict=True) if not gone]
        y = reshape(y, (*y.shape[:-2], *shape))
    return y


def _batched(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices whose batch axes may have to be broadcast."""
    if a.shape[:-2] == b.shape[:-2]:
        return apply(matmul_p, (a, b))
    if b.ndim == 2 and a.shape[-1] == b.shape[0]:  # one product of many rows
        rows = reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
        return reshape(apply(matmul_p, (rows, b)), (*a.shape[:-1], b.shape[-1]))
    try:
        _matmul_aval(aval_of(a.shape[-2:], a.dtype), aval_of(b.shape[-2:], b.dtype))
        batch = broadcast(a.shape[:-2], b.shape[:-2])
    except ShapeError as error:
        error.operands = (a.node.describe(), b.node.describe())
        raise
    a, b = broadcast_to(a, (*batch, *a.shape[-2:])), broadcast_to(b, (*batch, *b.shape[-2:]))
    return apply(matmul_p, (a, b))


def vecdot(x1: ArrayLike, x2: ArrayLike, *, axis: int = -1) -> Tensor:
    """Return the sum of products along ``axis``; the other axes broadcast."""
    a, b = as_tensor(x1), as_tensor(x2)
    if a.shape[axis_in(a, axis, "vecdot")] != b.shape[axis_in(b, axis, "vecdot")]:
        raise ShapeError(
            f"vecdot: axis {axis} of {a.shape} and {b.shape} has different sizes",
            operands=[a.node.describe(), b.node.describe()],
            fix="choose the axis along which both are vectors",
        )
    product = a * b
    return sum(product, axis, dtype=product.dtype)


def tensordot(x1: ArrayLike, x2: ArrayLike, *, axes: Any = 2) -> Tensor:
    """Return the contraction over ``axes``: a number of axes, or two lists of axes.

    A number n pairs the last n axes of x1 with the first n of x2.
    """
    a, b = as_tensor(x1), as_tensor(x2)
    if is_index(axes):
        axes = operator.index(axes)
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: {axes} axes cannot be contracted",
                operands=[a.node.describe(), b.node.describe()],
                rule="at least 0, and at most as many as the operands have",
                fix="contract fewer axes, or name them in pairs",
            )
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        left, right = (list(x) if isinstance(x, Sequence) else [x] for x in axes)
    left = [axis_in(a, i, "tensordot") for i in left]
    right = [axis_in(b, i, "tensordot") for i in right]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(
            f"tensordot: contracted sizes differ, {[a.shape[i] for i in left]} and "
            f"{[b.shape[i] for i in right]}",
            operands=[a.node.describe(), b.node.describe()],
            fix="name the axes in pairs: axes=(of the left, of the right)",
        )
    kept_a = [i for i in range(a.ndim) if i not in left]
    kept_b = [i for i in range(b.ndim) if i not in right]
    k = prod(a.shape[i] for i in left)
    rows = reshape(permute_dims(a, [*kept_a, *left]), (prod(a.shape[i] for i in kept_a), k))
    columns = reshape(permute_dims(b, [*right, *kept_b]), (k, prod(b.shape[i] for i in kept_b)))
    return reshape(
        matmul(rows, columns), (*(a.shape[i] for i in kept_a), *(b.shape[i] for i in kept_b))
    )


def einsum(formula: str, *operands: ArrayLike) -> Tensor:
    """Return a sum of products of named axes, as in ``einsum("bij,bjk->bik", a, b)``.

    Axes that are missing on the right are summed. ``...`` stands for the axes that are
    not named; they broadcast. Operands are contracted from left to right, each step one
    matrix product.

    Raises
    ------
    ShapeError
        If the formula does not fit the operands.
    """
    left, arrow, out = formula.replace(" ", "").partition("->")
    terms = left.split(",")
    xs = [as_tensor(x) for x in operands]
    if len(terms) != len(xs):
        raise ShapeError(
            f"einsum: {formula!r} names {len(terms)} operands, got {len(xs)}",
            operands=[x.node.describe() for x in xs],
            rule='one term of letters per operand, as in "ij,jk->ik"',
            fix="give each operand a term of its own, separated by commas",
        )
    if not arrow:
        letters = "".join(terms).replace("...", "")
        dots = "..." if "..." in left else ""
        out = dots + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if "..." in formula:
        terms, out, xs = _spelled_out(formula, terms, out, xs)
    sizes = _sizes(formula, terms, xs)
    if set(out) - set(sizes) or len(set(out)) != len(out):
        raise ShapeError(
            f"einsum: the result {out!r} of {formula!r} must name known axes once",
            fix=f"choose from {', '.join(sizes)}",
        )
    parts = [_diagonals(t, x) for t, x in zip(terms, xs, strict=True)]
    term, x = parts[0]
    for i, (next_term, y) in enumerate(parts[1:], 1):
        later = set(out).union(*(t for t, _ in parts[i + 1 :]))
        term, x = _contract(term, x, next_term, y, later, sizes)
    x = _summed(x, tuple(i for i, c in enumerate(term) if c not in out))
    term = "".join(c for c in term if c in out)
    return permute_dims(x, [term.index(c) for c in out])


def _spelled_out(
    formula: str, terms: list[str], out: str, xs: list[Tensor]
) -> tuple[list[str], str, list[Tensor]]:
    """Return terms, result and operands with a letter for each axis of ``...``.

    Axes of size 1 that meet a larger one are dropped: the product repeats them.
    """
    hidden = [x.ndim - len(t) + 3 if "..." in t else 0 for t, x in zip(terms, xs, strict=True)]
    if min(hidden) < 0:
        i = hidden.index(min(hidden))
        raise ShapeError(
            f"einsum: {terms[i]!r} in {formula!r} names more axes than shape {xs[i].shape} has",
            operands=[xs[i].node.describe()],
            fix="name at most as many axes as the operand has",
        )
    letters = [chr(0x2460 + i) for i in range(max(hidden))]  # (1), (2), ... in one character
    spelled = [
        t.replace("...", "".join(letters[len(letters) - n :]))
        for t, n in zip(terms, hidden, strict=True)
    ]
    wide = {
        c
        for t, x in zip(spelled, xs, strict=True)
        for c, n in zip(t, x.shape, strict=False)
        if c in letters and n != 1
    }
    for i, (t, x) in enumerate(zip(spelled, xs, strict=True)):
        drop = [a for a, (c, n) in enumerate(zip(t, x.shape, strict=False)) if n == 1 and c in wide]
        xs[i] = reshape(x, [n for a, n in enumerate(x.shape) if a not in drop])
        spelled[i] = "".join(c for a, c in enumerate(t) if a not in drop)
    return spelled, out.replace("...", "".join(letters)), xs


def _summed(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the sum over ``axes`` in the dtype of x: a contraction does not widen integers."""
    return sum(x, axes, dtype=x.dtype)


def _sizes(formula: str, terms: list[str], xs: list[Tensor]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        if len(term) != x.ndim:
            raise ShapeError(
                f"einsum: {term!r} in {formula!r} names {len(term)} axes of shape {x.shape}",
                operands=[x.node.describe()],
                fix="give one letter for each axis; ... stands for several",
            )
        for c, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(c, n) != n:
                raise ShapeError(
                    f"einsum: axis {c!r} in {formula!r} has sizes {sizes[c]} and {n}",
                    operands=[x.node.describe() for x in xs],
                    fix="an axis has one size wherever it is named: rename it in one of them",
                )
    return sizes


def _diagonals(term: str, x: Tensor) -> tuple[str, Tensor]:
    """Return an operand without repeated axes: ``ii`` becomes its diagonal ``i``."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            n = x.shape[i]
            x = moveaxis(x, [i, j], [x.ndim - 2, x.ndim - 1])
            flat = reshape(x, (*x.shape[:-2], n * n))
            x = flat[..., :: n + 1]
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + c
    return term, x


def _contract(
    s: str, a: Tensor, t: str, b: Tensor, later: set[str], sizes: dict[str, int]
) -> tuple[str, Tensor]:
    """Contract two operands by one batched product; axes not needed later are summed."""
    a = _summed(a, tuple(i for i, c in enumerate(s) if c not in t and c not in later))
    s = "".join(c for c in s if c in t or c in later)
    b = _summed(b, tuple(i for i, c in enumerate(t) if c not in s and c not in later))
    t = "".join(c for c in t if c in s or c in later)
    batch = [c for c in s if c in t and c in later]
    inner = [c for c in s if c in t and c not in later]
    rows = [c for c in s if c not in t]
    columns = [c for c in t if c not in s]

    def count(letters: list[str]) -> int:
        return prod(sizes[c] for c in letters)

    x = permute_dims(a, [s.index(c) for c in (*batch, *rows, *inner)])
    y = permute_dims(b, [t.index(c) for c in (*batch, *inner, *columns)])
    x = reshape(x, (count(batch), count(rows), count(inner)))
    y = reshape(y, (count(batch), count(inner), count(columns)))
    letters = [*batch, *rows, *columns]
    if not batch:
        x, y = reshape(x, x.shape[1:]), reshape(y, y.shape[1:])
    product = matmul(x, y)
    return "".join(letters), reshape(product, tuple(sizes[c] for c in letters))
