"""Rows of arrays in batches: shuffled anew in every epoch, by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minigrad.core.door import as_tensor, module_of
from minigrad.core.tensor import Tensor
from minigrad.errors import CheckpointError, DataError
from minigrad.reporter import Progress

from .order import fresh_seed, not_traced, order

__all__ = ["Batches"]


class Batches:
    """Loop over arrays in batches: ``for x, y in Batches(xs, ys, batch_size=32): ...``.

    Each loop is one epoch, with its own order if ``shuffle``. The order depends on seed and
    epoch alone, so a run can be repeated, and, with ``mg.save(path, batches=batches)``, gone
    on with in the middle of an epoch. A loop that was left early counts as an epoch.

    Parameters
    ----------
    arrays
        Arrays or tensors of equally many rows, which give tuples; or one dict of them,
        which gives dicts.
    batch_size
        Rows in a batch. The last one may be smaller.
    shuffle
        Whether the rows are taken in random order.
    seed
        Decides the orders. By default it is drawn from the generator that
        ``mg.random.seed`` governs.
    drop_last
        Leave out a last batch that is not full: every batch then has the same shape, and a
        compiled step is traced once.
    progress
        Show a progress bar; a string is its label. ``batches.bar.set(loss=...)`` shows values.
    tensors
        Whether batches are tensors; otherwise they are arrays.

    Raises
    ------
    DataError
        If there are no rows, not equally many, or ``batch_size`` is not positive.
    """

    def __init__(
        self,
        *arrays: Any,
        batch_size: int,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        progress: bool | str = False,
        tensors: bool = True,
    ) -> None:
        not_traced("Batches")
        self._keys: tuple[Any, ...] | None = None
        if len(arrays) == 1 and isinstance(arrays[0], dict):
            self._keys = tuple(arrays[0])
            arrays = tuple(arrays[0].values())
        self._columns = [x.value if isinstance(x, Tensor) else _column(x) for x in arrays]
        self.rows = _rows(self._columns, self._keys)
        if batch_size < 1:
            raise DataError(f"Batches: batch_size = {batch_size} is not positive")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed = (fresh_seed() if shuffle else 0) if seed is None else seed
        self.progress, self.tensors = progress, tensors
        #: The epoch that is under way, or that the next loop will be; from 0.
        self.epoch = 0
        #: How many batches of this epoch were given out.
        self.position = 0
        #: The progress bar of the loop that is under way.
        self.bar: Progress[int] | None = None
        self._resumed = False

    def __len__(self) -> int:
        return self.rows // self.batch_size + (
            0 if self.drop_last else self.rows % self.batch_size > 0
        )

    def __iter__(self) -> Iterator[Any]:
        not_traced("a loop over Batches")
        if self.position and not self._resumed:
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        chosen = order(self.rows, self.seed, self.epoch) if self.shuffle else None
        for i in self._numbers(range(self.position, len(self))):
            self.position = i + 1
            start = i * self.batch_size
            stop = min(start + self.batch_size, self.rows)
            yield self._batch(slice(start, stop) if chosen is None else chosen[start:stop])
        self.epoch, self.position = self.epoch + 1, 0

    def _numbers(self, numbers: range) -> Any:
        if not self.progress:
            return numbers
        label = self.progress if isinstance(self.progress, str) else f"epoch {self.epoch}"
        self.bar = Progress(numbers, label)
        return self.bar

    def _batch(self, rows: Any) -> Any:
        found = []
        for column in self._columns:
            index = rows if isinstance(rows, slice) else module_of(column).asarray(rows)
            part = column[index]
            part = part.copy() if isinstance(rows, slice) else part
            found.append(as_tensor(part) if self.tensors else part)
        return tuple(found) if self._keys is None else dict(zip(self._keys, found, strict=True))

    def state_dict(self) -> dict[str, int]:
        """Return what is needed to go on with the same batches."""
        return {
            "epoch": self.epoch, "position": self.position, "seed": self.seed, "rows": self.rows,
            "batch_size": self.batch_size,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a saved state stopped: the next loop gives the batches that were left.

        Raises
        ------
        CheckpointError
            If the state is that of other data or another batch size; nothing was changed.
        """
        not_traced("Batches.load_state_dict")
        present = self.state_dict()
        if present.keys() != state.keys():
            raise CheckpointError(
                f"Batches: the saved state has entries {', '.join(state) or 'none'}",
                rule=f"expected {', '.join(present)}",
            )
        for name in ("rows", "batch_size"):
            if state[name] != present[name]:
                raise CheckpointError(
                    f"Batches: saved with {name} = {state[name]}, here it is {present[name]}",
                    fix="make the batches as they were made when the state was saved",
                )
        if not 0 <= state["position"] <= -(-self.rows // self.batch_size) or state["epoch"] < 0:
            raise CheckpointError(f"Batches: no epoch has a batch {state['position']}")
        self.epoch, self.position, self.seed = state["epoch"], state["position"], state["seed"]
        self._resumed = True

    def __repr__(self) -> str:
        return (
            f"Batches({self.rows:,} rows, {len(self)} batches of {self.batch_size}, "
            f"epoch {self.epoch})"
        )


def _column(x: Any) -> Any:
    return x if hasattr(x, "dtype") and hasattr(x, "shape") else np.asarray(x)


def _rows(columns: list[Any], keys: tuple[Any, ...] | None) -> int:
    names = keys or tuple(range(len(columns)))
    sizes = {str(k): len(c) if c.ndim else -1 for k, c in zip(names, columns, strict=True)}
    if len(set(sizes.values())) > 1 or -1 in sizes.values():
        raise DataError(
            "Batches: the arrays have different numbers of rows",
            operands=[
                f"array {k}  shape {tuple(c.shape)}" for k, c in zip(names, columns, strict=True)
            ],
            fix="pass arrays whose first axes are equal",
        )
    rows = next(iter(sizes.values()), 0)
    if not rows:
        raise DataError(
            "Batches: there are no rows",
            operands=[f"array {k}" for k in sizes],
            fix="is the half of a split empty that this came from?",
        )
    return rows
