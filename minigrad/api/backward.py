"""``t.backward()``: the walk of ``mg.grad``, with the results left in ``.grad``."""

from __future__ import annotations

from typing import Any

from minigrad.core.door import as_tensor
from minigrad.core.node import Node, ancestors
from minigrad.core.state import Parameter
from minigrad.core.tape import INPUT, no_grad, recorder
from minigrad.core.tensor import Tensor
from minigrad.errors import NotDifferentiable, TraceError
from minigrad.transform import pullback, seed

__all__ = ["backward"]


def backward(tensor: Tensor, cotangent: Any = None) -> None:
    """Add the gradient of ``tensor`` to ``.grad`` of the leaves that require it."""
    out = tensor.node
    owners: list[Tensor] = []
    leaves: list[Node] = []
    for node in ancestors([out]):
        owner = _owner(node)
        if owner is not None:
            owners.append(owner)
            leaves.append(node)
    if not leaves and any(map(_is_orphan, ancestors([out]))):
        raise NotDifferentiable(
            "backward: the tensor with requires_grad=True that this was computed from is gone, "
            "and its .grad with it",
            operands=[out.describe()],
            fix="keep it in a variable: w = mg.tensor(..., requires_grad=True)",
        )
    if not leaves:
        raise NotDifferentiable(
            "backward: nothing that this tensor was computed from requires a gradient",
            operands=[out.describe()],
            fix="use mg.Parameter, or mg.tensor(..., requires_grad=True); results computed "
            "under mg.no_grad() have no history",
        )
    with no_grad():
        start = seed(out, None if cotangent is None else as_tensor(cotangent), "backward")
        gradients = pullback([out], [start], leaves)
        for owner, gradient in zip(owners, gradients, strict=True):
            present = owner.grad
            owner.grad = gradient if present is None else present + gradient


def _owner(node: Node) -> Tensor | None:
    """Return the tensor or parameter whose leaf this is, if it takes gradients."""
    if node.primitive is not INPUT:
        return None
    cell = node.params.get("cell")
    if cell is not None:
        return cell if isinstance(cell, Parameter) and cell.requires_grad else None
    reference = node.params.get("owner")
    owner: Tensor | None = reference() if reference is not None else None
    if owner is not None and recorder.tape is not None:
        raise TraceError(
            "backward: a tensor with requires_grad=True was made outside the traced function, "
            "and its .grad cannot be set from inside",
            operands=[node.describe()],
            fix="make it an mg.Parameter, or pass it as an argument and use mg.grad",
        )
    return owner


def _is_orphan(node: Node) -> bool:
    """Whether this is the leaf of a tensor that took gradients and does not exist any more."""
    reference = node.params.get("owner")
    return reference is not None and reference() is None
