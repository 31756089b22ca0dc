"""Applying a primitive: check the types, compute if the values are known, record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from minigrad.dtypes import foreign
from minigrad.errors import MinigradError

from .late import call
from .place import in_use, together
from .primitive import Primitive, defined
from .tape import record, recorder
from .tensor import Tensor

__all__ = ["NO_PARAMS", "apply", "compute"]

NO_PARAMS: Final[dict[str, Any]] = {}


def compute(primitive: Primitive, values: Sequence[Any], params: dict[str, Any]) -> Any:
    """Return the result on arrays of one device: infinities and NaN come without warnings."""
    if values and type(values[0]) is not np.ndarray and _away(primitive, values[0]):
        in_use[0] = True
        return call("compute", primitive, values, params)
    if foreign:
        result = recorder.quietly(defined, primitive, values, params)
    else:
        result = recorder.quietly(primitive.reference, *values, **params)
    return np.asarray(result) if isinstance(result, np.generic) else result


def _away(primitive: Primitive, value: Any) -> bool:
    """Whether an operand is on a device; a creation's first operand is the array module."""
    return primitive.kind != "creation" and not isinstance(value, np.ndarray | np.generic)


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
    kind, mixed = type(values[0]), False
    for value in values:
        if value is None:
            return Tensor(record(primitive, nodes, params, aval, None))
        if type(value) is not kind:
            mixed = True
    if mixed:
        values = together(primitive.name, nodes)
    if aval.size > _LARGE and primitive.kind == "elementwise" and _uniform(values):
        one = compute(primitive, [v[(slice(1),) * v.ndim] for v in values], params)
        return Tensor(record(primitive, nodes, params, aval, np.broadcast_to(one, aval.shape)))
    return Tensor(record(primitive, nodes, params, aval, compute(primitive, values, params)))


#: Elements above which it is seen whether all operands have one element for all places: the
#: gradient of a mean starts so, and stays one number in memory.
_LARGE = 1 << 12


def _uniform(values: Sequence[Any]) -> bool:
    return all(type(v) is np.ndarray and not any(v.strides) for v in values)
