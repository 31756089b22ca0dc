"""Sums over several processes, as one primitive whose one-process form is the identity.

A *group* is a set of processes that run the same program on different data. All of them
must apply the same collective operations in the same order, or they wait for each other
for ever: a layer that takes part is called by every process, in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from minigrad.core.apply import apply
from minigrad.core.aval import Aval
from minigrad.core.door import as_tensor, module_of
from minigrad.core.primitive import NUMERIC, Primitive, Sample, check_kind
from minigrad.core.tensor import Tensor
from minigrad.dtypes import wide
from minigrad.errors import BackendUnavailable

from .kinds import ArrayLike, structural

__all__ = ["ALONE", "Alone", "Group", "Mpi", "all_reduce", "world"]


@runtime_checkable
class Group(Protocol):
    """Processes that run the same program on different data."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    def all_reduce(self, array: Any) -> Any:
        """Return the sum over all processes; every one of them calls this and receives it."""


@dataclass(frozen=True, slots=True)
class Alone:
    """The group of one process: a sum over it is what the process has."""

    rank: int = 0
    size: int = 1

    def all_reduce(self, array: Any) -> Any:
        """Return the array itself."""
        return array


ALONE: Final = Alone()


class Mpi:
    """The processes of an MPI communicator, as ``mpiexec`` starts them.

    Parameters
    ----------
    communicator
        Of ``mpi4py``.
    """

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator
        self.rank: int = communicator.Get_rank()
        self.size: int = communicator.Get_size()

    def all_reduce(self, array: Any) -> Any:
        """Return the sum over all processes.

        The half types, which MPI has not, go as float32; what is on a device goes by the host.
        """
        host = array if isinstance(array, np.ndarray) else array.get()
        sent = np.ascontiguousarray(host, wide(host.dtype))
        received = np.empty_like(sent)
        self.communicator.Allreduce(sent, received)  # its default operation is the sum
        result = received.reshape(host.shape).astype(host.dtype, copy=False)
        return result if host is array else module_of(array).asarray(result)

    def __deepcopy__(self, memo: dict[int, Any]) -> Mpi:
        return self  # a copied model stays in the same job

    def __repr__(self) -> str:
        return f"Mpi(rank={self.rank}, size={self.size})"


def world() -> Group:
    """Return the group of all processes of this MPI job; one process alone is a job too.

    Raises
    ------
    BackendUnavailable
        If mpi4py, or the MPI library behind it, is missing.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py raises RuntimeError without a library
        reason = str(error).partition("\n")[0]
        raise BackendUnavailable(
            f"MPI cannot be used here: {reason}", fix="pip install 'minigrad[mpi]'"
        ) from error
    return Mpi(MPI.COMM_WORLD)


def _all_reduce_aval(x: Aval, *, group: Group) -> Aval:
    check_kind("all_reduce", x, NUMERIC)
    return x


def _all_reduce_batch(
    p: Primitive, xs: tuple[Tensor, ...], batched: Any, size: int, params: dict[str, Any]
) -> Tensor:
    return apply(p, xs, params)


all_reduce_p: Primitive = structural(
    "all_reduce",
    "collective",
    aval=_all_reduce_aval,
    reference=lambda x, group: group.all_reduce(x),
    vjp=(lambda g, y, x, group: apply(all_reduce_p, (g,), {"group": group}),),
    batch=_all_reduce_batch,
    latex=r"\sum_{{\mathrm{{processes}}}} {0}",
    note="Over one process it is the identity. The result goes to every process, so what comes "
    "back to an operand is the sum of all processes' cotangents: its transpose is itself.",
    samples=(
        Sample(((2, 3),), {"group": ALONE}),
        Sample(((),), {"group": ALONE}),
        Sample(((0, 3),), {"group": ALONE}),
    ),
)


def all_reduce(x: ArrayLike, group: Group = ALONE) -> Tensor:
    """Return the sum of x over the processes of a group; each of them receives it.

    Formula: ``y = sum_w x_w`` over workers w. Shapes: any, the same in every process.

    The gradient is that of the sum of all processes' losses.
    """
    return apply(all_reduce_p, (as_tensor(x),), {"group": group})
