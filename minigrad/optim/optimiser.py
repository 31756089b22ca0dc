"""What all optimisers share: groups, one step over all parameters, saving and loading.

State (moments, counts of updates, learning rates) are cells, so a step that is traced
by ``mg.compile`` has them as inputs and outputs. Nothing that changes from step to step
is a Python number that a trace could bake in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.core.door import as_tensor, cast, module_of
from minigrad.core.state import Buffer, Cell, Parameter
from minigrad.core.tape import no_grad, scope
from minigrad.core.tensor import Tensor
from minigrad.dtypes import DType, float64
from minigrad.errors import DataError, MinigradError, ShapeError

from .groups import Group, as_groups, require, working_dtype
from .state import load_cells

__all__ = ["Optimiser", "adopt", "check_decay"]

Ready = list[tuple[int, Parameter, Tensor]]


def adopt(value: Any, dtype: DType) -> Any:
    """Return a number for arithmetic with this dtype: a tensor is cast, so it cannot promote."""
    return cast(value, dtype) if isinstance(value, Tensor) else value


def check_decay(options: Mapping[str, Any]) -> None:
    """Raise DataError for a negative weight decay."""
    decay = options["weight_decay"]
    require(decay >= 0, f"weight_decay = {decay} is negative")


class Optimiser(ABC):
    """Base of the optimisers. Write your own by giving ``moments_of`` and ``update``.

    ``param_groups`` are the groups, each with its own options: ``group["lr"]``.
    """

    __slots__ = ("__weakref__", "param_groups")

    def __init__(self, params: Iterable[Any], lr: float, options: Mapping[str, Any]) -> None:
        what = type(self).__name__
        groups = []
        for named, own in as_groups(params, what):
            unknown = own.keys() - {"lr", *options}
            if unknown:
                raise DataError(
                    f"{what}: there is no option {sorted(unknown)[0]!r}",
                    rule=f"options: {', '.join(('lr', *options))}",
                )
            rate = own.pop("lr", lr)
            merged = {**options, **own}
            groups.append(Group(named, rate, merged, self.check, self.moments_of))
        self.param_groups = tuple(groups)

    # What an optimiser is made of ------------------------------------------------

    @staticmethod
    @abstractmethod
    def check(options: dict[str, Any]) -> None:
        """Raise DataError if an option is out of its range."""

    @staticmethod
    @abstractmethod
    def moments_of(options: dict[str, Any]) -> Sequence[str]:
        """Return the names of the state that each parameter needs, of its own shape."""

    def prepare(self, group: Group, count: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return float64 numbers needed by all updates of a group, computed once a step.

        Each has no axes, or one entry per parameter, as ``count``, the number of updates of
        each parameter including this one, has.
        """
        return ()

    @abstractmethod
    def update(
        self,
        group: Group,
        moments: Mapping[str, Buffer],
        w: Tensor,
        g: Tensor,
        lr: Tensor,
        *prepared: Tensor,
    ) -> Tensor:
        """Return the new value of a parameter w with gradient g, and assign its moments.

        All tensors have the dtype of w, so that nothing is promoted.
        """

    # What they all do ------------------------------------------------------------

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises
        ------
        MinigradError
            If no parameter has one.
        ShapeError
            If a gradient has another shape than its parameter; then nothing is updated.
        """
        with no_grad(), scope(type(self).__name__):
            ready = [self._ready(group) for group in self.param_groups]
            if not any(ready):
                raise MinigradError(
                    f"{type(self).__name__}.step: no parameter has a gradient",
                    fix="call loss.backward() first; the loss must depend on the parameters "
                    "given to the optimiser",
                )
            for group, found in zip(self.param_groups, ready, strict=True):
                if found:
                    self._step(group, found)

    def _ready(self, group: Group) -> Ready:
        found = []
        for i, p in enumerate(group.params):
            g = p.grad
            if g is None:
                continue
            if g.shape != p.shape:
                raise ShapeError(
                    f"{type(self).__name__}.step: {group.names[i]} has shape {p.shape}, "
                    f"its gradient {g.shape}",
                    fix="clear it with zero_grad() and call backward() again",
                )
            found.append((i, p, g))
        return found

    def _step(self, group: Group, ready: Ready) -> None:
        group.follow()
        counted: Any = 1
        if len(ready) < len(group.params):
            counts = np.isin(np.arange(len(group.params)), [i for i, *_ in ready])
            counted = as_tensor(module_of(group.step.leaf.value).asarray(counts, float64))
        count = group.step + counted
        group.step.assign(count)
        numbers = (group.lr_cell, *self.prepare(group, count))
        by_dtype: dict[DType, list[Tensor]] = {}
        for i, p, g in ready:
            kind = working_dtype(p.dtype)
            if kind not in by_dtype:
                by_dtype[kind] = [cast(x, kind) for x in numbers]
            lr, *prepared = [x[i] if x.ndim else x for x in by_dtype[kind]]
            w = cast(Tensor(p.node), kind)
            p.assign(self.update(group, group.moments[i], w, cast(g, kind), lr, *prepared))

    def zero_grad(self) -> None:
        """Forget the gradients: every ``.grad`` becomes None."""
        for group in self.param_groups:
            for p in group.params:
                p.grad = None

    @property
    def lr(self) -> Any:
        """The learning rate: a float, or in a traced function a tensor. Setting it sets all groups.

        Raises
        ------
        DataError
            If it is read and the groups have different ones.
        """
        rates = [group["lr"] for group in self.param_groups]
        if len(rates) > 1 and (isinstance(rates[0], Tensor) or len(set(rates)) > 1):
            raise DataError(
                f"{type(self).__name__}.lr: there are {len(rates)} groups, each with its own",
                fix='read opt.param_groups[0]["lr"]',
            )
        return rates[0]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def state_dict(self) -> dict[str, Cell]:
        """Return the state cells by name: learning rates, counts and moments."""
        found: dict[str, Cell] = {}
        for i, group in enumerate(self.param_groups):
            found |= group.cells(f"groups.{i}")
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state. Options other than the learning rate stay as they are.

        Raises
        ------
        CheckpointError
            If a name, shape or dtype differs; then nothing was changed.
        """
        load_cells(self.state_dict(), state, type(self).__name__)

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            size = sum(p.size for p in group.params)
            options = ", ".join(f"{k}={v!r}" for k, v in group.options.items())
            counted = f"{len(group.params)} parameters, {size:,} numbers"
            lines.append(f"{counted}: lr={group['lr']!r}{', ' if options else ''}{options}")
        return f"{type(self).__name__}({'; '.join(lines)})"
