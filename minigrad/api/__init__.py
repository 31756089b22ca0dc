"""Floor 5: the joiner. Functions in, functions, graphs and compiled steps out."""

from minigrad.backends import backends
from minigrad.core.late import bind

from .backward import backward
from .checkpoint import checkpoint
from .compiled import Compiled, compile, use
from .derivatives import (
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)
from .tracing import grad_graph, run, spec, trace

__all__ = [
    "Compiled", "backends", "checkpoint", "compile", "grad", "hessian", "hvp", "jacobian", "jvp",
    "spec", "trace", "use", "value_and_grad", "vjp", "vmap",
]  # fmt: skip

bind("backward", backward)
bind("graph.run", run)
bind("graph.grad", grad_graph)
