"""Floor 1: what a graph is. Types, nodes, tape, tensors, state cells, graphs."""

from .apply import apply
from .aval import Aval, aval
from .door import as_tensor, tensor
from .graph import Graph, history
from .late import bind
from .node import Node, ancestors
from .origin import Origin
from .primitive import Domain, Each, Primitive, Sample, Zero, register, registry
from .state import Buffer, Cell, Parameter
from .tape import Tape, no_grad, recorder, scope
from .tensor import Tensor, functions
from .text import text
from .verify import verify

__all__ = [
    "Aval", "Buffer", "Cell", "Domain", "Each", "Graph", "Node", "Origin", "Parameter",
    "Primitive", "Sample", "Tape", "Tensor", "Zero", "ancestors", "apply", "as_tensor", "aval",
    "bind", "functions", "history", "no_grad", "recorder", "register", "registry", "scope",
    "tensor", "text", "verify",
]  # fmt: skip

bind("graph.text", text)
bind("graph.verify", verify)
bind("history", lambda tensor: history(tensor.node))
