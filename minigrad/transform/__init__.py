"""Floor 3: graph to graph, with another meaning. Reverse mode, forward mode, batching."""

from minigrad.core.late import bind

from .jvp import pushforward
from .vjp import check_differentiable, differentiable_path, pullback, seed
from .vmap import batch, call_batch

__all__ = [
    "batch",
    "check_differentiable",
    "differentiable_path",
    "pullback",
    "pushforward",
    "seed",
]

bind("check_differentiable", check_differentiable)
bind("call.batch", call_batch)
