"""Forward mode as the transpose of the transpose (Townsend, 2017): no second rule per primitive.

The pullback g -> J^T g is linear in g. Its own pullback, at any g, is v -> J v. The
first walk is recorded on a cotangent without a value, so nothing of it is computed but
what the second walk needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.core.node import Node
from minigrad.core.tape import placeholder
from minigrad.core.tensor import Tensor
from minigrad.ops.creation import zeros_like

from .vjp import differentiable_path, pullback

__all__ = ["pushforward"]


def pushforward(
    inputs: Sequence[Node], tangents: Sequence[Tensor], outputs: Sequence[Node]
) -> list[Tensor]:
    """Return the tangent of each output, given those of the inputs."""
    path = differentiable_path(outputs, inputs)
    reached = [n for n in dict.fromkeys(outputs) if n in path]
    dummies = [placeholder(n.aval, "cotangent") for n in reached]
    back = pullback(reached, [Tensor(d) for d in dummies], inputs)
    pairs = [(b, t) for b, t in zip(back, tangents, strict=True) if b.node.value is None]
    forward = pullback([b.node for b, _ in pairs], [t for _, t in pairs], dummies)
    found = dict(zip(reached, forward, strict=True))
    return [found[n] if n in found else zeros_like(Tensor(n)) for n in outputs]
