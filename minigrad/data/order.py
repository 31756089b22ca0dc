"""Random orders that depend on a seed alone: the same with every version of NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad.core.tape import no_grad, recorder
from minigrad.dtypes import Array
from minigrad.errors import DataError, TraceError
from minigrad.ops.random import Generator, default_generator, permutation, randint

__all__ = ["bootstrap", "fresh_seed", "not_traced", "order", "stratified_split"]


def not_traced(what: str) -> None:
    """Raise TraceError inside a trace, where an order would be fixed for good."""
    if recorder.tape is not None:
        raise TraceError(
            f"{what} inside a traced function would give the same rows in every call",
            fix="loop over the data outside, and pass each batch to the compiled function",
        )


def order(n: int, seed: int, stream: int = 0) -> Array:
    """Return 0 to n - 1 in an order that is a function of the seed and the stream."""
    generator = Generator(seed)
    generator.stream.assign(np.uint64(stream))
    with no_grad():
        return permutation(n, generator=generator).numpy()


def fresh_seed() -> int:
    """Draw a seed from the default generator, which ``mg.random.seed`` governs."""
    with no_grad():
        return int(default_generator.bits((1,)).item())


def _quotas(counts: Array, wanted: int) -> Array:
    """Share ``wanted`` rows out in proportion; what rounding leaves goes to the largest rests."""
    exact = counts * (wanted / counts.sum())
    quotas: Array = np.floor(exact).astype(np.int64)
    rest = np.argsort(quotas - exact, kind="stable")
    quotas[rest[: wanted - quotas.sum()]] += 1
    return quotas


def _drawn(labels: Array, rows: Array, wanted: int) -> tuple[Array, Array]:
    """Return the first rows of each class up to its quota, and the other rows."""
    classes, inverse, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
    quotas = _quotas(counts, wanted)
    taken = np.zeros(len(rows), np.bool_)
    for i in range(len(classes)):
        taken[np.flatnonzero(inverse == i)[: quotas[i]]] = True
    return rows[taken], rows[~taken]


def stratified_split(
    labels: Array | Sequence[int],
    train: float,
    test: float | None = None,
    *,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Return row numbers to train on and row numbers to test on, with equal shares of classes.

    Parameters
    ----------
    labels
        One class for each row.
    train, test
        How many rows: an integer, or a share below 1. ``test`` is by default the rest.
    seed
        Decides which rows, and their order.

    Raises
    ------
    DataError
        If there are not so many rows.
    """
    not_traced("stratified_split")
    known = np.asarray(labels)
    if known.ndim != 1:
        raise DataError(f"stratified_split: labels have shape {known.shape}, expected one axis")
    n = len(known)
    first = round(n * train) if isinstance(train, float) else train
    second = n - first if test is None else round(n * test) if isinstance(test, float) else test
    if first < 0 or second < 0 or first + second > n or not n:
        raise DataError(
            f"stratified_split: {first} rows to train on and {second} to test on, "
            f"of {n} that there are",
            fix=f"ask for at most {n} in all",
        )
    chosen, others = _drawn(known, order(n, seed), first)
    if second == len(others):
        return chosen, others
    return chosen, _drawn(known, others, second)[0]


def bootstrap(*arrays: Array, seed: int = 0) -> tuple[Array, ...]:
    """Return as many rows as there are, drawn with replacement, the same ones of each array.

    About ``1 - 1 / e``, 63 %, of the rows are drawn at least once. Catalogue row B9.

    Parameters
    ----------
    arrays
        Arrays of equal length: inputs and labels, say.
    seed
        Decides which rows.

    Raises
    ------
    DataError
        If there are no rows, or the arrays have different lengths.

    Source: Efron, 1979; Breiman, 1996.
    """
    not_traced("bootstrap")
    lengths = {len(a) for a in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(
            f"bootstrap: arrays of lengths {[len(a) for a in arrays]}",
            rule="all have the same number of rows, at least 1",
        )
    with no_grad():
        rows = randint(lengths.pop(), shape=(len(arrays[0]),), generator=Generator(seed)).numpy()
    return tuple(np.asarray(a)[rows] for a in arrays)
