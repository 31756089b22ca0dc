"""Floor 4: from a graph to results."""

from minigrad.core.late import bind

from .base import Backend, backend_named, backends, to_module
from .reference import Program, evaluate, program

__all__ = ["Backend", "Program", "backend_named", "backends", "evaluate", "program", "to_module"]

bind("evaluate", evaluate)
bind("move", to_module)
bind("compute", "minigrad.backends.cupy.eager:compute")
bind("from_dlpack", "minigrad.backends.cupy.eager:from_dlpack")
