"""Applying a primitive: check the types, compute if the values are known, record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from minigrad.errors import BackendUnavailable, MinigradError

from .primitive import Primitive
from .tape import record, recorder
from .tensor import Tensor

__all__ = ["NO_PARAMS", "apply", "compute"]

NO_PARAMS: Final[dict[str, Any]] = {}


def compute(primitive: Primitive, values: Sequence[Any], params: dict[str, Any]) -> Any:
    """Return the reference result on arrays: infinities and NaN come without warnings."""
    try:
        result = recorder.quietly(primitive.reference, *values, **params)
    except TypeError as error:
        kinds = {type(v).__module__.partition(".")[0] for v in values}
        if len(kinds) > 1:
            raise BackendUnavailable(
                f"{primitive.name}: the operands are on different devices",
                operands=[f"{type(v).__module__}  shape {v.shape}  {v.dtype}" for v in values],
                fix='move one of them, e.g. x.to("cupy") or model.to("cpu")',
            ) from error
        raise
    return np.asarray(result) if isinstance(result, np.generic) else result


def apply(
    primitive: Primitive,
    operands: tuple[Tensor, ...],
    params: dict[str, Any] = NO_PARAMS,
) -> Tensor:
    """Apply a primitive to tensors of exactly fitting types: check, compute, record.

    Casting and broadcasting come before, in ``door``.
    """
    nodes = tuple([x.node for x in operands])
    try:
        aval = primitive.aval(*[n.aval for n in nodes], **params)
    except MinigradError as error:
        error.operands = error.operands or tuple(n.describe() for n in nodes)
        raise
    values = [n.value for n in nodes]
    for value in values:
        if value is None:
            return Tensor(record(primitive, nodes, params, aval, None))
    return Tensor(record(primitive, nodes, params, aval, compute(primitive, values, params)))
